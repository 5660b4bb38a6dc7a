"""Repetitions: how often a drill passed, and how long detection and recovery took, with intervals. Pure.

The share that passed has Wilson's score interval (1927); percentiles have the distribution-free interval of order
statistics (Conover, Practical Nonparametric Statistics, 3rd ed., 3.2), which for few runs reaches to never.
"""

import math
from collections.abc import Sequence

import msgspec

_Z = 1.959964
"""Of 95 %."""


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """Times of several runs, in seconds; `never` counts those without one."""

    count: int
    never: int
    p50: float | None
    p99: float | None
    longest: float | None
    p50_interval: tuple[float | None, float | None]


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share."""
    if count == 0:
        return 0.0, 1.0
    share, square = hits / count, _Z * _Z
    middle = share + square / (2 * count)
    half = _Z * math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    scale = 1 + square / count
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def spread(times: Sequence[float | None]) -> Spread:
    """Return the spread of times; None is never."""
    known = sorted(time for time in times if time is not None)
    ranked: list[float | None] = [*known, *[None] * (len(times) - len(known))]
    return Spread(
        count=len(times),
        never=len(times) - len(known),
        p50=_percentile(ranked, 50.0),
        p99=_percentile(ranked, 99.0),
        longest=ranked[-1] if ranked else None,
        p50_interval=_interval(ranked, 0.5),
    )


def _percentile(ranked: Sequence[float | None], percent: float) -> float | None:
    """Return the smallest value that so many per cent do not exceed (nearest rank)."""
    return ranked[max(0, math.ceil(percent / 100 * len(ranked)) - 1)] if ranked else None


def _interval(ranked: Sequence[float | None], share: float) -> tuple[float | None, float | None]:
    """Return the narrowest central pair of order statistics that holds the quantile with 95 %, None beyond them."""
    count = len(ranked)
    below = [_binomial_below(count, share, rank) for rank in range(count + 1)]
    low = max((rank for rank in range(1, count + 1) if below[rank] <= 0.025), default=None)
    high = min((rank for rank in range(1, count + 1) if below[rank] >= 0.975), default=None)
    return None if low is None else ranked[low - 1], None if high is None else ranked[high - 1]


def _binomial_below(count: int, share: float, rank: int) -> float:
    """Return the probability of fewer than `rank` hits."""
    return sum(math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(rank))
