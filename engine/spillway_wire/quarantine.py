"""What is kept out because engines died of it: the book that each gateway keeps, and the supervisor for those to come.

One gateway finds out, at the price of engines; all of them, and their successors, refuse it then, for as long::

    gateway-0 ── Quarantined ──▶ supervisor ──▶ gateway-1, and whoever says hello before it is over

Entries only ever grow: of two about one request the one that lasts longer counts. So it makes no difference in which
order they come, how often, or by which way, and everybody's book is the same in the end. Bounded: what ends first
makes room. Pure.
"""

from spillway_wire.plane import Quarantined

MOST_QUARANTINED = 1024
"""Entries of a book: each stands for some crashes, so nobody gets there by accident."""


class QuarantineBook:
    """Entries by fingerprint, the first to end first. Times are CLOCK_MONOTONIC nanoseconds of the machine."""

    def __init__(self, most: int = MOST_QUARANTINED) -> None:
        self._most = most
        self._entries: dict[bytes, Quarantined] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Quarantined) -> bool:
        """Take `entry` in; return whether it is news."""
        known = self._entries.get(entry.fingerprint)
        if known is not None and _rank(known) >= _rank(entry):
            return False
        self._entries[entry.fingerprint] = entry
        in_order = sorted(self._entries.values(), key=_rank)[-self._most :]
        self._entries = {each.fingerprint: each for each in in_order}
        return entry.fingerprint in self._entries

    def expire(self, now_ns: int) -> None:
        """Drop what is over."""
        while self._entries:
            first = next(iter(self._entries.values()))
            if first.until_ns > now_ns:
                return
            del self._entries[first.fingerprint]

    def get(self, fingerprint: bytes) -> Quarantined | None:
        """Return the entry of that fingerprint, if there is one."""
        return self._entries.get(fingerprint)

    def entries(self) -> tuple[Quarantined, ...]:
        """Return all, the first to end first."""
        return tuple(self._entries.values())


def _rank(entry: Quarantined) -> tuple[int, int, bytes]:
    """Order entries by what counts, and completely: books that saw the same are the same."""
    return entry.until_ns, entry.crashes, entry.fingerprint
