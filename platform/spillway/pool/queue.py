"""Who waits for an engine, in which order, and until when. Bounded; decides nothing about engines.

Each model has a lane of its own, so that one without engines delays nobody else. A lane has three lines, because one
may stand still while the others move::

    resumed   goes first: its first token is out. Later attempts need no credit
    alone     one at a time in the whole pool (see `suspects`); needs no credit either
    fresh     by band, tenant and due time (see `bands`); only this one is bounded, and only it waits for credits
              and for room under an engine's limit

What lost its engine and waits for the verdict is `held`: in no line, but its deadline counts. Fresh work may also be
due: a first token that comes later is worthless, and so is waiting for it.
"""

from collections import deque
from collections.abc import Iterator

from spillway.admission.queue.bands import FreshLine
from spillway.admission.queue.line import Line
from spillway.pool.journal import Entry, JournalError

__all__ = ["DrainRate", "Lane", "Line", "WaitingQueue"]


class Lane:
    """What waits for one model."""

    def __init__(self) -> None:
        self.resumed: Line[Entry] = Line()
        self.alone: Line[Entry] = Line()
        self.fresh: FreshLine[Entry] = FreshLine()
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

    @property
    def num_resumed(self) -> int:
        """Sequences of requests that lost their engine and go before all fresh work."""
        if not (len(self.resumed) or len(self.alone) or self.held):
            return 0
        return sum(entry.num_open for entry in (*self.resumed, *self.alone, *self.held.values()))


class WaitingQueue:
    """All lanes, and the deadlines of everything in them."""

    def __init__(self) -> None:
        self._lanes: dict[str, Lane] = {}
        self._deadlines: Line[Entry] = Line()
        self._dues: Line[Entry] = Line()
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
            lane.fresh.push(entry)
            self.num_fresh += 1
            if entry.work.ttft_due is not None:
                self._dues.push((entry.work.ttft_due, entry.arrival), entry)
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
            self._dues.discard(entry)
        return found

    def take(self, entry: Entry, tokens: int, now: float) -> None:
        """Take out an entry that is sent to an engine, which computes `tokens` of its input."""
        lane = self.lane(entry.work.model)
        if entry in lane.fresh:
            lane.fresh.take(entry, tokens, now)
            self.num_fresh -= 1
            self._deadlines.discard(entry)
            self._dues.discard(entry)
        else:
            self.discard(entry)

    @property
    def next_deadline(self) -> float | None:
        """When the next one expires."""
        key = self._deadlines.first_key()
        return None if key is None else key[0]

    @property
    def next_due(self) -> float | None:
        """When the next one's first token becomes worthless."""
        key = self._dues.first_key()
        return None if key is None else key[0]

    def overdue(self, now: float) -> Entry | None:
        """Return the one whose first token has been worthless for longest; it stays until discarded."""
        due = self.next_due
        return self._dues.first() if due is not None and due <= now else None

    def expired(self, now: float) -> list[Entry]:
        """Return all whose deadline has passed; they stay until discarded."""
        return [entry for entry in self._deadlines if (entry.work.deadline or 0.0) <= now] if self._is_due(now) else []

    def _is_due(self, now: float) -> bool:
        deadline = self.next_deadline
        return deadline is not None and deadline <= now

    @property
    def num_charged(self) -> int:
        """Requests that were sent as fresh work and have not ended."""
        return sum(lane.fresh.num_sent for lane in self._lanes.values())

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
        due = {e.request_id for lane in self._lanes.values() for e in lane.fresh if e.work.ttft_due is not None}
        if due != {entry.request_id for entry in self._dues}:
            raise JournalError("due times are kept for requests that do not wait afresh, or not kept for some that do")


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
