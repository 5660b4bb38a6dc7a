"""A stream that never makes its writer wait: a thread of its own writes, and what it cannot keep up with is dropped.

When it can write again, one line tells how much was dropped, at the place where it is missing.

The supervisor logs from the loop that sees engines die. A terminal that was stopped with Ctrl-S, or a pipe that nobody
reads, must not stop that loop.
"""

import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

_MAX_PENDING = 10_000


def _dropped_line(count: int) -> str:
    return f"{count} lines are missing here: whoever reads this did not keep up\n"


class DetachedStream:
    """Writes to `stream` in the background, in order. It is a context; its end waits a while for what is pending."""

    def __init__(
        self,
        stream: TextIO,
        *,
        max_pending: int = _MAX_PENDING,
        farewell_s: float = 1.0,
        dropped_line: Callable[[int], str] = _dropped_line,
    ) -> None:
        """`dropped_line` makes of the number of dropped writes the line that tells it."""
        self._stream = stream
        self._dropped_line = dropped_line
        self._max_pending = max_pending
        self._farewell_s = farewell_s
        self._pending: deque[str] = deque()
        self._there_is = threading.Condition()
        self._ending = False
        self.num_dropped = 0
        self._num_untold = 0
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()

    def write(self, text: str, /) -> int:
        """Take `text`, or drop and count it if too much is pending. Returns at once."""
        with self._there_is:
            if len(self._pending) >= self._max_pending:
                self.num_dropped += 1
                self._num_untold += 1
            else:
                self._pending.append(text)
                self._there_is.notify()
        return len(text)

    def flush(self) -> None:
        """Nothing: the thread flushes."""

    def isatty(self) -> bool:
        """Whether people read along."""
        return self._stream.isatty()

    def __enter__(self) -> Self:
        return self

    def _write_all(self) -> None:
        while True:
            with self._there_is:
                while not self._pending and not self._ending:
                    self._there_is.wait()
                if not self._pending:
                    return
                text = "".join(self._pending)
                self._pending.clear()
                if self._num_untold:  # while some were dropped there was no room: they came after all that is pending
                    text += self._dropped_line(self._num_untold)
                    self._num_untold = 0
            try:
                self._stream.write(text)
                self._stream.flush()
            except OSError:  # a full disk may have room again; of a broken pipe nobody wants to know
                with self._there_is:
                    lines = text.count("\n")
                    self.num_dropped += lines
                    self._num_untold += lines
            except ValueError:  # a closed file
                return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._there_is:
            self._ending = True
            self._there_is.notify()
        self._thread.join(self._farewell_s)
