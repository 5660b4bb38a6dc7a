"""A request that has ended, as it is counted: every arrival once, and only what a standard or a promise asks for."""

from collections import Counter as Tally
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.admission.contract import Band
from spillway.runtime import RuntimeFolder
from spillway.telemetry.metrics.expected import begin_series
from spillway.telemetry.metrics.gateway import GatewayMetrics
from spillway.telemetry.metrics.page import open_page
from spillway.telemetry.metrics.requests import Price, RequestMetrics, RequestRecord, limit_name
from spillway_wire import names
from spillway_wire.label_book import LabelBook
from spillway_wire.metric import Metric
from spillway_wire.outcomes import Outcome
from spillway_wire.series import SeriesPage
from spillway_wire.series_page import LARGE_PAGE_BYTES, create_series
from spillway_wire.series_reader import Read, SeriesReader

TRACE = "0af7651916cd43dd8448eb211c80319c"


class Counted:
    """A gateway's metrics on a page, and what a reader sees of them."""

    def __init__(self, folder: Path, *, price: Price | None = None, most_tenants: int = 2) -> None:
        create_series(folder / "page", LARGE_PAGE_BYTES)
        self.page = SeriesPage(folder / "page")
        self.requests = RequestMetrics(self.page, LabelBook(None, most=most_tenants, other="other"), price=price)
        self.gateway = GatewayMetrics(self.page)
        self.reader = SeriesReader(folder / "page")

    def read(self) -> Read:
        return self.reader.read()

    def value(self, metric: Metric, *labels: str) -> float | None:
        read = self.read()
        found = (read.kept | read.gauges).get((metric.id, labels))
        return None if found is None else found.numbers[0]

    def observed(self, metric: Metric, *labels: str) -> tuple[float, float] | None:
        """How many, and their sum."""
        found = self.read().kept.get((metric.id, labels))
        return None if found is None else (sum(found.numbers[:-1]), found.numbers[-1])


@pytest.fixture
def counted(tmp_path: Path) -> Counted:
    return Counted(tmp_path, price=Price(input=2.0, cached=1.0, output=10.0, currency="EUR"))


def completed(**more: object) -> RequestRecord:
    facts: dict[str, object] = {
        "endpoint": "chat",
        "outcome": Outcome.COMPLETED,
        "began": 100.0,
        "first_token": 100.5,
        "ended": 102.5,
        "model": "demo",
        "tenant": "acme",
        "tier": "gold",
        "band": "default",
        "queue_s": 0.25,
        "prompt_tokens": 1000,
        "cached_tokens": 400,
        "output_tokens": 5,
        "predicted_ttft_s": 0.25,
        "trace_id": TRACE,
        "at": 1.7e9,
    }
    return RequestRecord(**(facts | more))  # type: ignore[arg-type]


GENAI = ("chat", "spillway", "demo", "gold")


def test_a_completed_request_is_in_every_distribution(counted: Counted) -> None:
    counted.requests.finished(completed())

    assert counted.value(names.REQUESTS, "demo", "gold", "default", "chat", "completed") == 1
    assert counted.value(names.TENANT_REQUESTS, "acme", "gold", "completed") == 1
    assert counted.value(names.ADMISSION_DECISIONS, "admitted", "", "gold", "default") == 1
    assert counted.observed(names.REQUEST_DURATION, *GENAI, "") == (1, 2.5)
    assert counted.observed(names.TIME_TO_FIRST_TOKEN, *GENAI) == (1, 0.5)
    assert counted.observed(names.TIME_PER_OUTPUT_TOKEN, *GENAI) == (1, 0.5)
    assert counted.observed(names.PREDICTION_RATIO, "demo", "default") == (1, 2.0)
    assert counted.observed(names.QUEUE_TIME, "demo", "default") == (1, 0.25)
    assert counted.observed(names.REQUEST_PROMPT_TOKENS, "demo") == (1, 1000)
    assert [counted.value(names.MODEL_TOKENS, "demo", kind) for kind in ("input", "cached", "output")] == [1000, 400, 5]
    assert counted.value(names.TENANT_COST, "acme", "EUR") == pytest.approx((600 * 2 + 400 + 5 * 10) / 1e6)
    exemplars = counted.read().kept[names.TIME_TO_FIRST_TOKEN.id, GENAI].exemplars
    assert [exemplar for exemplar in exemplars if exemplar is not None] == [(TRACE, 0.5, 1.7e9)]


def test_one_token_has_no_time_per_later_token(counted: Counted) -> None:
    counted.requests.finished(completed(output_tokens=1))
    assert counted.observed(names.TIME_TO_FIRST_TOKEN, *GENAI) == (1, 0.5)
    assert counted.observed(names.TIME_PER_OUTPUT_TOKEN, *GENAI) is None


def test_a_request_that_broke_after_its_first_token_is_no_success(counted: Counted) -> None:
    counted.requests.finished(completed(outcome=Outcome.ENGINE_FAILED))
    counted.requests.finished(completed(outcome=Outcome.CLIENT_GONE))

    assert counted.observed(names.REQUEST_DURATION, *GENAI, "engine_failed") == (1, 2.5)
    assert counted.observed(names.TIME_TO_FIRST_TOKEN, *GENAI) is None
    assert counted.value(names.BROKEN_STREAMS, "demo", "gold", "engine_failed") == 1
    assert counted.value(names.BROKEN_STREAMS, "demo", "gold", "client_gone") is None
    assert counted.observed(names.PREDICTION_RATIO, "demo", "default") == (2, 4.0)  # its first token did come
    assert counted.value(names.ADMISSION_DECISIONS, "admitted", "", "gold", "default") == 2


@pytest.mark.parametrize(
    ("outcome", "limit", "reason"),
    [
        (Outcome.OVERLOADED, "ttft=1s (gold)", "ttft"),
        (Outcome.QUOTA, "tokens_per_minute=1000", "tokens_per_minute"),
        (Outcome.OVERLOADED, "moonphase=full", "other"),
        (Outcome.UNAUTHENTICATED, None, "unauthenticated"),
    ],
)
def test_a_refusal_is_counted_by_the_limit_that_was_met(
    counted: Counted, outcome: Outcome, limit: str | None, reason: str
) -> None:
    record = completed(outcome=outcome, limit=limit, first_token=None, queue_s=None, output_tokens=0, prompt_tokens=0)
    counted.requests.finished(record)
    counted.requests.finished(completed(outcome=outcome, limit=limit, first_token=None, retry_after_s=2.0))

    assert counted.value(names.ADMISSION_DECISIONS, "refused", reason, "gold", "default") == 2
    assert counted.value(names.ADMISSION_DECISIONS, "admitted", "", "gold", "default") is None
    assert counted.observed(names.RETRY_AFTER, "demo", "default") == (1, 2.0)
    assert limit_name(limit) in {*names.LIMITS, "other", ""}


def test_what_cannot_be_understood_is_no_decision_of_admission(counted: Counted) -> None:
    counted.requests.finished(completed(outcome=Outcome.INVALID, first_token=None, model=""))
    assert not [labels for metric, labels in counted.read().kept if metric == names.ADMISSION_DECISIONS.id]
    assert counted.value(names.REQUESTS, "", "gold", "default", "chat", "invalid") == 1


def test_tenants_beyond_the_bound_are_one(counted: Counted) -> None:
    for tenant in ("a", "b", "c", "d", "a", ""):
        counted.requests.finished(completed(tenant=tenant))
    found = {name: counted.value(names.TENANT_REQUESTS, name, "gold", "completed") for name in ("a", "b", "other")}
    assert found == {"a": 2, "b": 1, "other": 3}
    assert counted.value(names.TENANT_TOKENS, "other", "output") == 15


@pytest.mark.parametrize("predicted_s", [None, 0.0, 5e-324, 1e-300], ids=["none", "zero", "subnormal", "tiny"])
def test_a_prediction_that_is_none_has_no_ratio_and_loses_nothing(counted: Counted, predicted_s: float | None) -> None:
    counted.requests.finished(completed(predicted_ttft_s=predicted_s))
    assert counted.observed(names.PREDICTION_RATIO, "demo", "default") is None
    assert counted.page.num_lost == 0


def test_what_goes_wrong_is_there_at_zero_before_it_does(counted: Counted) -> None:
    begin_series(counted.page, models=("demo",), tiers=("gold", "bronze"))
    before = counted.read().kept
    failed = completed(outcome=Outcome.ENGINE_FAILED)
    refused = completed(
        outcome=Outcome.OVERLOADED, limit="ttft=1s (bronze)", tier="bronze", band="bulk", first_token=None
    )
    for record in (failed, refused):
        counted.requests.finished(record)
    assert not any(sum(values.numbers) for values in before.values())
    for metric, labels in (
        (names.REQUESTS, ("demo", "gold", "default", "chat", "engine_failed")),
        (names.BROKEN_STREAMS, ("demo", "gold", "engine_failed")),
        (names.ADMISSION_DECISIONS, ("admitted", "", "gold", "default")),
        (names.ADMISSION_DECISIONS, ("refused", "ttft", "bronze", "bulk")),
    ):
        assert before[metric.id, labels].numbers == (0.0,)
        assert counted.value(metric, *labels) == 1
    assert sum(before[names.TIME_TO_FIRST_TOKEN.id, GENAI].numbers) == 0
    begun = {labels[1] for metric_id, labels in before if metric_id == names.ADMISSION_DECISIONS.id}
    assert begun - {""} <= names.LIMITS | set(Outcome)


RECORDS = st.builds(
    completed,
    outcome=st.sampled_from(Outcome),
    endpoint=st.sampled_from(sorted(names.OPERATIONS)),
    first_token=st.none() | st.floats(100, 102),
    tenant=st.sampled_from(("a", "b", "c", "d")),
    limit=st.none() | st.text(max_size=20),
    prompt_tokens=st.integers(0, 10_000),
    cached_tokens=st.just(0),
    output_tokens=st.integers(0, 500),
    predicted_ttft_s=st.none() | st.floats(0, 10),
    retry_after_s=st.none() | st.floats(0, 120),
)


@given(st.lists(RECORDS, max_size=30))
def test_every_request_is_counted_once_in_each_account(records: list[RequestRecord]) -> None:
    page = SeriesPage(num_bytes=LARGE_PAGE_BYTES)
    metrics = RequestMetrics(page, LabelBook(None, most=2, other="other"))
    for record in records:
        metrics.finished(record)

    outcomes: Tally[str] = Tally()
    for account in (metrics._requests, metrics._of_tenants):
        mine: Tally[str] = Tally()
        for labels, series in account._known.items():
            mine[labels[-1]] += int(page.values[series._at])
        outcomes = mine
        assert mine == Tally(record.outcome.value for record in records)
    durations = sum(
        sum(page.values[series._at : series._sum_at].tolist()) for series in metrics._duration._known.values()
    )
    assert durations == len(records) == outcomes.total()
    tokens = sum(page.values[series._at] for series in metrics._tokens._known.values())
    assert tokens == sum(record.prompt_tokens + record.output_tokens for record in records)
    assert page.num_lost == 0
    page.close()


def test_a_gateway_says_how_it_is(counted: Counted) -> None:
    gateway = counted.gateway
    gateway.queue("demo", {Band.BULK: 7})
    gateway.in_flight(3)
    gateway.admission({"pressure.demo": 0.5, "prediction_factor_bulk.demo": 1.5, "asked.demo": 4.0, "claims_open": 2.0})
    gateway.admission({"brownout_level.llama-3.1": 2.0})
    gateway.lagged(0.01)
    gateway.asked_redis(0.125, answered=True)
    gateway.asked_redis(0.5, answered=False)
    gateway.limiter(degraded=True)

    assert [counted.value(names.QUEUED_REQUESTS, "demo", band.label) for band in Band] == [0, 0, 0, 7]
    assert counted.value(names.IN_FLIGHT) == 3
    assert counted.value(names.LOAD_PRESSURE, "demo") == 0.5
    assert counted.value(names.PREDICTION_FACTOR, "demo", "bulk") == 1.5
    assert counted.value(names.BROWNOUT_LEVEL, "llama-3.1") == 2
    assert counted.observed(names.LOOP_LAG) == (1, 0.01)
    assert counted.observed(names.REDIS_ROUND_TRIP) == (2, 0.625)
    assert counted.value(names.REDIS_FAILURES) == 1
    assert counted.value(names.LIMITER_DEGRADED) == 1


def test_a_child_without_a_page_counts_for_nobody_and_says_so(tmp_path: Path) -> None:
    logged: list[str] = []
    page = open_page(RuntimeFolder(tmp_path), "gateway-0", 1, lambda event, **_: logged.append(event))
    RequestMetrics(page, LabelBook(None, most=2, other="other")).finished(completed())
    page.close()
    assert logged == ["no_series"]
    assert list(tmp_path.iterdir()) == []
