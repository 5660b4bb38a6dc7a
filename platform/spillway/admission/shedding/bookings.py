"""Retry-After that is honest: whoever is refused gets a time of its own, at which there is room for it.

A refusal joins a virtual queue, which moves as fast as the engines can take returns: what fresh traffic leaves of the
measured rate, and a share of it in any case. So clients come back one by one, not all at once::

    refused    a  b  c  d             told  2.0  2.4  2.8  3.2 s
    returns    ───────────a──b──c──d─────────▶

Who comes back when told, goes first: fresh requests see a part of the room reserved, as large as returns really claim.
Bookings are kept by tenant and band, not by client, so another gateway's may be claimed here: there are as many the
other way round.
"""

from collections import deque
from collections.abc import Callable, Hashable
from heapq import heappop, heappush
from typing import Final

from spillway.admission.load.rates import RateMeter

BOUNDS_S: Final = (1.0, 120.0)
"""Sooner only burdens everybody; later, SDKs do not come back at all."""
LEAST_SHARE: Final = 0.25
"""Of the rate, for returns, however much fresh traffic there is."""
MOST_RESERVED: Final = 0.5
"""Of the room, kept from fresh requests."""
JITTER: Final = 0.1
"""Of the wait, upwards only: who comes too early is refused again."""
EARLY_S: Final = 0.05
"""So much too early is in time."""
EARLY_AMONG_SEVERAL_S: Final = 10.0
"""The same where gateways share the clients: who was booked by another comes to this one, by chance, before its own."""
LATE_S: Final = 10.0
"""A booking is kept for so long, or a quarter of its wait if that is longer."""
MOST_BOOKINGS: Final = 65_536
_GAIN: Final = 1 / 16


class Bookings:
    """Appointments of one model's refused requests. `draw` returns random numbers in [0, 1)."""

    def __init__(self, draw: Callable[[], float]) -> None:
        self._draw = draw
        self.early_s = EARLY_S
        self._next = 0.0
        """When the virtual queue has room again."""
        self._coming: list[tuple[float, int, float, Hashable]] = []
        """(when, number, until, key), by time."""
        self._number = 0
        self._due: dict[Hashable, deque[tuple[float, int]]] = {}
        """Matured ones by key: (until, number)."""
        self._lapsing: list[tuple[float, int, Hashable]] = []
        self._matured = RateMeter()
        self.claimed_share = 0.0
        """Of matured bookings, how many are claimed, of late."""
        self.num_booked = 0
        self.num_claimed = 0
        self.num_lapsed = 0

    @property
    def num_open(self) -> int:
        """Returns that are expected."""
        return len(self._coming) + sum(len(due) for due in self._due.values())

    def book(self, key: Hashable, now: float, *, capacity_per_s: float, fresh_per_s: float, wait_s: float) -> float:
        """Return when to come back, in seconds; not before `wait_s`, in which what is there now is worked off."""
        least, most = BOUNDS_S
        rate = max(LEAST_SHARE * capacity_per_s, capacity_per_s - fresh_per_s)
        if rate <= 0.0:
            return min(most, max(least, wait_s) * (1.0 + JITTER * self._draw()))
        when = max(now + max(least, wait_s), self._next)
        told_s = (when - now) * (1.0 + JITTER * self._draw())
        if told_s <= most:
            self._next = when + 1.0 / rate
        else:  # there is no room in all that time: they come spread over its end, and are not blamed for coming
            told_s = most * (1.0 - JITTER * self._draw())
        if len(self._coming) < MOST_BOOKINGS:
            self._number += 1
            self.num_booked += 1
            heappush(self._coming, (now + told_s, self._number, now + told_s + max(LATE_S, told_s / 4), key))
        return told_s

    def claim(self, key: Hashable, now: float) -> bool:
        """Whether a return of `key` was expected by now; if so, it has come."""
        self.advance(now)
        due = self._due.get(key)
        if not due:
            return False
        due.popleft()
        if not due:
            del self._due[key]
        self.num_claimed += 1
        self.claimed_share += _GAIN * (1.0 - self.claimed_share)
        return True

    def reserved(self, now: float, capacity_per_s: float) -> float:
        """Return the part of the room (0 to 1) that is kept for returns."""
        self.advance(now)
        if not self.claimed_share or capacity_per_s <= 0.0:
            return 0.0
        return min(MOST_RESERVED, self.claimed_share * self._matured.per_s(now) / capacity_per_s)

    def advance(self, now: float) -> None:
        """Let bookings mature, and lapse."""
        while self._coming and self._coming[0][0] <= now + self.early_s:
            _, number, until, key = heappop(self._coming)
            self._due.setdefault(key, deque()).append((until, number))
            heappush(self._lapsing, (until, number, key))
            self._matured.add(1, now)
        while self._lapsing and self._lapsing[0][0] < now:
            _, number, key = heappop(self._lapsing)
            due = self._due.get(key)
            if due and due[0][1] <= number:  # claims are by count: the oldest of a key stands for any of them
                due.popleft()
                if not due:
                    del self._due[key]
                self.num_lapsed += 1
                self.claimed_share -= _GAIN * self.claimed_share
