"""A line of waiting things, each with a key: the smallest key is first, and anybody may leave at any time."""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Generic, Protocol, TypeVar

Key = tuple[float, ...]


class Named(Protocol):
    """What can stand in a line."""

    @property
    def request_id(self) -> str:
        """Unique in the line."""


T = TypeVar("T", bound=Named)


class Line(Generic[T]):
    """A heap from which any entry can be dropped in O(1); dropped ones are swept out before they pile up."""

    def __init__(self) -> None:
        self._heap: list[tuple[Key, str]] = []
        self._live: dict[str, tuple[Key, T]] = {}

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[T]:
        """All of them, in the order in which they were pushed."""
        return (entry for _, entry in self._live.values())

    def __contains__(self, entry: T) -> bool:
        return entry.request_id in self._live

    def push(self, key: Key, entry: T) -> None:
        """Add an entry that is not in it; keys are distinct by the arrival that is in them."""
        self._live[entry.request_id] = (key, entry)
        heappush(self._heap, (key, entry.request_id))

    def discard(self, entry: T) -> bool:
        """Drop an entry; whether it was there."""
        found = self._live.pop(entry.request_id, None) is not None
        if len(self._heap) > 2 * len(self._live) + 64:
            self._heap = [(key, entry.request_id) for key, entry in self._live.values()]
            heapify(self._heap)
        return found

    def first(self) -> T | None:
        """Return the entry with the smallest key, None when empty."""
        found = self._first()
        return None if found is None else found[1]

    def first_key(self) -> Key | None:
        """Return the smallest key."""
        found = self._first()
        return None if found is None else found[0]

    def _first(self) -> tuple[Key, T] | None:
        heap = self._heap
        while heap:
            key, name = heap[0]
            live = self._live.get(name)
            if live is not None and live[0] == key:
                return live
            heappop(heap)
        return None
