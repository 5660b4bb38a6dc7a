"""All that was counted until one moment, drawn from the pages of series and from the supervisor's status.

Counts only grow, also over deaths; so the difference of two is what happened in between.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from spillway_wire import names
from spillway_wire.metric import Metric
from spillway_wire.series_reader import Read

LATENCIES: Final = {
    "ttft": names.TIME_TO_FIRST_TOKEN,
    "tpot": names.TIME_PER_OUTPUT_TOKEN,
    "queue": names.QUEUE_TIME,
    "duration": names.REQUEST_DURATION,
}
"""Histograms that are shown, by their name in the console."""
_OUTCOME: Final = "outcome_"

Numbers = tuple[float, ...]
"""Of a histogram: each bucket's count, then the sum of all values."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What was counted until `at`, seconds of a monotonic clock."""

    at: float
    latencies: Mapping[str, Numbers] = field(default_factory=dict)
    steps: Mapping[str, Numbers] = field(default_factory=dict)
    """Durations of steps, by engine."""
    requests: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """By tier and outcome."""
    decisions: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Of admission, by decision and reason."""
    engine_tokens: Mapping[str, float] = field(default_factory=dict)
    arrivals: Mapping[str, float] = field(default_factory=dict)
    """By gateway."""
    outcomes: Mapping[str, float] = field(default_factory=dict)
    recoveries: float = 0.0


def counts_of(at: float, places: Mapping[str, Read], status: Mapping[str, Any]) -> Counts:
    """Draw the counts from what was read."""
    gateways = list(_counters(status.get("gateways", ())))
    engines = list(_counters(status.get("engines", ())))
    kept = _kept(places)
    steps: dict[str, Numbers] = {}
    for place, _, numbers in kept[names.STEP_DURATION.id]:
        steps[place] = _plus(steps.get(place), numbers)
    outcomes: dict[str, float] = {}
    for _, counters in gateways:
        for name, count in counters.items():
            if name.startswith(_OUTCOME):
                outcome = name.removeprefix(_OUTCOME)
                outcomes[outcome] = outcomes.get(outcome, 0.0) + count
    return Counts(
        at=at,
        latencies={name: _sum(metric, kept) for name, metric in LATENCIES.items()},
        steps=steps,
        requests=_by(names.REQUESTS, "tier", "outcome", kept),
        decisions=_by(names.ADMISSION_DECISIONS, "decision", "reason", kept),
        engine_tokens={engine: counters.get("output_tokens", 0) for engine, counters in engines},
        arrivals={gateway: counters.get("arrivals", 0) for gateway, counters in gateways},
        outcomes=outcomes,
        recoveries=sum(counters.get("recoveries", 0) for _, counters in gateways),
    )


def gauges(metric: Metric, places: Iterable[Read]) -> Iterator[tuple[tuple[str, ...], float]]:
    """Yield the labels and values of a gauge in all places that live."""
    for read in places:
        for (metric_id, labels), values in read.gauges.items():
            if metric_id == metric.id:
                yield labels, values.numbers[0]


def grown(now: Numbers, before: Numbers | None) -> Numbers:
    """Return what was added since; never less than nothing."""
    if before is None or len(before) != len(now):
        return now
    return tuple(max(0.0, new - old) for new, old in zip(now, before, strict=True))


_Kept = Mapping[int, list[tuple[str, tuple[str, ...], Numbers]]]
"""Of each metric that is shown: place, labels and numbers of all its series."""
_SHOWN: Final = (*LATENCIES.values(), names.STEP_DURATION, names.REQUESTS, names.ADMISSION_DECISIONS)


def _kept(places: Mapping[str, Read]) -> _Kept:
    """Look at every series once: there may be ten thousand, and most are not shown here."""
    found: dict[int, list[tuple[str, tuple[str, ...], Numbers]]] = {metric.id: [] for metric in _SHOWN}
    for place, read in places.items():
        for (metric_id, labels), values in read.kept.items():
            if metric_id in found:
                found[metric_id].append((place, labels, values.numbers))
    return found


def _counters(children: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, float]]]:
    for child in children:
        yield str(child["id"]), child.get("counters") or {}


def _plus(one: Numbers | None, other: Numbers) -> Numbers:
    return other if one is None else tuple(a + b for a, b in zip(one, other, strict=True))


def _sum(metric: Metric, kept: _Kept) -> Numbers:
    """Add all series of a histogram up."""
    total: Numbers = (0.0,) * metric.num_values
    for _, _, numbers in kept[metric.id]:
        total = _plus(total, numbers)
    return total


def _by(metric: Metric, one: str, other: str, kept: _Kept) -> dict[tuple[str, str], float]:
    """Add the series of a counter up by two of its labels; what never happened is left out."""
    first, second = metric.labels.index(one), metric.labels.index(other)
    found: dict[tuple[str, str], float] = {}
    for _, labels, numbers in kept[metric.id]:
        if numbers[0]:
            key = (labels[first], labels[second])
            found[key] = found.get(key, 0.0) + numbers[0]
    return found
