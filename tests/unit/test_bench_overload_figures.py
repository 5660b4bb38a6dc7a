"""What tries were worth: one fate each, figures that leave nothing out, and promises that are held or missed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.admission.contract import Objective
from spillway.bench.overload import aims
from spillway.bench.overload.capacity import Capacity, Probe
from spillway.bench.overload.judging import Fate, judge
from spillway.bench.overload.levels import Level, level_of
from spillway.bench.overload.measuring import StepFound
from spillway.bench.overload.plan import Record, Run, Seen
from spillway.bench.overload.promises import Promise

OBJECTIVE = Objective(ttft_s=1.0, tpot_s=0.1)
STATUSES = st.sampled_from([0, 200, 429, 500, 503])


def record(**facts: object) -> Record:
    """Return a good answer, but for `facts`: due at 1, first token at 1.5, then one each 50 ms."""
    good: dict[str, object] = {
        "number": 0,
        "group": "",
        "attempt": 0,
        "due_s": 1.0,
        "sent_s": 1.001,
        "ended_s": 1.7,
        "status": 200,
        "events_s": [1.5, 1.55, 1.6],
        "output_tokens": 3,
        "prompt_tokens": 10,
        "is_done": True,
        "is_exact": True,
    }
    return Record(**{**good, **facts})  # type: ignore[arg-type]


def refused(took_s: float, **facts: object) -> Record:
    given = {"status": 429, "events_s": [], "is_done": False, "is_exact": False, "code": "slow_down", **facts}
    return record(ended_s=1.001 + took_s, **given)


def level(*records: Record, seconds: float = 10.0) -> Level:
    return level_of("2x", Run(records, seconds, 0.1, "as usual"), lambda _: OBJECTIVE, seconds)


@pytest.mark.parametrize(
    ("facts", "fate"),
    [
        ({}, Fate.GOOD),
        ({"events_s": [2.0, 2.05, 2.1]}, Fate.GOOD),
        ({"events_s": [2.001, 2.05, 2.1]}, Fate.LATE),
        ({"events_s": [1.5, 1.701], "output_tokens": 3}, Fate.SLOW),
        ({"events_s": [1.5, 1.7], "output_tokens": 3}, Fate.GOOD),  # two tokens in the second event: 100 ms each
        ({"is_exact": False}, Fate.WRONG),
        ({"is_done": False}, Fate.FAILED),
        ({"status": 500, "events_s": [], "is_done": False}, Fate.FAILED),
        ({"status": 0, "events_s": [], "is_done": False}, Fate.FAILED),
        ({"status": 503, "events_s": [], "is_done": False}, Fate.REFUSED),
        ({"gave_up": True, "is_done": False}, Fate.UNFINISHED),
        ({"status": 0, "gave_up": True, "events_s": [], "is_done": False}, Fate.UNFINISHED),
    ],
)
def test_a_try_has_the_fate_of_what_came_first(facts: dict[str, object], fate: Fate) -> None:
    assert judge(record(**facts), OBJECTIVE) is fate


def test_the_first_token_counts_from_when_the_request_was_due() -> None:
    assert record(due_s=0.4, sent_s=1.4).ttft_s == pytest.approx(1.1)
    assert judge(record(due_s=0.4, sent_s=1.4), OBJECTIVE) is Fate.LATE


@given(
    st.lists(st.builds(record, status=STATUSES, is_done=st.booleans(), is_exact=st.booleans(), gave_up=st.booleans()))
)
def test_everything_that_was_asked_is_in_one_fate(records: list[Record]) -> None:
    found = level(*records)
    assert sum(found.fates.values()) == found.asked == len(records)


def test_a_level_tells_goodput_refusals_and_how_long_the_admitted_waited() -> None:
    waits = record(status=0, events_s=[], is_done=False, gave_up=True, ended_s=6.0)
    told = [refused(took / 1000, retry_after_s=1.0) for took in range(1, 100)]
    found = level(record(), record(), waits, *told, refused(0.5, status=503, code=None))
    assert (found.goodput, found.good_tokens_per_s, found.offered) == pytest.approx((0.2, 0.6, 10.3))
    assert found.ttft_p99_of_objective == pytest.approx(5.0)  # it waits still: that long at least
    assert set(found.refusals) == {"all", "429 slow_down", "503 without a code"}
    everyone = found.refusals["all"]
    assert (everyone.count, everyone.with_retry_after) == (100, 99)
    assert (everyone.p50_ms, everyone.p99_ms) == pytest.approx((50, 99))
    assert found.lateness_p99_ms == pytest.approx(1.0)


def test_a_refusal_that_forbids_to_come_back_has_said_enough() -> None:
    assert level(refused(0.001, should_retry=False)).refusals["all"].with_retry_after == 1


def test_a_level_of_refusals_alone_has_no_first_token() -> None:
    found = level(refused(0.001))
    assert (found.ttft_p99_s, found.ttft_p99_of_objective, found.tpot_p99_ms) == (None, None, None)


@pytest.mark.parametrize(
    ("found", "aim", "at_least", "held"),
    [(0.95, 0.95, True, True), (0.949, 0.95, True, False), (2.0, 2.0, False, True), (2.1, 2.0, False, False)],
)
def test_a_promise_is_held_at_its_aim(found: float, aim: float, at_least: bool, held: bool) -> None:
    assert Promise(what="it", found=found, aim=aim, at_least=at_least).held is held


def test_what_could_not_be_measured_is_no_success() -> None:
    promise = Promise(what="it", found=None, aim=1.0, unit="s")
    assert not promise.held
    assert promise.as_dict() == {"promise": "it", "aim": "<= 1 s", "found": "nothing", "held": False}


def test_far_beyond_capacity_the_aims_are_lower() -> None:
    records = [record() for _ in range(9)]
    near, far = level(*records, refused(0.015, retry_after_s=1.0)), level(*records, refused(0.015, retry_after_s=1.0))
    missed = [promise.what for promise in aims.level_promises({4.0: near, 10.0: far}, peak=1.0) if not promise.held]
    less = "2x: goodput of the peak, or of what was asked if that is less"
    assert missed == [less, "2x: time to a refusal, p99"]  # both of the near one


def test_a_step_after_which_nothing_is_good_has_not_held_because_it_is_steady() -> None:
    promises = aims.step_promises(StepFound(level(refused(0.001)), settled_s=0.0, strictly_s=None), peak=1.0)
    assert [promise.held for promise in promises] == [False, True, False]


def test_parts_of_a_run_are_put_together_in_order() -> None:
    parts = [
        Seen(records=[record(number=number, due_s=due)], seconds=seconds, cpu_s=1.0, scheduling="as usual")
        for number, due, seconds in ((1, 3.0, 10.0), (2, 2.0, 5.0))
    ]
    run = Run.of(parts)
    assert [each.number for each in run.records] == [2, 1]
    assert (run.seconds, run.cpu_share) == pytest.approx((10.0, 0.2))


def test_the_peak_is_that_of_a_rate_that_was_good_enough() -> None:
    capacity = Capacity(9.0, 10.0, (Probe(9.0, 0.96, 8.6), Probe(12.0, 0.8, 9.6)))
    assert capacity.peak == 8.6
    assert Capacity(9.0).peak == 9.0
