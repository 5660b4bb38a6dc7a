"""Settlements on their way to Redis: kept while it is away, as long as their lease may last. Pure.

After that they are dropped: Redis has given back by itself what was reserved, or will when it is asked.
"""

from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final

from spillway.admission.ledger.scripts import Settlement

MOST: Final = 65_536


class Outbox:
    """First in, first out; the oldest is dropped when there are too many."""

    def __init__(self, clock: Callable[[], float], *, most: int = MOST) -> None:
        """`clock`: monotonic seconds."""
        self._clock, self._most = clock, most
        self._waiting: deque[tuple[float, Settlement]] = deque()
        self.num_dropped = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, settlement: Settlement, until: float) -> None:
        """Keep `settlement` until then."""
        if len(self._waiting) >= self._most:
            self._waiting.popleft()
            self.num_dropped += 1
        self._waiting.append((until, settlement))

    def first(self, most: int) -> list[Settlement]:
        """Return the next ones to send, after dropping those whose time is over; they stay until `sent`."""
        now = self._clock()
        while self._waiting and self._waiting[0][0] <= now:
            self._waiting.popleft()
            self.num_dropped += 1
        return [settlement for _, settlement in islice(self._waiting, most)]

    def sent(self, settlements: list[Settlement]) -> None:
        """Drop those that `first` returned and that have arrived; others may have been dropped or put since."""
        arrived = {id(settlement) for settlement in settlements}
        for _ in range(min(len(settlements), len(self._waiting))):
            if id(self._waiting[0][1]) not in arrived:
                return
            self._waiting.popleft()
