"""The log of a gateway or of ops: JSON lines by structlog, written by a thread: no pipe and no disk stops serving.

The lines have the keys of `spillway_wire.oplog`, which the supervisor writes and passes on: `at`, `event`, who says so,
then the event's own fields. An event that repeats is written so many times a second and then counted: the next line
of it has how many were left out, as `suppressed`. Of requests, each outcome but `completed` is such an event. Prompts
and outputs are among the fields only where the settings ask for them (`telemetry.content`).
"""

import atexit
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

import structlog

from spillway_wire.oplog import REQUEST, Writable, encode_json, is_terminal
from spillway_wire.outcomes import Outcome

CAPACITY: Final = 10_000
"""Events that wait to be written; what comes beyond is dropped, and counted in the next line that is written."""
PER_SECOND: Final = 50
"""Lines of one event, in any second."""
_WENT_WELL: Final = (None, Outcome.COMPLETED.value)
"""Outcomes of requests that are told each: they come no faster than they are served. Refusals come in floods."""
_EVERY_S: Final = 0.1
BREATH_S: Final = 0.001
_AT_ONCE: Final = 16
"""Lines in one write."""
_FAREWELL_S: Final = 1.0


@dataclass(slots=True)
class _Count:
    """How often an event was written in its current second, and left out since."""

    since: float
    written: int = 0
    left_out: int = 0


class Limiter:
    """A structlog processor that thins out what repeats."""

    def __init__(self, per_second: int = PER_SECOND) -> None:
        self._per_second = per_second
        self._counts: dict[str, _Count] = {}

    def __call__(self, logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Let the event pass, or raise `structlog.DropEvent`."""
        name, now = str(event["event"]), float(event["at"])
        if name == REQUEST:
            outcome = event.get("outcome")
            if outcome in _WENT_WELL:
                return event
            name = f"{name} {outcome}"
        count = self._counts.setdefault(name, _Count(now))
        if not 0.0 <= now - count.since < 1.0:
            count.since, count.written = now, 0
        if count.written >= self._per_second:
            count.left_out += 1
            raise structlog.DropEvent
        count.written += 1
        if count.left_out:
            event["suppressed"], count.left_out = count.left_out, 0
        return event


class EventLog:
    """Writes events, as `spillway_wire.oplog.OperatorLog` does; calling it costs a microsecond and never waits."""

    def __init__(
        self,
        stream: Writable | None = None,
        *,
        capacity: int = CAPACITY,
        per_second: int = PER_SECOND,
        wall: Callable[[], float] = time.time,
        **common: object,
    ) -> None:
        """`common` are fields of every line."""
        self._stream = sys.stderr if stream is None else stream
        self._wall, self._capacity = wall, capacity
        self._waiting: deque[tuple[float, str, dict[str, object]]] = deque()
        self.num_dropped = 0
        """Lines for which there was no room."""
        self.num_unwritten = 0
        """Lines that the stream did not take."""
        self._ready: list[str] = []
        self._num_told = 0
        """Of those that were dropped: how many a line has told of."""
        self._wake = threading.Event()
        self._ending = False
        self._logger = structlog.wrap_logger(
            _Lines(self),
            processors=[Limiter(per_second), *_renderers(self._stream)],
            wrapper_class=structlog.BoundLogger,
            context_class=dict,
        ).bind()  # a bound one at once: the lazy one is put together anew for each line
        self._common = common
        self._thread: threading.Thread | None = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def __call__(self, event: str, **fields: object) -> None:
        """Write one event, soon."""
        if len(self._waiting) >= self._capacity:
            self.num_dropped += 1
            return
        self._waiting.append((self._wall(), event, fields))
        if event != REQUEST:
            self._wake.set()  # what is rare is news

    def close(self, patience_s: float = _FAREWELL_S) -> None:
        """Write what waits, for at most so long, and end the thread. Idempotent."""
        self._ending = True
        self._wake.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(patience_s)
            atexit.unregister(self.close)

    # ---- in the thread ----

    def _run(self) -> None:
        while True:
            self._wake.wait(_EVERY_S)
            self._wake.clear()
            ending = self._ending
            while self._waiting:
                self._say(*self._waiting.popleft())
                if len(self._ready) >= _AT_ONCE or not self._waiting:
                    self._write()
                    time.sleep(BREATH_S)  # the loop that serves goes first
            if ending:
                return

    def _say(self, at: float, event: str, fields: Mapping[str, object]) -> None:
        more: dict[str, object] = {}
        dropped = self.num_dropped  # other threads may count on meanwhile
        if dropped > self._num_told:
            more["dropped"], self._num_told = dropped - self._num_told, dropped
        # a field must not pass for one of the line's own keys, nor for an argument of structlog's
        own = {"at": round(at, 3), "event": event}
        said = {**own, **self._common, **{key: value for key, value in fields.items() if key not in own}, **more}
        self._logger.bind(**{key: value for key, value in said.items() if key != "event"}).msg(event)

    def take_line(self, line: str) -> None:
        """Take a line that is ready; it is written with others."""
        self._ready.append(line + "\n")

    def _write(self) -> None:
        """Write what is ready; a disk that is full or a reader that has gone is no reason to stop."""
        lines, self._ready = self._ready, []
        try:
            self._stream.write("".join(lines))
            self._stream.flush()
        except (OSError, ValueError):
            self.num_unwritten += len(lines)


class _Lines:
    """What structlog calls with a line."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    def msg(self, line: str) -> None:
        self._log.take_line(line)


def _renderers(stream: Writable) -> list[Any]:
    """Return the last processors: for people at a terminal, else for programs."""
    if is_terminal(stream):
        return [
            _time_of_day,
            structlog.dev.ConsoleRenderer(colors="NO_COLOR" not in os.environ, timestamp_key="at", pad_event_to=24),
        ]
    return [_in_order, structlog.processors.JSONRenderer(serializer=_serialize)]


def _serialize(said: Mapping[str, Any], **_: Any) -> str:
    """Encode as the supervisor does; structlog's own options are those of the standard library's encoder."""
    return encode_json(said)


def _in_order(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {"at": event.pop("at"), "event": event.pop("event"), **event}


def _time_of_day(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    at = event["at"]
    event["at"] = time.strftime("%H:%M:%S", time.localtime(at)) + f"{at % 1:.3f}"[1:]
    return event
