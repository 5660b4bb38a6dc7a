"""Who hangs: verdicts from what was seen, and none from eyes that were shut."""

import pytest

from spillway.supervisor.watchdog import Watch, late_beat, late_engine, late_start
from spillway_wire.page import EngineState, Progress

SECOND = 1_000_000_000
FLOOR = 2 * SECOND


def progress(
    *,
    state: EngineState = EngineState.READY,
    started_s: float | None = None,
    ticked_s: float = 0.0,
    expected_s: float = 0,
) -> Progress:
    return Progress(
        sequence=1,
        state=state,
        step=7,
        started_ns=None if started_s is None else int(started_s * SECOND),
        expected_ns=int(expected_s * SECOND),
        ticked_ns=int(ticked_s * SECOND),
        counters={},
        aboard=(),
        num_aboard=0,
    )


def test_an_idle_engine_that_stopped_ticking_hangs_after_the_floor() -> None:
    assert late_engine(progress(ticked_s=10), 12 * SECOND, FLOOR) is None
    assert late_engine(progress(ticked_s=10), 12 * SECOND + 1, FLOOR) == "no sign of life for 2.0 s after step 7"


def test_a_long_prefill_is_no_hang() -> None:
    long = progress(started_s=10, ticked_s=10, expected_s=1.5)
    assert late_engine(long, 22 * SECOND, FLOOR) is None
    assert late_engine(long, 23 * SECOND, FLOOR) == "step 7 has run for 13.0 s; 1.5 s were expected"


def test_another_floor_is_heeded() -> None:
    assert late_engine(progress(ticked_s=10), 16 * SECOND, 5 * SECOND) == "no sign of life for 6.0 s after step 7"
    assert late_engine(progress(ticked_s=10), 14 * SECOND, 5 * SECOND) is None


@pytest.mark.parametrize("state", [EngineState.SPAWNING, EngineState.LOADING, EngineState.WARMING, EngineState.STOPPED])
def test_only_an_engine_that_serves_is_judged_by_its_page(state: EngineState) -> None:
    assert late_engine(progress(state=state), 100 * SECOND, FLOOR) is None
    assert late_engine(None, 100 * SECOND, FLOOR) is None


def test_a_child_hangs_five_seconds_after_its_last_beat() -> None:
    assert late_beat(10 * SECOND, 15 * SECOND) is None
    assert late_beat(10 * SECOND, 16 * SECOND) == "no beat for 6.0 s"


def test_a_start_has_a_deadline() -> None:
    assert late_start(10 * SECOND, 70 * SECOND, 60) is None
    assert late_start(10 * SECOND, 71 * SECOND, 60) == "not ready within 60 s"


def test_a_watch_that_was_held_up_trusts_nothing_for_a_while() -> None:
    watch = Watch(pardon_ns=FLOOR)
    tenths = SECOND // 10
    assert [watch.look(number * tenths) for number in range(5)] == [True] * 5
    woken = 400 * SECOND  # the machine had been asleep
    assert not watch.look(woken)
    looks = [watch.look(woken + number * tenths) for number in range(1, 22)]
    assert looks == [False] * 19 + [True] * 2
    assert watch.num_stalls == 1


def test_a_second_stall_prolongs_the_pardon() -> None:
    watch = Watch(pardon_ns=FLOOR)
    watch.look(0)
    assert not watch.look(10 * SECOND)
    assert not watch.look(12 * SECOND)  # two seconds after the first stall, and stalled again
    assert watch.num_stalls == 2
