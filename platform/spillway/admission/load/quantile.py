"""A quantile of what came lately: exact, bounded, and rid of the past as fast as values come."""

from bisect import bisect_left, insort
from collections import deque
from math import ceil, inf
from typing import Final

MOST: Final = 4096
"""Values kept, however fast they come."""


class RunningQuantile:
    """The `share` quantile (0 to 1, nearest rank) of the last `window` values, and of all of the last `keep_s`.

    Neighbouring values may err alike: where that matters, a second's worth is not enough, however many there are.
    """

    def __init__(self, share: float, window: int, keep_s: float = 0.0, forget_s: float = inf) -> None:
        """`forget_s`: older ones do not count, however few are left (see `forget`)."""
        if not 0.0 < share <= 1.0 or not 1 <= window <= MOST:
            raise ValueError(f"a quantile needs a share in (0, 1] and a window up to {MOST}, not {share} and {window}")
        self._share, self._window, self._keep_s, self._forget_s = share, window, keep_s, forget_s
        self._arrived: deque[tuple[float, float]] = deque()
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._sorted)

    def add(self, value: float, now: float = 0.0) -> None:
        """Take in a value; the oldest make room. `now` is needed where values are kept for a time."""
        self._arrived.append((now, value))
        insort(self._sorted, value)
        while len(self._arrived) > MOST or (
            len(self._arrived) > self._window and self._arrived[0][0] + self._keep_s <= now
        ):
            del self._sorted[bisect_left(self._sorted, self._arrived.popleft()[1])]

    def forget(self, now: float) -> None:
        """Let go of what is too old to count."""
        while self._arrived and self._arrived[0][0] + self._forget_s <= now:
            del self._sorted[bisect_left(self._sorted, self._arrived.popleft()[1])]

    @property
    def value(self) -> float | None:
        """The quantile, None before the first value."""
        return self._sorted[ceil(self._share * len(self._sorted)) - 1] if self._sorted else None
