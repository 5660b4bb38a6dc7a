"""Queries in PromQL, made from the catalogue of metrics: what does not exist there cannot be asked for.

Every selector is held to what the board's variables choose: `job` and `instance`, which tell one Spillway from another,
and `model` and `tier` where the metric has them. Where a board has no such variable, `Scope` says so.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from spillway_wire.metric import Kind, Metric

WINDOW: Final = "$__rate_interval"
"""Grafana's: four scrapes, or more where the graph is coarser."""
SHOWN: Final = "$__range"
"""The time that the board shows, as a whole."""
_MATCHER: Final = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)(?:=~|!~|!=|=)"[^"\\]*"')
TARGET: Final = ("job", "instance")
"""Labels that Prometheus adds to what it scrapes; every selector of such matches both."""
_VARIABLES: Final = {
    "model": "model",
    "gen_ai_request_model": "model",
    "tier": "tier",
    "engine": "engine",
    "sloth_service": "service",
    "sloth_slo": "slo",
}
"""Of a label, the board's variable for it."""


class QueryError(ValueError):
    """A query names a label that its metric does not have, or asks of a metric what its kind cannot answer."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a board's queries are held to."""

    variables: frozenset[str] = frozenset({"model", "tier"})
    """The board's variables, beside those of `target`."""
    target: tuple[str, ...] = TARGET
    """Empty: the series are recorded by rules, which have added up what was scraped."""

    # ---- selectors ----

    def select(self, metric: Metric, *where: str, part: str = "") -> str:
        """Return a selector of a metric's series. `where` are matchers, `part` one of a histogram's three.

        Raises `QueryError` if the metric does not have a label.
        """
        labels = labels_of(metric)
        matched = []
        for matcher in where:
            found = _MATCHER.fullmatch(matcher)
            if found is None:
                raise QueryError(f'{metric.name}: {matcher!r} is no matcher such as label="value"')
            if found[1] not in {*labels, "le"}:
                raise QueryError(f"{metric.name} has the labels {', '.join(labels) or '(none)'}, not {found[1]!r}")
            matched.append(found[1])
        chosen = [f'{label}=~"${label}"' for label in self.target]
        chosen += [
            f'{label}=~"${_VARIABLES[label]}"'
            for label in labels
            if _VARIABLES.get(label) in self.variables and label not in matched
        ]
        return f"{name_of(metric, part)}{{{', '.join([*chosen, *where])}}}"

    # ---- counters ----

    def rate(self, metric: Metric, *where: str, by: Iterable[str] = (), part: str = "") -> str:
        """Return how fast a counter grows, per second, added up by labels."""
        _must_grow(metric)
        return _sum(f"rate({self.select(metric, *where, part=part)}[{WINDOW}])", metric, by)

    def grown(self, metric: Metric, *where: str, by: Iterable[str] = (), part: str = "", over: str = SHOWN) -> str:
        """Return by how much a counter has grown, added up by labels."""
        _must_grow(metric)
        return _sum(f"increase({self.select(metric, *where, part=part)}[{over}])", metric, by)

    # ---- gauges ----

    def now(self, metric: Metric, *where: str, by: Iterable[str] = (), how: str = "sum") -> str:
        """Return what a gauge says, put together by labels (`how`: sum, max, min, avg)."""
        if metric.kind is not Kind.GAUGE:
            raise QueryError(f"{metric.name} is a {metric.kind}: what it says now is no answer, its growth is")
        return _together(how, self.select(metric, *where), metric, by)

    # ---- histograms ----

    def quantile(self, quantile: float, metric: Metric, *where: str, by: Iterable[str] = ()) -> str:
        """Return a quantile of what was observed lately; where there was nothing, there is none."""
        return f"histogram_quantile({quantile}, {self.rate(metric, *where, by=('le', *by), part='bucket')}) >= 0"

    def quantile_ever(self, quantile: float, metric: Metric, *where: str, by: Iterable[str] = ()) -> str:
        """Return a quantile of all that was observed since Spillway began: of what is too rare for a rate."""
        found = _together("sum", self.select(metric, *where, part="bucket"), metric, ("le", *by))
        return f"histogram_quantile({quantile}, {found}) >= 0"

    def mean(self, metric: Metric, *where: str, by: Iterable[str] = ()) -> str:
        """Return the mean of what was observed lately."""
        by = tuple(by)
        return share(self.rate(metric, *where, by=by, part="sum"), self.rate(metric, *where, by=by, part="count"))

    def buckets(self, metric: Metric, *where: str) -> str:
        """Return how many observations came into each bucket lately, for a heatmap."""
        return self.grown(metric, *where, by=("le",), part="bucket", over=WINDOW)


BY_MODEL_AND_TIER: Final = Scope()
"""What most boards have."""


def labels_of(metric: Metric) -> tuple[str, ...]:
    """Return the labels that a metric's samples can have, without those that Prometheus adds."""
    return (*((metric.place,) if metric.place else ()), *metric.labels)


def name_of(metric: Metric, part: str = "") -> str:
    """Return the name of a metric's samples. Raises `QueryError` if it has no such part."""
    if (metric.kind is Kind.HISTOGRAM) != bool(part):
        raise QueryError(f"{metric.name} is a {metric.kind}: it has no part {part!r}")
    return f"{metric.name}_{part}" if part else metric.exposed


def share(part: str, whole: str) -> str:
    """Return a quotient that is not there, rather than no number, while there is nothing to divide by."""
    return f"{part} / ({whole} > 0)"


def share_of_all(parts: str, whole: str) -> str:
    """Return the quotients of several series and one number."""
    return f"{parts} / on () group_left () ({whole} > 0)"


def _sum(expr: str, metric: Metric, by: Iterable[str]) -> str:
    return _together("sum", expr, metric, by)


def _together(how: str, expr: str, metric: Metric, by: Iterable[str]) -> str:
    by = tuple(by)
    unknown = [label for label in by if label not in {*labels_of(metric), *TARGET, "le"}]
    if unknown:
        raise QueryError(f"{metric.name} cannot be told apart by {', '.join(unknown)}: it has no such label")
    return f"{how} by ({', '.join(by)}) ({expr})" if by else f"{how}({expr})"


def _must_grow(metric: Metric) -> None:
    if metric.kind is Kind.GAUGE:
        raise QueryError(f"{metric.name} is a gauge: it has no rate")
