"""Sums at past moments, in two rings: every tick for six hours and a little, every mark for 30 days.

A window's edge is the first moment that is not before it, as in Prometheus. A ring that is younger than a window begins
the window at its own beginning, as Prometheus does, too.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spillway_slo.windows import FINE_S, MARK_S, PERIOD_S, RECORDED, TICK_S

_SLACK: Final = 4
"""Moments more than the longest window needs."""
_EARLY: Final = 1e-3
"""Of a tick: clocks are read a little late, and a window must not lose its first moment for that."""


class Ring:
    """The last `capacity` moments."""

    def __init__(self, capacity: int, num_columns: int) -> None:
        self._times = np.zeros(2 * capacity)
        self._rows = np.zeros((2 * capacity, num_columns))
        self._capacity, self._begin, self._end = capacity, 0, 0

    def __len__(self) -> int:
        return self._end - self._begin

    @property
    def times(self) -> NDArray[np.float64]:
        """The moments, seconds, ascending."""
        return self._times[self._begin : self._end]

    @property
    def rows(self) -> NDArray[np.float64]:
        """The sums at each."""
        return self._rows[self._begin : self._end]

    def append(self, time: float, row: Sequence[float] | NDArray[np.float64]) -> None:
        """Add a moment later than all others."""
        if self._end == 2 * self._capacity:  # moved to the front once in so many times
            kept = slice(self._end - self._capacity + 1, self._end)
            self._times[: self._capacity - 1] = self._times[kept]
            self._rows[: self._capacity - 1] = self._rows[kept]
            self._begin, self._end = 0, self._capacity - 1
        self._times[self._end], self._rows[self._end] = time, row
        self._end += 1
        self._begin = max(self._begin, self._end - self._capacity)

    def edge(self, time: float) -> int | None:
        """Return the place of the first moment not before `time`; None if all are before it."""
        place = int(np.searchsorted(self.times, time, side="left"))
        return place if place < len(self) else None


class History:
    """Both rings."""

    def __init__(self, num_columns: int, scale: Fraction = Fraction(1)) -> None:
        self.num_columns = num_columns
        self.tick_s, self.mark_s = float(TICK_S * scale), float(MARK_S * scale)
        self._scale = float(scale)
        self.fine = Ring(FINE_S // TICK_S + _SLACK, num_columns)
        self.coarse = Ring(PERIOD_S // MARK_S + _SLACK, num_columns)
        self._mark: int | None = None

    def append(self, time: float, row: Sequence[float]) -> bool:
        """Add the sums of a moment; return whether it begins a mark. What goes back in time is left out."""
        if len(self.fine) and time <= self.fine.times[-1]:
            return False
        self.fine.append(time, row)
        mark = int((time + self.tick_s / 2) // self.mark_s)
        if self._mark == mark:
            return False
        self._mark = mark
        self.coarse.append(time, row)
        return True

    def last_time(self) -> float:
        """Return the last moment; minus infinity if there is none."""
        return float(self.fine.times[-1]) if len(self.fine) else float("-inf")

    def length_of(self, window: str) -> float:
        """Return a window's length, scaled; seconds."""
        return RECORDED[window] * self._scale

    def growth(self, window: str) -> NDArray[np.float64] | None:
        """Return how much every sum grew over a window that ends now, or at the last mark; None if it is too early."""
        length = self.length_of(window)
        if RECORDED[window] <= FINE_S or len(self.coarse) < 2:  # before the second mark there is nothing else
            return self._growth(self.fine, length)
        return self._growth(self.coarse, length)

    def growth_till_now(self, window: str) -> NDArray[np.float64] | None:
        """Return the same, always up to now; a window longer than six hours then begins at a mark."""
        grown = self.growth(window)
        if grown is None or RECORDED[window] <= FINE_S or len(self.coarse) < 2:
            return grown
        since: NDArray[np.float64] = self.fine.rows[-1] - self.coarse.rows[-1]
        return grown + since

    def stretch(self, seconds: float) -> NDArray[np.float64] | None:
        """Return the same for so many seconds, of at most six hours, scaled."""
        return self._growth(self.fine, seconds)

    def between(self, start: float, end: float) -> tuple[NDArray[np.float64], float, float] | None:
        """Return the growth between two moments, and the moments that were found for them."""
        if not len(self.fine):
            return None
        first = self._ring_of(start).edge(start - self.tick_s)
        if first is None:
            return None
        begin, stop = self._ring_of(start), self._ring_of(end)
        last = int(np.searchsorted(stop.times, end + self.tick_s, side="right")) - 1
        if last < 0 or stop.times[last] <= begin.times[first]:
            return None
        return stop.rows[last] - begin.rows[first], float(begin.times[first]), float(stop.times[last])

    def _ring_of(self, time: float) -> Ring:
        """Return the ring that knows best what was then."""
        return self.fine if time >= self.fine.times[0] else self.coarse

    def _growth(self, ring: Ring, length: float) -> NDArray[np.float64] | None:
        if len(ring) < 2:
            return None
        start = ring.edge(float(ring.times[-1]) - length - _EARLY * self.tick_s)
        if start is None or start == len(ring) - 1:
            return None
        grown: NDArray[np.float64] = ring.rows[-1] - ring.rows[start]
        return grown
