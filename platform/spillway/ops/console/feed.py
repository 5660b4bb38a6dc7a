"""What all consoles are told: made once a second for all of them together, and not at all while nobody looks.

A console holds a place in what was told and no queue: whoever reads slowly skips snapshots, gets the points and the
happenings in between with the next one, and costs no memory.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from spillway.ops.console.counts import LATENCIES
from spillway.ops.console.facts import POINT, Point, Snapshot
from spillway.ops.console.snapshot import CHARTED, Sample, point, snapshot
from spillway.ops.console.timeline import Timeline
from spillway.ops.console.window import CHARTS_S, TABLES_S, Window

EVERY_S: Final = 1.0
KEPT_POINTS: Final = 600
"""Ten minutes of charts."""
_FORGET_S: Final = 10.0
"""After a pause as long as this nothing is compared with what was before it."""
_encode: Final = msgspec.json.Encoder().encode


class Cursor:
    """How far a console is."""

    __slots__ = ("happening", "tick")

    def __init__(self) -> None:
        self.tick = self.happening = 0


class Feed:
    """See the module. `look` reads everything."""

    def __init__(
        self,
        look: Callable[[], Awaitable[Sample]],
        timeline: Timeline,
        *,
        ladder: tuple[str, ...] = (),
        about: dict[str, Any] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`about` is what does not change while this process lives."""
        self._look, self._timeline, self._ladder, self._sleep = look, timeline, ladder, sleep
        self._about = about or {}
        self._window = Window()
        self._points: deque[tuple[int, Point]] = deque(maxlen=KEPT_POINTS)
        self._snapshot: msgspec.Raw = msgspec.Raw(b"null")
        self._tick = self._stale = 0
        """The latest look, and the last one before a pause: who comes after it waits for the next."""
        self._shared: tuple[int, int, bytes] | None = None
        """The frame for whoever is up to date, after which tick and which happening."""
        self._told = 0
        """The latest happening that a shared frame has told."""
        self._news = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._ended = False
        self.num_looking = 0
        self.num_looks = 0

    # ---- consoles ----

    @contextmanager
    def looking(self) -> Iterator[Cursor]:
        """While somebody is in here, things are looked at."""
        self.num_looking += 1
        if self._running is None:
            self._stale = self._tick
            self._running = asyncio.get_running_loop().create_task(self._run())
        try:
            yield Cursor()
        finally:
            self.num_looking -= 1
            if not self.num_looking and self._running is not None:
                self._running.cancel()
                self._running = None

    async def next(self, cursor: Cursor) -> bytes | None:
        """Return what is new since, as server-sent events, when there is any; None when it is over."""
        while self._tick in (cursor.tick, self._stale) and not self._ended:
            await self._news.wait()
        if self._ended:
            return None
        frame = self._first() if not cursor.tick else self._since(cursor)
        cursor.tick, cursor.happening = self._tick, self._timeline.number
        return frame

    def end(self) -> None:
        """Tell all consoles that this process ends. Idempotent."""
        self._ended = True
        self._news.set()
        if self._running is not None:
            self._running.cancel()
            self._running = None

    # ---- frames ----

    def _first(self) -> bytes:
        hello = {
            "about": self._about,
            "every_s": EVERY_S,
            "columns": POINT,
            "charts_s": CHARTS_S,
            "tables_s": TABLES_S,
            "kept": KEPT_POINTS,
            "finest": {name: LATENCIES[name].buckets[0] for name in CHARTED},
            "points": [one for _, one in self._points],
            "happenings": self._timeline.since(0),
            "snapshot": self._snapshot,
        }
        return b"event: hello\ndata: " + _encode(hello) + b"\n\n"

    def _since(self, cursor: Cursor) -> bytes:
        if self._shared is not None and self._shared[:2] == (cursor.tick, cursor.happening):
            return self._shared[2]
        return self._frame(cursor.tick, cursor.happening)

    def _frame(self, tick: int, happening: int) -> bytes:
        told = {
            "points": [one for number, one in self._points if number > tick],
            "happenings": self._timeline.since(happening),
            "snapshot": self._snapshot,
        }
        return b"event: tick\ndata: " + _encode(told) + b"\n\n"

    # ---- the one computation ----

    async def _run(self) -> None:
        while True:
            before = (self._tick, self._told)
            self._take(await self._look())
            self._shared = (*before, self._frame(*before))
            self._told = self._timeline.number
            news, self._news = self._news, asyncio.Event()
            news.set()
            await self._sleep(EVERY_S)

    def _take(self, sample: Sample) -> None:
        self.num_looks += 1
        last = self._points[-1][1][0] if self._points else None
        if last is not None and not 0 <= sample.at - last <= _FORGET_S:
            self._window.forget()
            while self._points and not 0 <= sample.at - (self._points[0][1][0] or 0.0) <= KEPT_POINTS * EVERY_S:
                self._points.popleft()
        self._window.add(sample.counts)
        shown = snapshot(sample, self._window.before(TABLES_S), self._ladder)
        self._tick += 1
        self._points.append((self._tick, point(sample, self._window.before(CHARTS_S), shown)))
        self._note(sample, shown)
        self._snapshot = msgspec.Raw(_encode(shown))

    def _note(self, sample: Sample, shown: Snapshot) -> None:
        if sample.problem:
            self._timeline.silence(sample.problem)
            return
        self._timeline.looked(sample.status)
        for model in shown.admission.brownout:
            self._timeline.brownout(model.model, model.level, self._ladder)
