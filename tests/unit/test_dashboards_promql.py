"""Queries are made of metrics: what does not exist cannot be written."""

import pytest

from spillway_dashboards.promql import QueryError, Scope, labels_of, share, share_of_all
from spillway_wire import names
from spillway_wire import status_names as status

ALL = Scope()
BARE = Scope(frozenset(), target=())


def test_a_selector_matches_the_boards_variables_that_its_metric_has() -> None:
    target = 'job=~"$job", instance=~"$instance"'
    assert ALL.select(status.READY) == f"spillway_ready{{{target}}}"
    assert ALL.select(status.OUTCOMES, 'outcome="completed"') == (
        f'spillway_outcomes_total{{{target}, outcome="completed"}}'
    )
    assert ALL.select(names.TIME_TO_FIRST_TOKEN, part="bucket") == (
        f'gen_ai_server_time_to_first_token_seconds_bucket{{{target}, gen_ai_request_model=~"$model", tier=~"$tier"}}'
    )
    assert BARE.select(names.REQUESTS) == "spillway_requests_total{}"


def test_what_is_matched_already_is_not_matched_by_the_variable() -> None:
    assert '"$tier"' not in ALL.select(names.REQUESTS, 'tier="gold"')


def test_growth_is_of_counters_and_nowness_of_gauges() -> None:
    assert BARE.rate(names.REQUESTS, by=("outcome",)) == (
        "sum by (outcome) (rate(spillway_requests_total{}[$__rate_interval]))"
    )
    assert BARE.grown(names.REQUESTS) == "sum(increase(spillway_requests_total{}[$__range]))"
    assert BARE.now(status.READY, how="min") == "min(spillway_ready{})"
    with pytest.raises(QueryError, match="is a gauge: it has no rate"):
        BARE.rate(status.READY)
    with pytest.raises(QueryError, match="its growth is"):
        BARE.now(names.REQUESTS)


def test_histograms_are_asked_by_their_parts() -> None:
    bucket = "spillway_queue_time_seconds_bucket{}"
    assert BARE.quantile(0.95, names.QUEUE_TIME, by=("band",)) == (
        f"histogram_quantile(0.95, sum by (le, band) (rate({bucket}[$__rate_interval]))) >= 0"
    )
    assert BARE.quantile_ever(0.5, names.QUEUE_TIME) == f"histogram_quantile(0.5, sum by (le) ({bucket})) >= 0"
    assert BARE.buckets(names.QUEUE_TIME) == f"sum by (le) (increase({bucket}[$__rate_interval]))"
    assert "_sum{}" in BARE.mean(names.QUEUE_TIME)
    assert "_count{}" in BARE.mean(names.QUEUE_TIME)
    with pytest.raises(QueryError, match="has no part ''"):
        BARE.rate(names.QUEUE_TIME)
    with pytest.raises(QueryError, match="has no part 'bucket'"):
        BARE.select(status.READY, part="bucket")


@pytest.mark.parametrize("matcher", ['outcom="completed"', 'engine="engine-0"'])
def test_a_label_that_a_metric_does_not_have_cannot_be_matched(matcher: str) -> None:
    with pytest.raises(QueryError, match="spillway_requests has the labels model, tier, band, endpoint, outcome, not"):
        ALL.select(names.REQUESTS, matcher)


@pytest.mark.parametrize("matcher", ["outcome", "outcome=completed", 'outcome=="x"', 'outcome="a"b"'])
def test_what_is_no_matcher_is_refused(matcher: str) -> None:
    with pytest.raises(QueryError, match="is no matcher such as"):
        ALL.select(names.REQUESTS, matcher)


def test_a_label_that_a_metric_does_not_have_cannot_be_kept() -> None:
    with pytest.raises(QueryError, match="cannot be told apart by engine"):
        ALL.rate(names.REQUESTS, by=("tier", "engine"))


def test_the_place_is_a_label_like_the_others() -> None:
    assert labels_of(names.STEP_DURATION) == ("engine", "model")
    assert "sum by (engine)" in BARE.rate(names.STEP_DURATION, by=("engine",), part="count")


def test_nothing_is_divided_by_nothing() -> None:
    assert share("a", "b") == "a / (b > 0)"
    assert share_of_all("a", "b") == "a / on () group_left () (b > 0)"
