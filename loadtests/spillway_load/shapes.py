"""How the rate of arrivals goes over time: curves of straight pieces, and crowds that come all at once. Pure.

A shape is a factor of the campaign's rate::

    steady    1 throughout; a soak is a steady shape of hours
    ramp      from one factor to another in a straight line
    steps     one factor after another, equally long each
    spike     1, and for a while many times that
    diurnal   a day's wave between a low and a high
    herd      1, and at given moments so many requests at once
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Annotated, Final

import msgspec
from msgspec import Meta

Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
_WAVE_PIECES: Final = 48
"""Straight pieces of one period of a wave: within 0.3 % of the sine."""


class _Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", kw_only=True):
    pass


class Steady(_Shape, tag="steady", frozen=True):
    """The same rate throughout."""


class Ramp(_Shape, tag="ramp", frozen=True):
    """A straight line."""

    start: NotNegative = 0.0
    end: NotNegative = 1.0


class Steps(_Shape, tag="steps", frozen=True):
    """Levels of equal length."""

    levels: Annotated[tuple[NotNegative, ...], Meta(min_length=1)]


class Spike(_Shape, tag="spike", frozen=True):
    """Suddenly `times` the rate, for so long; times are shares of the campaign's duration."""

    begins: Annotated[float, Meta(ge=0, lt=1)] = 0.4
    lasts: Annotated[float, Meta(gt=0, le=1)] = 0.2
    times: Positive = 5.0


class Diurnal(_Shape, tag="diurnal", frozen=True):
    """A wave that begins at its low; `periods` of them in the campaign."""

    low: NotNegative = 0.2
    high: Positive = 1.0
    periods: Positive = 1.0


class Herd(_Shape, tag="herd", frozen=True):
    """Crowds of `size` requests at one instant each, over a steady rate; `at` are shares of the duration."""

    size: Annotated[int, Meta(ge=1)]
    at: Annotated[tuple[Annotated[float, Meta(ge=0, lt=1)], ...], Meta(min_length=1)] = (0.5,)


Shape = Steady | Ramp | Steps | Spike | Diurnal | Herd


@dataclass(frozen=True, slots=True)
class Curve:
    """A rate over time, in requests a second: straight lines between knots; two knots at one time are a jump."""

    times: tuple[float, ...]
    rates: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse what is no rate."""
        if len(self.times) != len(self.rates) or len(self.times) < 2 or list(self.times) != sorted(self.times):
            raise ValueError("a curve needs two knots at least, in order of time, with a rate each")
        if min(self.rates) < 0:
            raise ValueError("a rate cannot be negative")

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.times[-1]

    def at(self, seconds: float) -> float:
        """Return the rate at a moment; where it jumps, the rate from then on."""
        place = min(max(bisect_right(self.times, seconds), 1), len(self.times) - 1)
        begin, end = self.times[place - 1], self.times[place]
        low, high = self.rates[place - 1], self.rates[place]
        if seconds >= end or end <= begin:
            return high
        return low + (high - low) * max(0.0, seconds - begin) / (end - begin)

    def cumulative(self) -> list[float]:
        """Return the arrivals that are expected until each knot."""
        knots = pairwise(zip(self.times, self.rates, strict=True))
        return list(accumulate(((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in knots), initial=0.0))

    def when(self, expected: Sequence[float]) -> list[float]:
        """Return when so many arrivals are expected, for each number up to the curve's total, ascending or not."""
        cumulative = self.cumulative()
        return [self._when(count, cumulative) for count in expected]

    def _when(self, count: float, cumulative: list[float]) -> float:
        place = min(max(bisect_right(cumulative, count), 1), len(cumulative) - 1)
        begin, end = self.times[place - 1], self.times[place]
        low, high = self.rates[place - 1], self.rates[place]
        missing, seconds = count - cumulative[place - 1], end - begin
        slope = (high - low) / seconds if seconds > 0 else 0.0
        # of the two forms of a quadratic's root, the one that neither divides by a slope of 0 nor cancels
        root = math.sqrt(max(0.0, low * low + 2 * slope * missing))
        return begin if low + root <= 0 else min(end, begin + 2 * missing / (low + root))


def curve(shape: Shape, rate: float, duration: float) -> Curve:
    """Return the rate over time of a shape."""
    match shape:
        case Ramp(start=start, end=end):
            knots = [(0.0, start), (1.0, end)]
        case Steps(levels=levels):
            each = 1.0 / len(levels)
            knots = [(min(1.0, (n + side) * each), level) for n, level in enumerate(levels) for side in (0, 1)]
        case Spike(begins=begins, lasts=lasts, times=times):
            over = min(1.0, begins + lasts)
            knots = [(0.0, 1.0), (begins, 1.0), (begins, times), (over, times), (over, 1.0), (1.0, 1.0)]
        case Diurnal(low=low, high=high, periods=periods):
            pieces = math.ceil(_WAVE_PIECES * periods)
            middle, swing = (high + low) / 2, (high - low) / 2
            knots = [
                (n / pieces, max(0.0, middle - swing * math.cos(math.tau * periods * n / pieces)))
                for n in range(pieces + 1)
            ]
        case _:
            knots = [(0.0, 1.0), (1.0, 1.0)]
    return Curve(tuple(at * duration for at, _ in knots), tuple(factor * rate for _, factor in knots))


def crowds(shape: Shape, duration: float) -> list[float]:
    """Return the times of requests that come all at once."""
    return [at * duration for at in shape.at for _ in range(shape.size)] if isinstance(shape, Herd) else []
