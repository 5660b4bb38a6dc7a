"""What serve shows while it starts: rewritten lines on a terminal, plain lines elsewhere."""

from io import StringIO

from spillway.commands.progress import Progress, Stage, event_line


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
    progress = Progress(screen, is_terminal=True, now=lambda: "never", width=80)

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
    assert screen.lines == ["no_redis", "engine-0   ready", "gateway-0  ready", "later", "engine-0  backoff"]


def test_a_line_never_wraps() -> None:
    screen = Screen()
    progress = Progress(screen, is_terminal=True, now=lambda: "", width=40)

    progress.show("engine-0", Stage("loading", "w" * 100))

    assert [len(line) for line in screen.lines] == [39]


def test_elsewhere_plain_lines_come_when_something_changes_and_not_for_every_percent() -> None:
    stream = StringIO()
    progress = Progress(stream, is_terminal=False, now=lambda: "12:00")

    for percent in range(1, 100):
        progress.show("engine-0", Stage.of("loading", f"weights {percent}%"))
    progress.show("engine-0", Stage.of("ready", ""))
    progress.show("engine-0", Stage.of("ready", ""))

    assert stream.getvalue().splitlines() == [
        "12:00 engine-0  loading weights   1%",
        "12:00 engine-0  loading weights  25%",
        "12:00 engine-0  loading weights  50%",
        "12:00 engine-0  loading weights  75%",
        "12:00 engine-0  ready",
    ]


def test_nobody_reading_is_no_reason_to_stop() -> None:
    stream = StringIO()
    stream.close()
    progress = Progress(stream, is_terminal=False, now=lambda: "")

    progress.show("engine-0", Stage("ready"))
    progress.say("still here")


def test_what_a_process_does_is_read_from_what_is_reported() -> None:
    assert Stage.of("loading", "weights 50%") == Stage("loading", "weights", 0.5)
    assert Stage.of("loading", "weights 7 %") == Stage("loading", "weights", 0.07)
    assert Stage.of("loading", "50 % more") == Stage("loading", "50 % more")
    assert Stage.of("ready", "") == Stage("ready")


def test_an_event_is_one_line_whatever_its_fields() -> None:
    assert event_line(
        "died", {"engine": "engine-0", "message": 'a "b"\nc', "count": 2, "seconds": 0.1234567, "none": ""}
    ) == ("died engine=engine-0 message='a \"b\"\\nc' count=2 seconds=0.1235 none=''")
