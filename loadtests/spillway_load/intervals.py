"""Confidence intervals of 95 %, each by a method with a name. Pure.

==================  ====================================================================================
a share             Wilson's score interval (Wilson 1927)
a percentile        distribution-free, from order statistics: ranks whose binomial tails are at most 2.5 %
                    each (Hahn & Meeker, Statistical Intervals, 5.2.1); no upper end where there are too few
a mean per second   bootstrap of whole seconds, percentile method, 2,000 resamples of a fixed seed
==================  ====================================================================================
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

SHARE_METHOD: Final = "Wilson score, 95 %"
PERCENTILE_METHOD: Final = "binomial order statistics, 95 %"
RATE_METHOD: Final = "bootstrap over seconds, 95 %"
_Z: Final = 1.959963984540054
_TAIL: Final = 0.025
_RESAMPLES: Final = 2000

Interval = tuple[float | None, float | None]


def share(count: int, of: int) -> tuple[float, float]:
    """Return the interval of a share; of nothing, everything is possible."""
    if of == 0:
        return 0.0, 1.0
    found, squared = count / of, _Z * _Z
    middle = (found + squared / (2 * of)) / (1 + squared / of)
    half = _Z / (1 + squared / of) * math.sqrt(found * (1 - found) / of + squared / (4 * of * of))
    # at the ends the formula gives 0 and 1 up to a rounding error
    return (0.0 if count == 0 else max(0.0, middle - half)), (1.0 if count == of else min(1.0, middle + half))


def rank(percent: float, of: int) -> int:
    """Return the nearest rank of a percentile, from 1 to `of`: a value that was measured, never one beyond."""
    return max(1, math.ceil(percent / 100 * of - 1e-9))


def rank_interval(percent: float, of: int) -> tuple[int | None, int | None]:
    """Return the ranks between which the true percentile lies; None where no rank is sure enough."""
    q = percent / 100
    counts = np.arange(of + 1)
    logs = _log_factorials(of)
    pmf = np.exp(logs[of] - logs - logs[::-1] + counts * math.log(q) + (of - counts) * math.log1p(-q))
    cdf = np.cumsum(pmf)  # of how many values lie below the true percentile
    below = np.searchsorted(cdf, _TAIL, side="right")
    above = np.searchsorted(cdf, 1 - _TAIL, side="left") + 1
    return (int(below) if below >= 1 else None), (int(above) if above <= of else None)


def mean_per_second(per_second: Sequence[float]) -> tuple[float, float]:
    """Return the interval of the mean of what came in each second."""
    if len(per_second) < 2:
        return 0.0, math.inf
    values = np.asarray(per_second, dtype=float)
    randomness = np.random.default_rng(0)
    means = np.array([randomness.choice(values, len(values)).mean() for _ in range(_RESAMPLES)])
    low, high = np.quantile(means, [_TAIL, 1 - _TAIL])
    return float(low), float(high)


def _log_factorials(of: int) -> Any:
    return np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, of + 1)))))
