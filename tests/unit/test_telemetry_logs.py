"""The log of gateways and ops: the supervisor's keys, thinned out, and never in anybody's way."""

import io
import json
import threading
import time
from typing import Any

import pytest

from spillway.supervisor.detached import DetachedStream
from spillway.telemetry.logs import EventLog
from spillway_wire.oplog import OperatorLog, readable


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class FullDisk(io.StringIO):
    def __init__(self) -> None:
        super().__init__()
        self.full = True

    def write(self, text: str, /) -> int:
        if self.full:
            raise OSError(28, "No space left on device")
        return super().write(text)


class Stuck(io.StringIO):
    """A pipe that nobody reads, until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.waited, self.go = threading.Event(), threading.Event()

    def write(self, text: str, /) -> int:
        self.waited.set()
        self.go.wait(10)
        return super().write(text)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def test_both_logs_write_the_same_lines(stream: io.StringIO) -> None:
    log = EventLog(stream, process="gateway-0", incarnation=2)
    log("request", request_id="r1", outcome="completed", seconds=0.5, trace_id="ab", who=object)
    log.close()
    theirs = io.StringIO()
    OperatorLog(theirs, process="gateway-0", incarnation=2)(
        "request", request_id="r1", outcome="completed", seconds=0.5, trace_id="ab", who=object
    )
    ours, other = lines(stream)[0], lines(theirs)[0]
    assert list(ours) == list(other)
    assert {**ours, "at": 0} == {**other, "at": 0}


def test_a_field_cannot_pass_for_a_key_of_the_line(stream: io.StringIO) -> None:
    log = EventLog(stream)
    log("order", at=0, exc_info=True, positional_args=(1,), logger="x")
    log.close()
    (line,) = lines(stream)
    assert line["at"] > 1e9
    assert line["event"] == "order"
    assert line["exc_info"] is True


def test_what_repeats_is_counted_and_what_was_asked_for_is_not(stream: io.StringIO) -> None:
    now = [1_000.0]
    log = EventLog(stream, per_second=5, wall=lambda: now[0])
    for _ in range(20):
        log("malformed_frame")
        log("request")
    now[0] += 1
    log("malformed_frame")
    log.close()
    written = lines(stream)
    assert sum(line["event"] == "request" for line in written) == 20
    bad = [line for line in written if line["event"] == "malformed_frame"]
    assert len(bad) == 6
    assert bad[-1]["suppressed"] == 15


def test_requests_are_told_each_unless_a_flood_is_refused(stream: io.StringIO) -> None:
    log = EventLog(stream, per_second=5, wall=lambda: 1_000.0)
    for number in range(20):
        log("request", request_id=f"ok-{number}", outcome="completed")
        log("request", outcome="overloaded")
        log("request", outcome="quota")
    log.close()
    outcomes = [line["outcome"] for line in lines(stream)]
    assert [outcomes.count(each) for each in ("completed", "overloaded", "quota")] == [20, 5, 5]


def test_a_full_disk_is_no_reason_to_stop() -> None:
    disk = FullDisk()
    log = EventLog(disk)
    for _ in range(10):
        log("request")
    log.close()
    assert log.num_unwritten == 10
    again = EventLog(disk)
    disk.full = False
    again("request")
    again.close()
    assert len(lines(disk)) == 1


def test_a_pipe_that_nobody_reads_costs_lines_and_not_time() -> None:
    pipe = Stuck()
    log = EventLog(pipe, capacity=10)
    log("first")
    assert pipe.waited.wait(10)
    for _ in range(50):
        log("request")  # would wait for ten seconds each
    assert log.num_dropped == 40
    pipe.go.set()
    log.close(10)
    written = lines(pipe)
    assert len(written) == 11
    assert sum(line.get("dropped", 0) for line in written) == 40


def test_a_closed_stream_is_no_error(stream: io.StringIO) -> None:
    stream.close()
    log = EventLog(stream)
    log("ended")
    log.close()
    assert log.num_unwritten == 1


def test_people_at_a_terminal_get_colours() -> None:
    terminal = Terminal()
    log = EventLog(terminal, process="gateway-0")
    log("engine_ended", cause="signal")
    log.close()
    assert "\x1b[" in terminal.getvalue()
    assert "engine_ended" in terminal.getvalue()


def test_the_supervisors_log_is_readable_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    OperatorLog(terminal)("engine_ended", cause="signal", message="exit by signal 9", asked=False)
    assert "\x1b[1mengine_ended\x1b[0m" in terminal.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal()
    OperatorLog(plain)("engine_ended", cause="signal", message="exit by signal 9", asked=False)
    said = plain.getvalue().strip().partition(" ")[2]
    assert said == 'engine_ended cause=signal message="exit by signal 9" asked=False'


@pytest.mark.parametrize(("event", "fields"), [("trace_store_fails", {}), ("cannot_start", {"error": "x"})])
def test_bad_news_is_red(event: str, fields: dict[str, str]) -> None:
    assert f"\x1b[31;1m{event}" in readable(0.0, event, fields, colours=True)


def test_a_line_break_in_a_field_makes_no_second_line() -> None:
    assert "\n" not in readable(0.0, "output", {"line": "a\nb\x1b[0m", "more": ["x\n"]}, colours=False)


def test_the_supervisors_log_goes_on_when_the_disk_has_room_again() -> None:
    disk = FullDisk()
    with DetachedStream(disk, dropped_line=lambda count: f"-{count}\n") as stream:
        stream.write("lost\n")
        until = time.monotonic() + 10
        while not stream.num_dropped:
            assert time.monotonic() < until
            time.sleep(0.001)
        disk.full = False
        stream.write("kept\n")
    assert disk.getvalue() == "kept\n-1\n"
