"""What a run came to: fates, exact percentiles with those that never came, shares side by side, exit statuses."""

from types import ModuleType
from typing import Any

import pytest

from spillway_load import intervals, summary, verdict
from spillway_load.errors import Exit
from spillway_load.objectives import (
    InexactObjective,
    LatencyObjective,
    Limits,
    Objective,
    PauseObjective,
    RateObjective,
    ShareObjective,
)
from spillway_load.record import Fate, judge
from spillway_load.series import Series

LIMITS = Limits(ttft_ms=100, tpot_ms=20)


def series(*records: Any) -> Series:
    return Series([*records], {"all": LIMITS})


@pytest.mark.parametrize(
    ("changes", "fate"),
    [
        ({}, Fate.GOOD),
        ({"ttft_ms": 100.5}, Fate.LATE),
        ({"gaps_ms": (20.0, 21.0)}, Fate.SLOW),
        ({"gaps_ms": (200.0,), "is_slow": True}, Fate.GOOD),
        ({"is_right": False}, Fate.INEXACT),
        ({"is_right": False, "is_mistake": True}, Fate.GOOD),
        ({"outcome": "engine_failed", "is_right": False}, Fate.FAILED),
        ({"outcome": "truncated"}, Fate.FAILED),
        ({"outcome": "timeout"}, Fate.UNFINISHED),
        ({"outcome": "left"}, Fate.LEFT),
        ({"status": 503, "outcome": "no_engine", "first_s": None, "gaps_ms": ()}, Fate.REFUSED),
        ({"status": 500, "outcome": "internal", "first_s": None, "gaps_ms": ()}, Fate.FAILED),
        ({"status": 0, "outcome": "connect_refused", "first_s": None, "gaps_ms": ()}, Fate.FAILED),
    ],
    ids=lambda value: str(value) if isinstance(value, Fate) else "",
)
def test_every_request_has_one_fate(changes: dict[str, Any], fate: Fate, load_records: ModuleType) -> None:
    assert judge(load_records.record(**changes), LIMITS) is fate


def test_refused_and_failed_requests_count_as_answered_never(load_records: ModuleType) -> None:
    seen = series(
        *(load_records.record(n, ttft_ms=10.0 * (n + 1)) for n in range(6)),
        load_records.refused(6),
        load_records.failed(7),
        load_records.record(8, outcome="left"),
    )
    assert seen.latency("ttft").percentile(50) == pytest.approx(0.03)
    whole = seen.latency("ttft", of="all")
    assert whole.count == 8
    assert whole.percentile(75) == pytest.approx(0.06)
    assert whole.percentile(76) is None
    assert {measure: seen.share(measure) for measure in ("good", "completed", "available", "shed")} == {
        "good": (6, 8),
        "completed": (6, 8),
        "available": (6, 7),
        "shed": (1, 8),
    }


def test_percentiles_are_values_that_were_measured(load_records: ModuleType) -> None:
    sample = series(*(load_records.record(n, ttft_ms=n + 1.25) for n in range(99))).latency("ttft")
    assert [sample.percentile(percent) for percent in (1, 50, 99, 100)] == [
        pytest.approx(ms / 1000) for ms in (1.25, 50.25, 99.25, 99.25)
    ]


@pytest.mark.parametrize(
    ("objective", "met", "certain"),
    [
        (LatencyObjective(measure="ttft", percentile=90, at_most_ms=10), True, True),
        (LatencyObjective(measure="ttft", percentile=90, at_most_ms=9), False, True),
        (LatencyObjective(measure="ttft", percentile=99.9, at_most_ms=10), False, False),
        (LatencyObjective(measure="ttft", percentile=99.9, at_most_ms=10, of="served"), True, False),
        (ShareObjective(measure="good", at_least=99), True, False),
        (ShareObjective(measure="good", at_least=90), True, True),
        (ShareObjective(measure="shed", at_most=0.1), False, False),
        (RateObjective(measure="good_per_s", at_least=5), True, True),
        (RateObjective(measure="tokens_per_s", at_least=300), False, True),
        (PauseObjective(at_most_ms=5), True, True),
        (PauseObjective(at_most_ms=4), False, True),
        (InexactObjective(at_most=0), True, True),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, bool) else "",
)
def test_objectives(objective: Objective, met: bool, certain: bool, load_records: ModuleType) -> None:
    seen = series(*(load_records.record(n) for n in range(199)), load_records.refused(199))
    judged = verdict.judge(objective, seen)
    assert (judged.met, judged.certain) == (met, certain), judged


def test_an_inexact_stream_is_a_miss_though_no_objective_says_so(load_records: ModuleType) -> None:
    good = [load_records.record(n) for n in range(9)]
    assert all(each.met for each in verdict.judge_all([], series(*good)))
    judged = verdict.judge_all([], series(*good, load_records.record(9, is_right=False)))
    assert verdict.exit_status(judged, is_valid=True) is Exit.MISSED
    patient = verdict.judge_all([InexactObjective(at_most=1)], series(*good, load_records.record(9, is_right=False)))
    assert verdict.exit_status(patient, is_valid=True) is Exit.MET


def test_a_model_may_err_now_and_then_and_no_more(load_records: ModuleType) -> None:
    mistake = load_records.record(0, is_right=False, is_mistake=True)
    many = [load_records.record(n) for n in range(1, 100)]
    assert verdict.exit_status(verdict.judge_all([], series(mistake, *many)), is_valid=True) is Exit.MET
    assert verdict.exit_status(verdict.judge_all([], series(mistake, *many[:9])), is_valid=True) is Exit.MISSED


def test_a_run_whose_generator_lagged_is_invalid_whatever_it_met(load_records: ModuleType) -> None:
    seen = series(*(load_records.record(n, begun_s=n / 10 + (0.02 if n % 10 else 0.0)) for n in range(100)))
    lag = summary.lag(seen, [0.001] * 100, 10.0, "", 0.0)
    assert lag.p99_ms == pytest.approx(20.0)
    assert not lag.valid
    assert verdict.exit_status([], is_valid=lag.valid) is Exit.INVALID
    assert not summary.lag(series(load_records.record()), [0.02] * 100, 10.0, "", 0.0).valid


def test_seconds_add_up(load_records: ModuleType) -> None:
    records = [load_records.record(n, gaps_ms=(700.0, 700.0)) for n in range(20)]
    seconds = summary.timeline(series(*records, load_records.refused(20)))
    assert [second.due for second in seconds] == [10, 10, 1, 0]
    assert sum(second.ended for second in seconds) == 21
    assert sum(second.refused for second in seconds) == 1
    assert sum(second.tokens for second in seconds) == pytest.approx(60)
    assert seconds[-1].open == 0


def test_pauses_are_found_where_they_were(load_records: ModuleType) -> None:
    quiet = load_records.record(0, gaps_ms=(10.0, 400.0, 10.0))
    other = load_records.record(1, gaps_ms=(5.0, 100.0, 5.0))
    found = summary.pauses(series(quiet, other))
    assert [found.longest_s, found.longest_at_s] == pytest.approx([0.4, 0.02])
    # the other stream's tokens come at 0.11, 0.115, 0.215 and 0.22 s, in the midst of it
    assert [found.silence_s, found.silence_at_s] == pytest.approx([0.2, 0.22])


def test_the_clients_clock_is_held_against_the_servers(load_records: ModuleType) -> None:
    found = summary.server_clock(series(*(load_records.record(n, ttft_ms=10.0) for n in range(5))))
    assert found.n == 5
    assert found.ttft_p50_difference_ms == pytest.approx(1.0)


def test_intervals_are_those_of_the_books() -> None:
    assert intervals.share(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert intervals.share(0, 0) == (0.0, 1.0)
    assert intervals.rank_interval(50, 100) == (40, 61)
    assert intervals.rank_interval(99, 100) == (97, None)  # P(B <= 96) = 0.018, P(B <= 97) = 0.079
    low, high = intervals.mean_per_second([10.0, 12.0, 8.0, 10.0] * 10)
    assert 9.0 < low < 10.0 < high < 11.0
