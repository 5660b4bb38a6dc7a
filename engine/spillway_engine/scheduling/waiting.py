"""Who waits, in which order, and until when. Ten thousand waiting sequences cost a step no more than ten.

Three lines, because one may stand still while the others move: fresh work, continuations (whose share of a step is
bounded) and sequences that must run alone (one at a time). Each is a heap by importance. A heap of deadlines lies
across them, and followers stand aside until their leader's prompt is in the cache::

    add ──▶ fresh ┐
        ──▶ resumed ├─ head() ─▶ scheduled          preempted ─▶ push, at the place it had before
        ──▶ alone ┘
        ──▶ followers of a leader ─ release() ─▶ one of the three
"""

from collections.abc import Iterable, Iterator
from enum import Enum, auto
from heapq import heapify, heappop, heappush

from spillway_engine.request import Sequence

Importance = tuple[int, bool, int, int]


def importance(sequence: Sequence) -> Importance:
    """Sort key, the most important first: priority class, continuations before fresh work, arrival, choice."""
    request = sequence.request
    return request.priority, not request.resumed, request.arrival, sequence.choice


class LazyHeap:
    """A heap of sequences from which any can be dropped in O(1); dropped ones are swept out before they pile up."""

    def __init__(self) -> None:
        self._heap: list[tuple[tuple[int, ...], Sequence]] = []
        self._live: dict[Sequence, tuple[tuple[int, ...], Sequence]] = {}

    def __len__(self) -> int:
        return len(self._live)

    def __contains__(self, sequence: Sequence) -> bool:
        return sequence in self._live

    def __iter__(self) -> Iterator[Sequence]:
        return iter(self._live)

    @property
    def num_entries(self) -> int:
        """Entries in memory, dropped ones included: at most twice the live ones and 64."""
        return len(self._heap)

    def push(self, key: tuple[int, ...], sequence: Sequence) -> None:
        """Add a sequence that is not in the heap. Keys must be distinct."""
        entry = (key, sequence)
        self._live[sequence] = entry
        heappush(self._heap, entry)

    def discard(self, sequence: Sequence) -> None:
        """Drop a sequence, wherever it stands; unknown ones are ignored."""
        self._live.pop(sequence, None)
        if len(self._heap) > 2 * len(self._live) + 64:
            self._heap = list(self._live.values())
            heapify(self._heap)

    def first(self) -> tuple[tuple[int, ...], Sequence] | None:
        """Return the smallest key and its sequence without removing it; None when empty."""
        heap = self._heap
        while heap:
            if self._live.get(heap[0][1]) is heap[0]:
                return heap[0]
            heappop(heap)
        return None


class Line(Enum):
    """The three lines in which a sequence can wait."""

    FRESH = auto()
    RESUMED = auto()
    ALONE = auto()


class WaitingQueue:
    """All sequences that hold no blocks and no slot: never scheduled, or preempted."""

    def __init__(self) -> None:
        self._lines: dict[Line, LazyHeap] = {line: LazyHeap() for line in Line}
        self._fresh = self._lines[Line.FRESH]
        self._resumed = self._lines[Line.RESUMED]
        self._alone = self._lines[Line.ALONE]
        self._deadlines = LazyHeap()
        self._followers: dict[Sequence, dict[Sequence, None]] = {}
        self._leaders: dict[Sequence, Sequence] = {}
        self.num_tokens = 0
        """Known tokens of all that wait: what they have to compute if nothing is found in the cache."""

    def __len__(self) -> int:
        return len(self._fresh) + len(self._resumed) + len(self._alone) + len(self._leaders)

    def __iter__(self) -> Iterator[Sequence]:
        for line in self._lines.values():
            yield from line
        yield from self._leaders

    @property
    def has_fresh(self) -> bool:
        """Whether fresh work waits."""
        return len(self._fresh) > 0

    @property
    def has_resumed(self) -> bool:
        """Whether a continuation waits, alone ones included."""
        return len(self._resumed) + len(self._alone) > 0

    @property
    def next_deadline_ns(self) -> int | None:
        """When the next waiting sequence expires."""
        first = self._deadlines.first()
        return None if first is None else first[0][0]

    def push(self, sequence: Sequence) -> None:
        """Let `sequence` wait, at the place that its importance gives it."""
        self._line_of(sequence).push(importance(sequence), sequence)
        self._enter(sequence)

    def set_aside(self, followers: Iterable[Sequence], leader: Sequence) -> None:
        """Let `followers` wait aside until `release(leader)`."""
        aside = self._followers.setdefault(leader, {})
        for follower in followers:
            aside[follower] = None
            self._leaders[follower] = leader
            self._enter(follower)

    def leads(self, sequence: Sequence) -> bool:
        """Whether others wait for `sequence`."""
        return sequence in self._followers

    def release(self, leader: Sequence) -> None:
        """Let those who waited for `leader` stand in line."""
        for follower in self._followers.pop(leader, ()):
            del self._leaders[follower]
            self._line_of(follower).push(importance(follower), follower)

    def discard(self, sequence: Sequence) -> None:
        """Take out a sequence that waits: it was scheduled, or it ended."""
        leader = self._leaders.pop(sequence, None)
        if leader is None:
            self._line_of(sequence).discard(sequence)
        else:
            del self._followers[leader][sequence]
            if not self._followers[leader]:
                del self._followers[leader]
        self._deadlines.discard(sequence)
        self.num_tokens -= len(sequence.tokens)

    def head(self, *, resumed: bool = True, alone: bool = True) -> Sequence | None:
        """Return the most important sequence in line, without the lines that stand still."""
        first = self._fresh.first()
        if resumed and len(self._resumed):
            first = _earlier(first, self._resumed.first())
        if alone and len(self._alone):
            first = _earlier(first, self._alone.first())
        return None if first is None else first[1]

    def expired(self, now_ns: int) -> list[Sequence]:
        """Take out and return all whose deadline has passed. Followers have their leader's, so they go with it."""
        gone: list[Sequence] = []
        while (first := self._deadlines.first()) is not None and first[0][0] <= now_ns:
            gone.append(first[1])
            self.discard(first[1])
        return gone

    def _line_of(self, sequence: Sequence) -> LazyHeap:
        if sequence.request.alone:
            return self._alone
        return self._resumed if sequence.request.resumed else self._fresh

    def _enter(self, sequence: Sequence) -> None:
        self.num_tokens += len(sequence.tokens)
        request = sequence.request
        if request.deadline_ns is not None:
            self._deadlines.push((request.deadline_ns, request.arrival, sequence.choice), sequence)


def _earlier(
    one: tuple[tuple[int, ...], Sequence] | None, other: tuple[tuple[int, ...], Sequence] | None
) -> tuple[tuple[int, ...], Sequence] | None:
    return other if one is None or (other is not None and other < one) else one
