"""What objectives make of the past: the same answers as Prometheus' from the rules of `rules`, on the same samples."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from spillway_slo.burn import NOTHING, Counted, budget_left, burn_rate, is_burning, passes_warning, quantile
from spillway_slo.collect import Collector, Sample
from spillway_slo.history import History
from spillway_slo.objective import (
    Floor,
    Objective,
    Percentile,
    Ratio,
    Slices,
    Stream,
    Tolerance,
    buckets_of,
    streams_of,
)
from spillway_slo.windows import PERCENTILE_WINDOW, RECORDED

Grown = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One objective at one moment."""

    objective: Objective
    counted: Mapping[str, Counted]
    """By window."""
    budget_left: float
    percentile_s: float | None
    """The percentile that the target is, if it is one; seconds."""
    burning: Mapping[str, bool]
    """By the names of alerts."""

    def burn(self, window: str) -> float | None:
        """Return the burn rate over a window; None if nobody asked for anything."""
        return burn_rate(self.counted[window].ratio, self.objective.target)

    @property
    def attained(self) -> float | None:
        """The share of good events over the period, as far as it is known."""
        ratio = self.counted["30d"].ratio
        return None if ratio is None else 1.0 - ratio


class Evaluator:
    """Takes scrapes in, and says how objectives stand. `scale` shrinks all windows."""

    def __init__(self, objectives: Sequence[Objective], scale: Fraction = Fraction(1)) -> None:
        self.objectives = tuple(objectives)
        self._scale = float(scale)
        self.streams: tuple[Stream, ...] = tuple(
            dict.fromkeys(stream for objective in objectives for stream in streams_of(objective))
        )
        self._places = {stream: place for place, stream in enumerate(self.streams)}
        self.collector = Collector(self.streams)
        self._by_time = [objective for objective in objectives if isinstance(objective.indicator, Slices)]
        self.slices = {objective.name: [0.0, 0.0] for objective in self._by_time}
        """Of every objective by time: how many slices were bad, and how many there were."""
        self._turns: dict[str, int] = {}
        self._slice_at = {
            objective.name: len(self.streams) + 2 * place for place, objective in enumerate(self._by_time)
        }
        self.history = History(len(self.streams) + 2 * len(self._by_time), scale)

    def column_names(self) -> tuple[str, ...]:
        """Return what each column of the history is the sum of."""
        slices = [f"slices {objective.name} {what}" for objective in self._by_time for what in ("bad", "all")]
        return (*(stream.key for stream in self.streams), *slices)

    def observe(self, time: float, samples: Iterable[Sample]) -> bool:
        """Take in a scrape at `time`; return whether a mark began."""
        self.collector.observe(samples)
        is_mark = self.history.append(time, self._row())
        if self._close_slices(time):
            self.history.fine.rows[-1] = self._row()
            if is_mark:
                self.history.coarse.rows[-1] = self._row()
        return is_mark

    def _row(self) -> list[float]:
        return [
            *self.collector.sums,
            *(number for objective in self._by_time for number in self.slices[objective.name]),
        ]

    def _close_slices(self, time: float) -> bool:
        """Judge the slices that end at `time`; return whether there were any."""
        any_closed = False
        for objective in self._by_time:
            slices = objective.indicator
            if not isinstance(slices, Slices):
                continue
            length = slices.slice_s * self._scale
            turn = int((time + self.history.tick_s / 2) // length)
            if self._turns.get(objective.name) == turn:
                continue
            self._turns[objective.name] = turn
            grown = self.history.stretch(length)
            if grown is not None and self._is_watched(slices):
                self.slices[objective.name][0] += self._is_bad(slices, grown, length)
                self.slices[objective.name][1] += 1.0
                any_closed = True
        return any_closed

    def _is_watched(self, slices: Slices) -> bool:
        rule = slices.rule
        stream = rule.ratio.total if isinstance(rule, Tolerance) else rule.done
        return self.collector.seen[self._places[stream]]

    def _is_bad(self, slices: Slices, grown: Grown, length: float) -> bool:
        rule = slices.rule
        if isinstance(rule, Tolerance):
            ratio = self._counted(rule.ratio, grown).ratio
            return ratio is not None and ratio > float(rule.most)
        return self._too_little(rule, grown, length)

    def _too_little(self, rule: Floor, grown: Grown, length: float) -> bool:
        return bool(grown[self._places[rule.meanwhile]] > 0 and grown[self._places[rule.done]] / length < rule.rate)

    def _counted(self, ratio: Ratio, grown: Grown) -> Counted:
        part, total = float(grown[self._places[ratio.part]]), float(grown[self._places[ratio.total]])
        return Counted(total - part if ratio.part_is_good else part, total)

    def count(self, objective: Objective, grown: Grown | None) -> Counted:
        """Return what an objective makes of how the sums grew."""
        if grown is None:
            return NOTHING
        if isinstance(objective.indicator, Ratio):
            return self._counted(objective.indicator, grown)
        place = self._slice_at[objective.name]
        return Counted(float(grown[place]), float(grown[place + 1]))

    def percentile(self, objective: Objective, found: Percentile, grown: Grown | None) -> float | None:
        """Return a percentile, seconds."""
        if grown is None:
            return None
        cumulative = [float(grown[self._places[stream]]) for stream in buckets_of(found)]
        return quantile(float(objective.target), found.bounds, cumulative)

    def standings(self) -> list[Standing]:
        """Return how every objective stands."""
        grown = {window: self.history.growth(window) for window in RECORDED}
        return [self._standing(objective, grown) for objective in self.objectives]

    def _standing(self, objective: Objective, grown: Mapping[str, Grown | None]) -> Standing:
        if isinstance(objective.indicator, Slices):  # each is told when it ends, not at the next mark
            grown = {window: self.history.growth_till_now(window) for window in RECORDED}
        counted = {window: self.count(objective, each) for window, each in grown.items()}
        found = objective.percentile
        value = None if found is None else self.percentile(objective, found, grown[PERCENTILE_WINDOW])
        burning = {
            objective.alert_name(row): is_burning(
                counted[row.short].ratio,
                counted[row.long],
                row.factor,
                objective.target,
                min_failures=objective.min_failures,
            )
            for row in objective.policies
        }
        if found is not None:
            burning[objective.warning_name] = passes_warning(value, found.limit)
        return Standing(
            objective=objective,
            counted=counted,
            budget_left=budget_left(counted["30d"].ratio, objective.target),
            percentile_s=value,
            burning=burning,
        )
