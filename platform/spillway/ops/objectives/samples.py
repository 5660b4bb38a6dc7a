"""Pages of all processes → the samples that objectives look at, and the totals that say what a budget was spent on."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Final

from spillway_slo.collect import Sample
from spillway_slo.ledger import OUTCOME, TENANT, VERDICT, Cause
from spillway_slo.narrowing import METRICS
from spillway_wire import names
from spillway_wire.metric import Kind, Metric
from spillway_wire.series_reader import Read, Series, add_to

_CAUSES: Final = (names.REQUESTS, names.JUDGED_REQUESTS, names.TENANT_REQUESTS)
_INFINITY: Final = float("inf")


def metrics_for(exposed: Iterable[str]) -> dict[int, Metric]:
    """Return the metrics whose samples have these names, by id, and those that the ledger needs."""
    wanted = set(exposed)
    found = {metric.id: metric for metric in METRICS.values() if _sample_names(metric) & wanted}
    return found | {metric.id: metric for metric in _CAUSES}


def _sample_names(metric: Metric) -> set[str]:
    if metric.kind is Kind.HISTOGRAM:
        return {metric.name + "_bucket", metric.name + "_count"}
    return {metric.exposed}


def merged(places: Mapping[str, Read], wanted: Mapping[int, Metric]) -> Series:
    """Return the sums over all processes."""
    sums: Series = {}
    for read in places.values():
        add_to(sums, {key: values for key, values in read.kept.items() if key[0] in wanted})
    return sums


def samples(series: Series, wanted: Mapping[int, Metric]) -> Iterator[Sample]:
    """Yield what a scrape would say of them."""
    for (metric_id, values), said in series.items():
        metric = wanted[metric_id]
        labels = tuple(zip(metric.labels, values, strict=True))
        if metric.kind is not Kind.HISTOGRAM:
            yield Sample(metric.exposed, labels, None, said.numbers[0])
            continue
        cumulative = list(accumulate(said.numbers[:-1]))
        for bound, count in zip((*metric.buckets, _INFINITY), cumulative, strict=True):
            yield Sample(metric.name + "_bucket", labels, bound, count)
        yield Sample(metric.name + "_count", labels, None, cumulative[-1])


def totals(series: Series) -> dict[Cause, float]:
    """Return what the ledger counts."""
    found: dict[Cause, float] = {}
    for (metric_id, values), said in series.items():
        cause = _cause(metric_id, values)
        if cause is not None:
            found[cause] = found.get(cause, 0.0) + said.numbers[0]
    return found


def _cause(metric_id: int, values: tuple[str, ...]) -> Cause | None:
    if metric_id == names.REQUESTS.id:
        labels = dict(zip(names.REQUESTS.labels, values, strict=True))
        return (OUTCOME, labels["tier"], labels["outcome"])
    if metric_id == names.JUDGED_REQUESTS.id:
        return (VERDICT, *values)
    if metric_id == names.TENANT_REQUESTS.id:
        return (TENANT, *values)
    return None
