"""What `spillway serve` shows on a terminal while it starts: a line per process, rewritten, below what was said.

::

    engine-0   warming linear ████████████········  60 %
    engine-1   ready
    gateway-0  ready
"""

import re
from dataclasses import dataclass
from typing import Final

from spillway_wire.oplog import Writable

_BAR: Final = 20
_UP: Final = "\x1b[{}A"
_CLEAR_LINE: Final = "\x1b[2K"
_CLEAR_BELOW: Final = "\x1b[J"
_STEP: Final = 0.25
"""Elsewhere a line comes when what a process does changes, and each time this share more of it is done."""
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
        """Changes when a line is due where none can be rewritten."""
        return 0 if self.share is None else int(self.share / _STEP)


class Progress:
    """Draws stages and writes other lines as they come; a terminal that is gone is no reason to stop."""

    def __init__(self, stream: Writable, *, width: int = 80) -> None:
        self._stream, self._width = stream, width
        self._is_settled = False
        self._stages: dict[str, Stage] = {}
        self._num_drawn = 0

    def show(self, name: str, stage: Stage) -> None:
        """Say where a process is now. What is shown already is not repeated."""
        if self._is_settled or stage == self._stages.get(name):
            return
        self._stages[name] = stage
        self._write(self._drawing())

    def say(self, line: str) -> None:
        """Write a line that stays."""
        if self._num_drawn:  # it goes above the lines that are rewritten
            self._write(f"{_UP.format(self._num_drawn)}{_CLEAR_BELOW}{line}\n")
            self._num_drawn = 0
            self._write(self._drawing())
        else:
            self._write(f"{line}\n")

    def settle(self) -> None:
        """Leave what is drawn standing, and draw no more. Idempotent."""
        self._is_settled = True
        self._num_drawn = 0

    def _drawing(self) -> str:
        up = _UP.format(self._num_drawn) if self._num_drawn else ""
        longest = max(map(len, self._stages))
        lines = [f"{name:{longest}}  {_line(stage)}" for name, stage in self._stages.items()]
        self._num_drawn = len(lines)
        # A line that wraps would break the count of lines to go up.
        return up + "".join(f"{_CLEAR_LINE}{line[: self._width - 1]}\n" for line in lines)

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            return


def _line(stage: Stage) -> str:
    if stage.share is None:
        return stage.words
    share = min(max(stage.share, 0.0), 1.0)
    done = round(share * _BAR)
    return f"{stage.words} {'█' * done}{'·' * (_BAR - done)} {share:4.0%}"
