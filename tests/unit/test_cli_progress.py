"""What serve shows while it starts: rewritten lines on a terminal, JSON elsewhere."""

import json
from io import StringIO

from spillway.commands.progress import Progress, Stage
from spillway.commands.serve import Lines, Terminal


class Screen:
    """As much of a terminal as `Progress` uses."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.row = 0

    def write(self, text: str) -> int:
        rest = text
        while rest:
            if rest.startswith("\x1b["):
                end = next(index for index, letter in enumerate(rest) if letter.isalpha())
                argument, letter = rest[2:end], rest[end]
                rest = rest[end + 1 :]
                if letter == "A":
                    self.row -= int(argument)
                    assert self.row >= 0
                elif letter == "J":
                    del self.lines[self.row :]
                elif letter == "K" and self.row < len(self.lines):
                    self.lines[self.row] = ""
            else:
                line, _, rest = rest.partition("\n")
                self.lines[self.row : self.row + 1] = [line]
                self.row += 1
        return len(text)

    def flush(self) -> None:
        pass


def test_on_a_terminal_every_process_has_one_line_that_is_rewritten() -> None:
    screen = Screen()
    progress = Progress(screen, width=80)

    progress.show("engine-0", Stage.of("spawning", ""))
    progress.show("gateway-0", Stage.of("spawning", ""))
    progress.show("engine-0", Stage.of("loading", "weights 50%"))
    progress.show("gateway-0", Stage.of("ready", ""))
    assert screen.lines == ["engine-0   loading weights ██████████··········  50%", "gateway-0  ready"]

    progress.say("no_redis")
    progress.show("engine-0", Stage.of("warming", "warming up"))
    assert screen.lines == ["no_redis", "engine-0   warming up", "gateway-0  ready"]

    progress.show("engine-0", Stage.of("ready", ""))
    progress.settle()
    progress.say("later")
    progress.show("engine-0", Stage.of("backoff", ""))
    assert screen.lines == ["no_redis", "engine-0   ready", "gateway-0  ready", "later"]


def test_a_line_never_wraps() -> None:
    screen = Screen()
    progress = Progress(screen, width=40)

    progress.show("engine-0", Stage("loading", "w" * 100))

    assert [len(line) for line in screen.lines] == [39]


def test_elsewhere_each_event_is_json_and_progress_comes_by_quarters() -> None:
    stream = StringIO()
    lines = Lines(stream)

    for percent in range(1, 100):
        lines.moved("engine-0", "loading", f"weights {percent}%")
    lines.moved("engine-0", "ready", "")
    lines.log("child_state", child="engine-0", state="ready")
    lines.settle()

    said = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in said] == ["child_progress"] * 4 + ["child_state"]
    assert [line["share"] for line in said[:4]] == [0.01, 0.25, 0.5, 0.75]
    assert said[0] | {"at": 0} == {
        "at": 0, "event": "child_progress", "child": "engine-0", "state": "loading", "doing": "weights", "share": 0.01
    }  # fmt: skip


def test_events_at_a_terminal_have_colours_unless_nobody_wants_them() -> None:
    for environment, has_colours in (({}, True), ({"NO_COLOR": "1"}, False)):
        stream = StringIO()
        terminal = Terminal(stream, 80, environment)
        terminal.moved("engine-0", "ready", "")
        terminal.log("child_state", child="engine-0", state="ready")  # its own line says so already
        terminal.settle()
        terminal.log("child_state", child="engine-0", state="crashed")
        terminal.moved("engine-0", "backoff", "")
        text = stream.getvalue()
        assert ("\x1b[1mchild_state" in text) is has_colours
        assert text.count("child_state") == 1
        assert "backoff" not in text


def test_nobody_reading_is_no_reason_to_stop() -> None:
    stream = StringIO()
    stream.close()
    progress = Progress(stream, width=80)

    progress.show("engine-0", Stage("ready"))
    progress.say("still here")


def test_what_a_process_does_is_read_from_what_is_reported() -> None:
    assert Stage.of("loading", "weights 50%") == Stage("loading", "weights", 0.5)
    assert Stage.of("loading", "weights 7 %") == Stage("loading", "weights", 0.07)
    assert Stage.of("loading", "50 % more") == Stage("loading", "50 % more")
    assert Stage.of("ready", "") == Stage("ready")
