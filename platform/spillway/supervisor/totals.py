"""Counters that outlive those who count: the sums over all incarnations of a place, so that nothing looks like a reset.

Every arrival ends in one outcome, also that of a gateway that died with it open: it is booked as `gateway_failed`.
"""

from collections.abc import Mapping

from spillway_wire.outcomes import Outcome
from spillway_wire.page import Counter

GAUGES = frozenset(
    counter.name.lower()
    for counter in (Counter.RUNNING, Counter.WAITING, Counter.FREE_BLOCKS, Counter.WAITING_PREFILL_TOKENS)
)
"""Of the page's counters, those that say how things are now; they die with the engine."""
_OUTCOMES = tuple(f"outcome_{outcome.value}" for outcome in Outcome)
_GATEWAY_FAILED = f"outcome_{Outcome.GATEWAY_FAILED.value}"


class Totals:
    """The sums of what is gone, to which the running one's counts are added."""

    def __init__(self) -> None:
        self._kept: dict[str, int] = {}

    def keep(self, counts: Mapping[str, int]) -> None:
        """Add the last counts of one that is gone."""
        for name, count in counts.items():
            self._kept[name] = self._kept.get(name, 0) + count

    def plus(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Return the totals with those of the running one added; nothing is kept."""
        names = dict.fromkeys((*self._kept, *counts))
        return {name: self._kept.get(name, 0) + counts.get(name, 0) for name in names}


def engine_counts(counters: Mapping[Counter, int]) -> tuple[dict[str, int], dict[str, int]]:
    """Split a page's counters into (counts, gauges) by stable names."""
    named = {counter.name.lower(): value for counter, value in counters.items()}
    counts = {name: value for name, value in named.items() if name not in GAUGES}
    return counts, {name: value for name, value in named.items() if name in GAUGES}


def open_requests(tally: Mapping[str, int]) -> int:
    """Arrivals without an outcome."""
    return tally.get("arrivals", 0) - sum(tally.get(name, 0) for name in _OUTCOMES)


def settle(tally: Mapping[str, int]) -> dict[str, int]:
    """Return the last counts of a gateway that is gone, with what it had open booked as its failure."""
    return {**tally, _GATEWAY_FAILED: tally.get(_GATEWAY_FAILED, 0) + open_requests(tally)}
