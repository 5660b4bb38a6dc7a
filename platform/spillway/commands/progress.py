"""What `spillway serve` writes on standard error: on a terminal a line per process, rewritten; else plain lines.

When all have started, plain lines are written on a terminal, too.

::

    engine-0   warming linear ████████████········  60 %
    engine-1   ready
    gateway-0  ready
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from spillway_wire.oplog import Writable

_BAR: Final = 20
_UP: Final = "\x1b[{}A"
_CLEAR_LINE: Final = "\x1b[2K"
_CLEAR_BELOW: Final = "\x1b[J"
_PLAIN_STEP: Final = 0.25
"""Plain lines come when what a process does changes, and each time this share more of it is done."""
_SHARE: Final = re.compile(r"(.*?) *(\d{1,3}) ?%")


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a process is."""

    state: str
    """Such as `loading` or `ready`."""
    doing: str = ""
    """What it does in that state, such as `weights`."""
    share: float | None = None
    """How much of that is done, from 0 to 1."""

    @classmethod
    def of(cls, state: str, detail: str) -> "Stage":
        """Read what the supervisor reports: `weights 50 %`, or anything else."""
        found = _SHARE.fullmatch(detail)
        return cls(state, detail) if found is None else cls(state, found[1], int(found[2]) / 100)

    @property
    def words(self) -> str:
        """The stage without its share."""
        return self.doing if self.doing.startswith(self.state) else f"{self.state} {self.doing}".rstrip()

    @property
    def step(self) -> int:
        """Changes when a plain line is due."""
        return 0 if self.share is None else int(self.share / _PLAIN_STEP)


class Progress:
    """Writes stages and other lines as they come; a stream that nobody reads any more is no reason to stop."""

    def __init__(self, stream: Writable, *, is_terminal: bool, now: Callable[[], str], width: int = 80) -> None:
        """`now` tells the time for plain lines; a terminal's user knows it."""
        self._stream, self._is_terminal, self._now, self._width = stream, is_terminal, now, width
        self._rewrites = is_terminal
        self._stages: dict[str, Stage] = {}
        self._num_drawn = 0

    def show(self, name: str, stage: Stage) -> None:
        """Say where a process is now. What is shown already is not repeated."""
        before = self._stages.get(name)
        if stage == before:
            return
        if self._rewrites:
            self._stages[name] = stage
            self._write(self._drawing())
        elif before is None or (before.words, before.step) != (stage.words, stage.step):
            self._stages[name] = stage
            self.say(f"{name}  {_line(stage, with_bar=False)}")

    def say(self, text: str) -> None:
        """Write a line that stays."""
        line = text if self._is_terminal else f"{self._now()} {text}"
        if self._num_drawn:  # it goes above the lines that are rewritten
            self._write(f"{_UP.format(self._num_drawn)}{_CLEAR_BELOW}{line}\n")
            self._num_drawn = 0
            self._write(self._drawing())
        else:
            self._write(f"{line}\n")

    def settle(self) -> None:
        """Leave what is drawn standing, and write plain lines from now on. Idempotent."""
        self._rewrites = False
        self._num_drawn = 0

    def _drawing(self) -> str:
        up = _UP.format(self._num_drawn) if self._num_drawn else ""
        longest = max(map(len, self._stages))
        lines = [f"{name:{longest}}  {_line(stage, with_bar=True)}" for name, stage in self._stages.items()]
        self._num_drawn = len(lines)
        # A line that wraps would break the count of lines to go up.
        return up + "".join(f"{_CLEAR_LINE}{line[: self._width - 1]}\n" for line in lines)

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            return


def _line(stage: Stage, *, with_bar: bool) -> str:
    if stage.share is None:
        return stage.words
    share = min(max(stage.share, 0.0), 1.0)
    done = round(share * _BAR)
    bar = "█" * done + "·" * (_BAR - done) + " " if with_bar else ""
    return f"{stage.words} {bar}{share:4.0%}"


def event_line(event: str, fields: dict[str, object]) -> str:
    """Return an event of the supervisor as one line: `restart_in engine=engine-0 seconds=0.1`."""
    words = [f"{name}={_value(value)}" for name, value in fields.items()]
    return " ".join([event, *words])


def _value(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if text and text.isprintable() and not set(text) & set(' "=') else repr(text)
