"""What a process tells its operator: one JSON object a line on standard error, and never too many.

At a terminal people read along: there a line is for them, in colours unless `NO_COLOR` is set.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import msgspec

CHILD_STATE: Final = "child_state"
"""The event of every change of a child's state."""
REQUEST: Final = "request"
"""The event of a request that has ended."""
_DIM: Final = "\x1b[2m"
_BOLD: Final = "\x1b[1m"
_RED: Final = "\x1b[31;1m"
_CYAN: Final = "\x1b[36m"
_PLAIN: Final = "\x1b[0m"
_BAD: Final = ("failed", "fails", "unreachable", "hung", "lost")
"""How the names of events end that somebody should look at."""


class Writable(Protocol):
    """Where lines go; `sys.stderr` is one."""

    def write(self, text: str, /) -> object:
        """Take a line."""

    def flush(self) -> object:
        """See that it leaves."""


def is_terminal(stream: object) -> bool:
    """Whether people read what is written there."""
    isatty: Callable[[], bool] = getattr(stream, "isatty", bool)
    try:
        return isatty()
    except ValueError:  # a closed file
        return False


def as_json(at: float, event: str, fields: Mapping[str, object]) -> str:
    """Return an event as a line for programs."""
    return encode_json({"at": round(at, 3), "event": event, **fields})


def encode_json(said: Mapping[str, object]) -> str:
    """Return fields as JSON; what JSON does not know as the text that it gives of itself."""
    return msgspec.json.encode(said, enc_hook=str).decode()


def readable(at: float, event: str, fields: Mapping[str, object], *, colours: bool) -> str:
    """Return an event as a line for people, with the local time of day."""
    clock = time.strftime("%H:%M:%S", time.localtime(at)) + f"{at % 1:.3f}"[1:]
    shown = [
        (key, json.dumps(value, default=str) if _needs_quotes(value) else str(value)) for key, value in fields.items()
    ]
    if not colours:
        return " ".join([clock, event, *(f"{key}={value}" for key, value in shown)])
    name = _RED if "error" in fields or event.endswith(_BAD) else _BOLD
    pairs = (f"{_CYAN}{key}{_DIM}={_PLAIN}{value}" for key, value in shown)
    return " ".join([f"{_DIM}{clock}{_PLAIN}", f"{name}{event}{_PLAIN}", *pairs])


def _needs_quotes(value: object) -> bool:
    if not isinstance(value, str):
        return isinstance(value, dict | list | tuple)
    return not value or not value.isprintable() or " " in value or '"' in value


class OperatorLog:
    """Writes events. Prompts and outputs are never among their fields."""

    def __init__(self, stream: Writable | None = None, **common: object) -> None:
        self._stream = stream or sys.stderr
        self._common = common
        self._for_people = is_terminal(self._stream)
        self._colours = "NO_COLOR" not in os.environ

    def __call__(self, event: str, **fields: object) -> None:
        """Write one event; a reader that has gone away is no reason to stop serving."""
        at, said = time.time(), {**self._common, **fields}
        line = readable(at, event, said, colours=self._colours) if self._for_people else as_json(at, event, said)
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # a broken pipe, a closed file
            return


class RateLimited:
    """An event that a misbehaving peer can cause at will: the first of each second is logged, with the count since."""

    def __init__(self, log: Callable[..., None], event: str, clock_ns: Callable[[], int]) -> None:
        self._log, self._event, self._clock_ns = log, event, clock_ns
        self._silent_until_ns = 0
        self._suppressed = 0

    def __call__(self, **fields: object) -> None:
        """Log the event, or only count it."""
        now_ns = self._clock_ns()
        if now_ns < self._silent_until_ns:
            self._suppressed += 1
            return
        self._log(self._event, suppressed=self._suppressed, **fields)
        self._suppressed = 0
        self._silent_until_ns = now_ns + 1_000_000_000
