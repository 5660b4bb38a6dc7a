"""Records as series of exact values: what workers saw is laid side by side, and nothing is rounded.

Locust keeps rounded response times (two significant digits) in buckets; percentiles here are values that were measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from spillway_load import intervals
from spillway_load.intervals import Interval
from spillway_load.objectives import ALL, Latency, Limits, Of, Share, limits_of
from spillway_load.record import BROKEN, SERVED, Fate, Record, judge

LATENCIES: Final[tuple[Latency, ...]] = ("ttft", "tpot", "itl", "e2e")
SHARES: Final[tuple[Share, ...]] = ("good", "completed", "available", "shed")


@dataclass(frozen=True, slots=True)
class Sample:
    """Exact values in seconds, sorted, and how many more there are that never came."""

    values: Any
    never: int = 0

    @property
    def count(self) -> int:
        """All of them."""
        return len(self.values) + self.never

    def percentile(self, percent: float) -> float | None:
        """Return the value of the nearest rank; None if that one never came, or there is none at all."""
        return self._at(intervals.rank(percent, self.count)) if self.count else None

    def interval(self, percent: float) -> Interval:
        """Return the percentile's confidence interval; an end is None where it is not known, or is never."""
        if not self.count:
            return None, None
        low, high = intervals.rank_interval(percent, self.count)
        return (None if low is None else self._at(low)), (None if high is None else self._at(high))

    def _at(self, rank: int) -> float | None:
        return float(self.values[rank - 1]) if rank <= len(self.values) else None


class Series:
    """All that one run saw."""

    def __init__(self, records: Sequence[Record], good: Mapping[str, Limits]) -> None:
        self.records = sorted(records, key=lambda record: record.number)
        self.fates = [judge(record, limits_of(good, record.tier)) for record in self.records]

    @property
    def tiers(self) -> list[str]:
        """All, and each that sent anything, if there are several."""
        return [ALL, *sorted({record.tier for record in self.records} - {ALL})]

    @property
    def seconds(self) -> float:
        """From the first due time to the last end; what a rate is taken over."""
        if not self.records:
            return 0.0
        return max(record.ended_s for record in self.records) - min(record.due_s for record in self.records)

    def of(self, *fates: Fate, tier: str = ALL) -> list[Record]:
        """Return the records of a tier that had one of these fates."""
        chosen = set(fates)
        return [r for r, fate in zip(self.records, self.fates, strict=True) if fate in chosen and tier in {ALL, r.tier}]

    def latency(self, measure: Latency, tier: str = ALL, of: Of = "served") -> Sample:
        """Return a series; among "all", requests that were refused or failed never came."""
        served = self.of(*SERVED, tier=tier)
        never = 0 if of == "served" or measure == "itl" else len(self.of(*BROKEN, Fate.REFUSED, tier=tier))
        return Sample(np.sort(np.array(_values(measure, served), dtype=float)), never)

    def share(self, measure: Share, tier: str = ALL) -> tuple[int, int]:
        """Return how many requests are of that kind, and of how many."""
        num_served = len(self.of(*SERVED, tier=tier))
        num_broken = len(self.of(*BROKEN, tier=tier))
        num_refused = len(self.of(Fate.REFUSED, tier=tier))
        arrived = num_served + num_broken + num_refused
        match measure:
            case "good":
                return len(self.of(Fate.GOOD, tier=tier)), arrived
            case "completed":
                return num_served, arrived
            case "available":
                return num_served, num_served + num_broken
            case "shed":
                return num_refused, arrived


def _values(measure: Latency, served: Sequence[Record]) -> list[float]:
    if measure == "ttft":
        return [record.ttft_s for record in served if record.ttft_s is not None]
    if measure == "e2e":
        return [record.e2e_s for record in served]
    prompt = [record for record in served if not record.is_slow]
    if measure == "tpot":
        return [record.tpot_s for record in prompt if record.tpot_s is not None]
    return [gap / 1e6 for record in prompt for gap in record.gaps_us]
