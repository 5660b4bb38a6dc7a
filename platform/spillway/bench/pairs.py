"""Differences within pairs, and how sure they are: medians with intervals by bootstrap. Pure."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from spillway.bench.figures import quantile

RESAMPLES: Final = 4000


@dataclass(frozen=True, slots=True)
class Middle:
    """The median of some values, and where that of many more of their kind would be, 19 times of 20."""

    median: float
    low: float
    high: float

    @property
    def holds_zero(self) -> bool:
        """Whether what was seen may be no difference at all."""
        return self.low <= 0.0 <= self.high


def middle(values: Sequence[float], *, seed: int = 1) -> Middle:
    """Return the median of at least one value with its 95 % interval: the percentile bootstrap (Efron, 1979)."""
    randomness = random.Random(seed)
    again = [median(randomness.choices(values, k=len(values))) for _ in range(RESAMPLES)]
    return Middle(median(values), quantile(again, 0.025), quantile(again, 0.975))
