"""Who waits for an engine, in which order, and until when. Bounded; decides nothing about engines.

Each model has a lane of its own, so that one without engines delays nobody else. A lane has three lines, because one
may stand still while the others move::

    resumed   goes first: its first token is out. Later attempts need no credit
    alone     one at a time in the whole pool (see `suspects`); needs no credit either
    fresh     by priority, then arrival; only this one is bounded, and only it waits for credits

What lost its engine and waits for the verdict is `held`: in no line, but its deadline counts.
"""

from collections import deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from spillway.pool.journal import Entry, JournalError

Key = tuple[float, int]


class Line:
    """A heap from which any entry can be dropped in O(1); dropped ones are swept out before they pile up."""

    def __init__(self) -> None:
        self._heap: list[tuple[Key, str]] = []
        self._live: dict[str, tuple[Key, Entry]] = {}

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[Entry]:
        """All of them, in the order in which they were pushed."""
        return (entry for _, entry in self._live.values())

    def __contains__(self, entry: Entry) -> bool:
        return entry.request_id in self._live

    def push(self, key: Key, entry: Entry) -> None:
        """Add an entry that is not in it; keys are distinct by the arrival that is in them."""
        self._live[entry.request_id] = (key, entry)
        heappush(self._heap, (key, entry.request_id))

    def discard(self, entry: Entry) -> bool:
        """Drop an entry; whether it was there."""
        found = self._live.pop(entry.request_id, None) is not None
        if len(self._heap) > 2 * len(self._live) + 64:
            self._heap = [(key, entry.request_id) for key, entry in self._live.values()]
            heapify(self._heap)
        return found

    def first(self) -> Entry | None:
        """Return the entry with the smallest key, None when empty."""
        found = self._first()
        return None if found is None else found[1]

    def first_key(self) -> Key | None:
        """Return the smallest key."""
        found = self._first()
        return None if found is None else found[0]

    def _first(self) -> tuple[Key, Entry] | None:
        heap = self._heap
        while heap:
            key, name = heap[0]
            live = self._live.get(name)
            if live is not None and live[0] == key:
                return live
            heappop(heap)
        return None


class Lane:
    """What waits for one model."""

    def __init__(self) -> None:
        self.resumed, self.alone, self.fresh = Line(), Line(), Line()
        self.held: dict[str, Entry] = {}

    def __len__(self) -> int:
        return len(self.resumed) + len(self.alone) + len(self.fresh) + len(self.held)

    def __iter__(self) -> Iterator[Entry]:
        for line in (self.resumed, self.alone, self.fresh):
            yield from line
        yield from self.held.values()

    def discard(self, entry: Entry) -> bool:
        """Drop an entry, wherever it stands; whether it was there."""
        if self.held.pop(entry.request_id, None) is not None:
            return True
        return self.fresh.discard(entry) or self.resumed.discard(entry) or self.alone.discard(entry)


class WaitingQueue:
    """All lanes, and the deadlines of everything in them."""

    def __init__(self) -> None:
        self._lanes: dict[str, Lane] = {}
        self._deadlines = Line()
        self.num_fresh = 0
        """Fresh work in all lanes: what the bound counts."""

    def __len__(self) -> int:
        return sum(len(lane) for lane in self._lanes.values())

    def lane(self, model: str) -> Lane:
        """Return a model's lane."""
        lane = self._lanes.get(model)
        if lane is None:
            lane = self._lanes[model] = Lane()
        return lane

    @property
    def models(self) -> list[str]:
        """Models for which something waits."""
        return [name for name, lane in self._lanes.items() if len(lane)]

    def push(self, entry: Entry) -> None:
        """Let `entry` wait, at the place that is its own."""
        lane = self.lane(entry.work.model)
        key = entry.work.priority, entry.arrival
        if entry.alone:
            lane.alone.push(key, entry)
        elif entry.attempt:
            lane.resumed.push(key, entry)
        else:
            lane.fresh.push(key, entry)
            self.num_fresh += 1
        self._enter(entry)

    def hold(self, entry: Entry) -> None:
        """Let `entry` wait for the verdict on its engine."""
        self.lane(entry.work.model).held[entry.request_id] = entry
        self._enter(entry)

    def is_held(self, entry: Entry) -> bool:
        """Whether `entry` waits for a verdict rather than for an engine."""
        return entry.request_id in self.lane(entry.work.model).held

    def _enter(self, entry: Entry) -> None:
        if entry.work.deadline is not None:
            self._deadlines.push((entry.work.deadline, entry.arrival), entry)

    def discard(self, entry: Entry) -> bool:
        """Take out an entry: it is being sent, or it ended. Whether it waited."""
        lane = self._lanes.get(entry.work.model)
        if lane is None:
            return False
        num_fresh = len(lane.fresh)
        found = lane.discard(entry)
        self.num_fresh -= num_fresh - len(lane.fresh)
        if found:
            self._deadlines.discard(entry)
        return found

    @property
    def next_deadline(self) -> float | None:
        """When the next one expires."""
        key = self._deadlines.first_key()
        return None if key is None else key[0]

    def expired(self, now: float) -> list[Entry]:
        """Return all whose deadline has passed; they stay until discarded."""
        return [entry for entry in self._deadlines if (entry.work.deadline or 0.0) <= now] if self._is_due(now) else []

    def _is_due(self, now: float) -> bool:
        deadline = self.next_deadline
        return deadline is not None and deadline <= now

    def check_integrity(self) -> None:
        """Raise `JournalError` if counts and lines disagree."""
        waiting = [entry for lane in self._lanes.values() for entry in lane]
        num_fresh = sum(len(lane.fresh) for lane in self._lanes.values())
        if num_fresh != self.num_fresh:
            raise JournalError(f"{self.num_fresh} fresh requests are counted, {num_fresh} wait")
        if len({entry.request_id for entry in waiting}) != len(waiting):
            raise JournalError("a request waits in two lines")
        timed = {entry.request_id for entry in waiting if entry.work.deadline is not None}
        if timed != {entry.request_id for entry in self._deadlines}:
            raise JournalError("deadlines are kept for requests that do not wait, or not kept for some that do")


class DrainRate:
    """How fast the queue drains, measured: what a refused client is told to wait comes from it."""

    def __init__(self, window_s: float, bounds_s: tuple[float, float]) -> None:
        self._window_s = window_s
        self._bounds_s = bounds_s
        self._seconds: deque[tuple[int, int]] = deque()
        """(whole second, how many left the queue in it)."""

    def count(self, now: float) -> None:
        """Note that one request left the queue for an engine."""
        second = int(now)
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1] = second, self._seconds[-1][1] + 1
        else:
            self._seconds.append((second, 1))
            self._forget(now)

    def _forget(self, now: float) -> None:
        while self._seconds and self._seconds[0][0] <= now - self._window_s:
            self._seconds.popleft()

    def per_second(self, now: float) -> float:
        """Return the rate over the window."""
        self._forget(now)
        return sum(number for _, number in self._seconds) / self._window_s

    def retry_after_s(self, num_waiting: int, now: float) -> float:
        """Return when a place should be free, with `num_waiting` before it. If nothing has drained, the most."""
        least, most = self._bounds_s
        rate = self.per_second(now)
        return most if rate == 0.0 else min(most, max(least, num_waiting / rate))
