"""The guard of last resort: if waiting is too long although the door predicts, fewer are let in, by importance.

Levels are ordered by band, then by a hash of the tenant, drawn anew each hour so that not the same always lose. The
threshold is found in the histogram of what arrived, window by window::

    level  0 … 127 system   … 255 interactive   … 383 default   … 511 bulk
           ├───────── admitted ─────────┤ threshold ├── refused ──┤

    overloaded: 5 % less than was admitted; else 1 % of what arrived more, up to all levels
"""

from hashlib import blake2b
from typing import Final

from spillway.admission.contract import ANONYMOUS_ID, Ask, Band

BUCKETS: Final = 128
LEVELS: Final = BUCKETS * len(Band)
WINDOW_S: Final = 1.0
WINDOW_REQUESTS: Final = 2000
LOWER: Final = 0.05
RAISE: Final = 0.01
ENOUGH: Final = 3
"""Waits in a window from which a mean is taken."""
BAD_WINDOWS: Final = 3
"""In a row, before anything is lowered: the door is given time to see it, too."""
_HOUR_S: Final = 3600


def level_of(ask: Ask, now: float) -> int:
    """Return how unimportant a request is, 0 to 511. Of the anonymous tenant some get in: its requests are hashed."""
    who = ask.request_id if ask.tenant_id == ANONYMOUS_ID else ask.tenant_id
    digest = blake2b(f"{who}/{int(now // _HOUR_S)}".encode(), digest_size=2).digest()
    return ask.band * BUCKETS + int.from_bytes(digest) % BUCKETS


class Dagor:
    """Of one model. Waits are given as a part of what the request was allowed: above 1.0 is too long."""

    def __init__(self) -> None:
        self.threshold = LEVELS - 1
        """The last level that is admitted; never below the system band's."""
        self._arrived = [0] * LEVELS
        self._num_arrived = 0
        self._num_admitted = 0
        self._began: float | None = None
        self._waits = 0.0
        self._num_waits = 0
        self._bad = 0
        self._lags = 0.0
        self._num_lags = 0

    @property
    def sheds(self) -> bool:
        """Whether it refuses anybody now."""
        return self.threshold < LEVELS - 1

    def arrive(self, level: int, now: float) -> bool:
        """Count an arrival; whether its level is admitted."""
        if self._began is None:
            self._began = now
        if now - self._began >= WINDOW_S or self._num_arrived >= WINDOW_REQUESTS:
            self._close(now)
        admitted = level <= self.threshold
        self._arrived[level] += 1
        self._num_arrived += 1
        self._num_admitted += admitted
        return admitted

    def waited(self, part: float) -> None:
        """Note how long a request waited in the queue, as a part of what it was allowed."""
        self._waits += part
        self._num_waits += 1

    def lagged(self, part: float) -> None:
        """Note how late the gateway's own loop is, as a part of what it may be; its mean counts, not one hiccup."""
        self._lags += part
        self._num_lags += 1

    def _close(self, now: float) -> None:
        mean = self._waits / self._num_waits if self._num_waits >= ENOUGH else 0.0
        lag = self._lags / self._num_lags if self._num_lags else 0.0
        self._bad = self._bad + 1 if mean > 1.0 or lag > 1.0 else 0
        if self._bad >= BAD_WINDOWS:
            self._lower()
        elif not self._bad and self.sheds:
            self._raise()
        self._arrived = [0] * LEVELS
        self._num_arrived = self._num_admitted = self._num_waits = self._num_lags = 0
        self._waits = self._lags = 0.0
        self._began = now

    def _lower(self) -> None:
        wanted = self._num_admitted * (1.0 - LOWER)
        admitted = self._num_admitted
        while admitted > wanted and self.threshold >= BUCKETS:
            admitted -= self._arrived[self.threshold]
            self.threshold -= 1

    def _raise(self) -> None:
        wanted = self._num_admitted + max(1.0, RAISE * self._num_arrived)
        admitted = self._num_admitted
        while admitted < wanted and self.sheds:
            self.threshold += 1
            admitted += self._arrived[self.threshold]
