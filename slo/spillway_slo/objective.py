"""An objective, ready to be judged: which counters say what is bad, of how many, against which target.

::

    Objective ─▶ Ratio     bad ÷ total, or 1 - good ÷ total        both are sums of counters
              └▶ Slices    of stretches of time, those that were bad ÷ all
                   ├ Tolerance   bad: the stretch's own error ratio was above a limit
                   └ Floor       bad: less than a rate was done, while something else happened

A `Stream` is a sum over the series of one metric that its labels select, and everything is made of streams: Prometheus'
rules name them in PromQL, ops keeps a column of numbers for each.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from spillway_slo.windows import PERIOD_S, BurnWindow

Values = tuple[str, ...]
"""Of a label: any of them. The empty one also stands for a series without that label."""


@dataclass(frozen=True, slots=True)
class Stream:
    """The sum of some series of one counter, or of one bucket of a histogram."""

    metric: str
    """As exposed: `…_total`, `…_bucket`, `…_count`."""
    labels: tuple[tuple[str, Values], ...] = ()
    """Sorted by name."""
    le: float | None = None
    """Of a bucket: its upper bound."""

    @property
    def key(self) -> str:
        """Its name in files."""
        inside = [f"{name}={'|'.join(values)}" for name, values in self.labels]
        inside += [] if self.le is None else [f"le={self.le!r}"]
        return f"{self.metric}{{{','.join(inside)}}}"

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether a series with these labels is part of it; the bound is not looked at."""
        return all(labels.get(name, "") in values for name, values in self.labels)


@dataclass(frozen=True, slots=True)
class Ratio:
    """Events that were bad among all of them."""

    part: Stream
    total: Stream
    part_is_good: bool = False


@dataclass(frozen=True, slots=True)
class Tolerance:
    """A stretch of time is bad if more than so much of what happened in it was."""

    ratio: Ratio
    most: Fraction


@dataclass(frozen=True, slots=True)
class Floor:
    """A stretch of time is bad if `done` went slower than `rate` (per second) while any of `meanwhile` happened."""

    done: Stream
    meanwhile: Stream
    rate: float


@dataclass(frozen=True, slots=True)
class Slices:
    """Time, in stretches of `slice_s`, of which a share may be bad."""

    slice_s: int
    rule: Tolerance | Floor


@dataclass(frozen=True, slots=True)
class Percentile:
    """The same objective, read as a percentile: the target is which one."""

    histogram: Stream
    """Its `…_bucket`, without a bound."""
    bounds: tuple[float, ...]
    limit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """One row of the table that tells what the platform promises."""

    name: str
    title: str
    description: str
    service: str
    target: Fraction
    indicator: Ratio | Slices
    policies: tuple[BurnWindow, ...]
    tier: str = ""
    kind: str = ""
    family: str = ""
    """The name of its indicator: what is promised to several tiers has one."""
    percentile: Percentile | None = None
    period_s: int = PERIOD_S
    expected_per_hour: float | None = None
    """Requests that are to be expected; for lint alone."""
    min_failures: int = 1
    """Fewer bad events than this in a long window never alert."""
    accepted: Mapping[str, str] = field(default_factory=dict)
    """Findings of lint that are meant, with the reasons."""
    place: str = ""
    """File, and document in it."""

    @property
    def id(self) -> str:
        """As Sloth makes it."""
        return f"{self.service}-{self.name}"

    @property
    def alert_stem(self) -> str:
        """What names of its alerts begin with."""
        return "".join(word.capitalize() for word in self.name.split("-"))

    @property
    def is_by_time(self) -> bool:
        """Whether it counts stretches of time, not requests."""
        return isinstance(self.indicator, Slices)

    def alert_name(self, window: BurnWindow) -> str:
        """Return the name of the alert of a row."""
        return self.alert_stem + "".join(word.capitalize() for word in window.name.split("-"))

    @property
    def warning_name(self) -> str:
        """The name of the warning that its percentile is near the limit."""
        return f"{self.alert_stem}NearLimit"


def streams_of(objective: Objective) -> tuple[Stream, ...]:
    """Return all streams that an objective is made of."""
    indicator = objective.indicator
    found: list[Stream] = []
    if isinstance(indicator, Ratio):
        found += [indicator.part, indicator.total]
    elif isinstance(indicator.rule, Tolerance):
        found += [indicator.rule.ratio.part, indicator.rule.ratio.total]
    else:
        found += [indicator.rule.done, indicator.rule.meanwhile]
    if objective.percentile is not None:
        found += buckets_of(objective.percentile)
    return tuple(dict.fromkeys(found))


def buckets_of(percentile: Percentile) -> tuple[Stream, ...]:
    """Return the streams of a percentile's buckets, the infinite one last."""
    histogram = percentile.histogram
    return tuple(Stream(histogram.metric, histogram.labels, bound) for bound in (*percentile.bounds, float("inf")))
