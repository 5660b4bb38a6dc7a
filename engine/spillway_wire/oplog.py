"""What a process tells its operator: one JSON object a line on standard error, and never too many."""

import json
import sys
import time
from collections.abc import Callable
from typing import Protocol


class Writable(Protocol):
    """Where lines go; `sys.stderr` is one."""

    def write(self, text: str, /) -> object:
        """Take a line."""

    def flush(self) -> object:
        """See that it leaves."""


class OperatorLog:
    """Writes events. Prompts and outputs are never among their fields."""

    def __init__(self, stream: Writable | None = None, **common: object) -> None:
        self._stream = stream or sys.stderr
        self._common = common

    def __call__(self, event: str, **fields: object) -> None:
        """Write one event; a reader that has gone away is no reason to stop serving."""
        line = json.dumps({"at": round(time.time(), 3), "event": event, **self._common, **fields}, default=str)
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
