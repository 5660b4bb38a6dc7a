"""From what the loop offers to store and collector: one thread, one bounded queue, and nothing that anybody waits for.

The thread shares the interpreter with the loop that serves. So it makes a few traces at a time and lets the loop
go first after them, sleeps while there is little to do, and drops what it does not get done: telemetry is worth less
than an answer. What is dropped is counted.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from spillway.telemetry.tracing.shared import Buildable
from spillway.telemetry.tracing.trace import Trace

CAPACITY: Final = 4096
"""Traces that wait to be made."""
EVERY_S: Final = 0.2
BATCH: Final = 128
AT_ONCE: Final = 8
"""Traces made before the loop goes first again: a quarter of a millisecond. To hand over costs as much as one trace."""
BREATH_S: Final = 0.001
"""Between them: to give way is not enough, for the loop lets go of the interpreter with each system call."""
_FAREWELL_S: Final = 2.0


class Sink(Protocol):
    """Where traces go; called from the telemetry thread alone. Nothing is raised."""

    def write(self, traces: Sequence[Trace]) -> None:
        """Take them."""

    def facts(self) -> Mapping[str, float]:
        """Return counts by stable names."""

    def close(self, patience_s: float) -> None:
        """Bring out what is left, for at most so long."""


class Pipeline:
    """`start` it, `offer` to it, `close` it."""

    def __init__(
        self,
        sinks: Sequence[Sink],
        *,
        log: Callable[..., None],
        capacity: int = CAPACITY,
        every_s: float = EVERY_S,
        yielding: Callable[[], None] = lambda: time.sleep(BREATH_S),
    ) -> None:
        """`yielding` lets other threads go first."""
        self._sinks, self._log, self._capacity, self._every_s = tuple(sinks), log, capacity, every_s
        self._yield = yielding
        self._waiting: deque[Buildable] = deque()
        self._wake = threading.Event()
        self._flushes: deque[threading.Event] = deque()
        self._ending = False
        self._thread: threading.Thread | None = None
        self.num_made = self.num_dropped = self.num_failed = 0

    def start(self) -> None:
        """Begin to work."""
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._thread.start()

    def offer(self, item: Buildable) -> bool:
        """Take what is to become a trace; False if there is no room, and it is dropped. Returns at once."""
        if len(self._waiting) >= self._capacity:
            self.num_dropped += 1
            return False
        self._waiting.append(item)
        return True

    def flush(self, patience_s: float = _FAREWELL_S) -> bool:
        """Wait until all that was offered is made and written; False if that takes too long. Not for an event loop."""
        done = threading.Event()
        self._flushes.append(done)
        self._wake.set()
        return done.wait(patience_s)

    def close(self, patience_s: float = _FAREWELL_S) -> None:
        """Write what is left, for at most so long, and end the thread. Idempotent."""
        self._ending = True
        self._wake.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(patience_s)
        for sink in self._sinks:
            sink.close(patience_s)

    def facts(self) -> Mapping[str, float]:
        """Return counts by stable names, of this and of all sinks."""
        found: dict[str, float] = {"traces_dropped": self.num_dropped, "traces_failed": self.num_failed}
        for sink in self._sinks:
            found.update(sink.facts())
        return found

    # ---- in the thread ----

    def _run(self) -> None:
        while True:
            self._wake.wait(self._every_s)
            self._wake.clear()
            # both read before the queue: what was offered before them is written
            ending, num_flushes = self._ending, len(self._flushes)
            while self._waiting:
                self._work()
            for _ in range(num_flushes):
                self._flushes.popleft().set()
            if ending:
                return

    def _work(self) -> None:
        made: list[Trace] = []
        while self._waiting and len(made) < BATCH:
            trace = self._make(self._waiting.popleft())
            if trace is not None:
                made.append(trace)
                if len(made) % AT_ONCE == 0:
                    self._yield()
        self.num_made += len(made)
        for sink in self._sinks:
            sink.write(made)

    def _make(self, item: Buildable) -> Trace | None:
        try:
            return item.build()
        except Exception as error:  # noqa: BLE001 - a fault of ours costs one trace, not all that follow
            self.num_failed += 1
            if self.num_failed == 1:
                self._log("trace_failed", error=f"{type(error).__name__}: {error}")
            return None
