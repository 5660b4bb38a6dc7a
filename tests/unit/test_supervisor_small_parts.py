"""Totals that survive, when to give up, what a reload takes over, how often it was asked to end, lines and the log."""

import asyncio
import io
import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from spillway.child import beat
from spillway.settings import DrainSettings, GenerationSettings, LimitSettings, RestartSettings, Settings
from spillway.supervisor.child_output import error_in, forward, parse_event
from spillway.supervisor.detached import DetachedStream
from spillway.supervisor.exits import Exit
from spillway.supervisor.give_up import cannot_start, none_left
from spillway.supervisor.lifecycle import State
from spillway.supervisor.place import LastExit
from spillway.supervisor.process import Stream
from spillway.supervisor.reload import HangUps, differences, reloader, taken_over
from spillway.supervisor.stop_requests import END, HURRY, KILL, StopRequests
from spillway.supervisor.totals import Totals, engine_counts, open_requests, settle
from spillway_wire.outcomes import Outcome
from spillway_wire.page import Counter
from spillway_wire.plane import ChildBeat, ExitCause
from spillway_wire.tally import OUTCOME, TallyWriter

POLICY = RestartSettings()

# ---- totals ----


def test_totals_add_up_over_incarnations() -> None:
    totals = Totals()
    totals.keep({"arrivals": 3, "output_tokens": 10})
    totals.keep({"arrivals": 2, "recoveries": 1})
    assert totals.plus({"arrivals": 4}) == {"arrivals": 9, "output_tokens": 10, "recoveries": 1}
    assert totals.plus({}) == {"arrivals": 5, "output_tokens": 10, "recoveries": 1}


def test_gauges_of_a_dead_engine_are_not_kept() -> None:
    counts, gauges = engine_counts({counter: counter + 1 for counter in Counter})
    assert set(gauges) == {"running", "waiting", "free_blocks", "waiting_prefill_tokens"}
    assert set(counts) | set(gauges) == {counter.name.lower() for counter in Counter}
    assert counts["requests_received"] == 1


def test_what_a_dead_gateway_held_open_is_its_failure() -> None:
    tally = TallyWriter()
    for _ in range(5):
        tally.arrive()
    tally.finish(Outcome.COMPLETED)
    tally.finish(Outcome.GATEWAY_FAILED)
    counts = {"arrivals": 5, **{f"outcome_{o.value}": tally._counts[place] for o, place in OUTCOME.items()}}
    tally.close()
    assert open_requests(counts) == 3
    settled = settle(counts)
    assert open_requests(settled) == 0
    assert settled["outcome_gateway_failed"] == 4
    assert open_requests({}) == 0


# ---- giving up ----


def place(
    state: State = State.BACKOFF,
    *,
    status: int = 1,
    failed: int = 2,
    ever_ready: bool = False,
    cause: str = "failed_start",
) -> Any:
    last = LastExit(Exit(ExitCause(cause), f"exit status {status}: no weights", status), 1, 0.0)
    return SimpleNamespace(
        id="engine-0", state=state, failed_starts=failed, ever_ready=ever_ready, last_exit=last if failed else None
    )


@pytest.mark.parametrize(
    ("engine", "hopeless"),
    [
        (place(status=2, failed=1), True),
        (place(status=1, failed=1), False),
        (place(status=1, failed=2), True),
        (place(status=-9, failed=2), False),
        (place(status=-9, failed=6), True),
        (place(status=2, failed=1, ever_ready=True), False),
        (place(State.SPAWNING, status=1, failed=2), True),
        (place(failed=0), False),
        (place(status=70, failed=2, cause="out_of_memory"), False),
    ],
)
def test_a_model_whose_engines_all_say_why_they_cannot_start_is_given_up(engine: Any, *, hopeless: bool) -> None:
    reason = cannot_start([engine, engine], POLICY)
    assert (reason is not None) == hopeless
    if reason is not None:
        assert reason.endswith("no weights")
    assert cannot_start([engine, place(failed=0)], POLICY) is None
    assert cannot_start([], POLICY) is None


@pytest.mark.parametrize(
    ("engine", "lost"),
    [
        (place(State.PARKED, failed=7, ever_ready=True), True),
        (place(State.PARKED, failed=6, ever_ready=True), False),  # it has not been tried since it was parked
        (place(State.BACKOFF, failed=7), False),
        (place(State.STOPPED, failed=7), False),
    ],
)
def test_a_pool_is_lost_when_every_engine_is_parked_and_was_tried_again_in_vain(engine: Any, *, lost: bool) -> None:
    assert (none_left([engine, engine], POLICY) is not None) == lost
    assert none_left([engine, place(State.READY)], POLICY) is None


def test_a_drained_engine_does_not_keep_a_pool_alive_in_which_no_other_can_be_started() -> None:
    parked, drained = place(State.PARKED, failed=7), place(State.STOPPED, failed=0)
    assert none_left([drained, parked], POLICY) == "engine-0 cannot start: exit status 1: no weights"
    assert none_left([drained, drained], POLICY) is None  # as somebody wished


# ---- reload ----


def test_differences_are_named_by_setting() -> None:
    before = Settings()
    after = replace(before, gateways=3, drain=DrainSettings(grace_s=1))
    assert differences(before, after) == ("gateways", "drain")
    assert differences(before, before) == ()


def test_a_reload_applies_what_it_can_and_names_the_rest() -> None:
    applied: list[Settings] = []
    logged: list[tuple[str, dict[str, Any]]] = []
    fresh = Settings(gateways=3, drain=DrainSettings(grace_s=1))
    reloader(Settings, lambda: fresh, applied.append, lambda event, **facts: logged.append((event, facts)))()
    assert applied == [fresh]
    assert logged == [("reloaded", {"taken_over": ["drain"], "need_restart": ["gateways"]})]


def test_a_reload_of_what_cannot_be_read_changes_nothing() -> None:
    applied: list[Settings] = []
    logged: list[tuple[str, dict[str, Any]]] = []

    def read() -> Settings:
        raise ValueError("line 3: no such setting")

    reloader(Settings, read, applied.append, lambda event, **facts: logged.append((event, facts)))()
    assert applied == []
    assert logged == [("reload_failed", {"error": "ValueError: line 3: no such setting"})]


def test_a_settings_file_that_cannot_be_written_is_told_and_changes_nothing() -> None:
    logged: list[str] = []

    def apply(_: Settings) -> None:
        raise OSError("no space left on device")

    reloader(Settings, Settings, apply, lambda event, **_: logged.append(event))()
    assert logged == ["reload_failed"]


def test_what_was_taken_over_leaves_the_rest_as_it_was() -> None:
    fresh = Settings(gateways=3, limits=LimitSettings(engine_wait_s=1), generation=GenerationSettings(top_p=0.5))
    assert taken_over(Settings(), fresh) == replace(fresh, gateways=1)


def test_a_hang_up_before_there_is_anything_to_reload_is_heeded_when_there_is() -> None:
    reloads: list[str] = []
    hang_ups = HangUps()
    hang_ups.hear()
    hang_ups.hear()
    hang_ups.begin(lambda: reloads.append("reload"))
    assert reloads == ["reload"]
    hang_ups.hear()
    assert reloads == ["reload"] * 2

    quiet = HangUps()
    quiet.begin(lambda: reloads.append("unasked"))
    assert "unasked" not in reloads


# ---- requests to stop ----


def test_asking_wakes_exactly_those_who_wait_for_so_many() -> None:
    async def main() -> None:
        requests = StopRequests()
        waiting = {level: asyncio.create_task(requests.reached(level)) for level in (END, HURRY, KILL)}
        await asyncio.sleep(0)
        for count in (END, HURRY, KILL):
            requests.ask()
            await asyncio.sleep(0)
            assert [level for level, task in waiting.items() if task.done()] == list(range(1, count + 1))
        await requests.reached(HURRY)
        assert await requests.within(HURRY, 0)

    asyncio.run(main())


def test_what_may_be_said_twice_is_one_request() -> None:
    requests = StopRequests()
    requests.ask_once()
    requests.ask_once()
    assert requests.count == END
    requests.ask()
    requests.ask_once()
    assert requests.count == HURRY


def test_waiting_for_an_ask_has_an_end() -> None:
    async def main() -> None:
        requests = StopRequests()
        assert not await requests.within(END, 0)
        requests.ask()
        assert await requests.within(END, 0)
        assert not await requests.within(HURRY, 0)

    asyncio.run(main())


# ---- lines and log ----


def test_event_lines_stay_events_and_others_become_one() -> None:
    logged: list[tuple[str, dict[str, Any]]] = []
    take = forward(lambda event, **facts: logged.append((event, facts)), "gateway-0")
    take(Stream.ERRORS, '{"at": 1.5, "event": "slow", "ms": 3}')
    take(Stream.OUTPUT, "hello")
    take(Stream.ERRORS, "")
    assert logged == [("slow", {"child": "gateway-0", "ms": 3}), ("output", {"child": "gateway-0", "line": "hello"})]


@pytest.mark.parametrize("line", ["", "ready", "{", '{"event": 3}', '{"no": "event"}', "[1]", '{"event": "x"'])
def test_other_lines_are_no_events(line: str) -> None:
    assert parse_event(line) is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ValueError: x", "ValueError: x"),
        ('{"event": "cannot_start", "error": "no weights"}', "no weights"),
        ('{"event": "ended", "cause": "asked to"}', ""),
        ("", ""),
    ],
)
def test_errors_are_found_in_lines(line: str, said: str) -> None:
    assert error_in(line) == said


class Stuck(io.StringIO):
    """A pipe that nobody reads, until it is freed."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.freed = threading.Event(), threading.Event()

    def write(self, text: str, /) -> int:
        self.entered.set()
        assert self.freed.wait(10)
        return super().write(text)


def test_the_log_never_waits_for_its_reader() -> None:
    stuck = Stuck()
    with DetachedStream(stuck, max_pending=3) as stream:
        stream.write("a\n")
        assert stuck.entered.wait(10)
        for number in range(5):
            stream.write(f"{number}\n")
        assert stream.num_dropped == 2
        stuck.freed.set()
    assert stuck.getvalue() == "a\n0\n1\n2\n2 lines are missing here: whoever reads this did not keep up\n"


def test_a_gap_in_the_log_is_told_once_and_where_it_is() -> None:
    stuck = Stuck()
    with DetachedStream(stuck, max_pending=1, dropped_line=lambda count: f"-{count}\n") as stream:
        stream.write("a\n")
        assert stuck.entered.wait(10)
        for text in ("b\n", "c\n", "d\n"):
            stream.write(text)
        stuck.entered.clear()
        stuck.freed.set()
        assert stuck.entered.wait(10)  # it writes what was pending, so there is room again
        stream.write("e\n")
    assert stuck.getvalue() == "a\nb\n-2\ne\n"
    assert stream.num_dropped == 2


def test_the_log_survives_a_reader_that_is_gone() -> None:
    closed = io.StringIO()
    closed.close()
    with DetachedStream(closed) as stream:
        stream.write("a\n")
        stream.flush()


# ---- beats ----


def test_beats_tell_how_late_the_loop_was() -> None:
    now = [100.0]
    sent: list[ChildBeat] = []

    async def sleep(seconds: float) -> None:
        if len(sent) == 2:
            raise asyncio.CancelledError
        now[0] += seconds + (0.25 if sent else 0.0)

    async def main() -> None:
        link: Any = SimpleNamespace(send=sent.append)
        with pytest.raises(asyncio.CancelledError):
            await beat(link, facts=lambda: (len(sent), {"queue": 2.0}), clock=lambda: now[0], sleep=sleep)

    asyncio.run(main())
    assert [round(message.loop_lag_ms, 6) for message in sent] == [0.0, 250.0]
    assert [(message.open_requests, message.facts) for message in sent] == [(0, {"queue": 2.0}), (1, {"queue": 2.0})]
