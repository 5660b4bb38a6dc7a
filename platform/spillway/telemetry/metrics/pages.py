"""What all processes have counted, as families: their pages and the totals of the dead, added up (`series_totals`)."""

from collections.abc import Mapping
from typing import Final

from spillway.telemetry.metrics.exposition import Buckets, Family, Labels
from spillway_wire.metric import Kind, Metric
from spillway_wire.names import METRICS
from spillway_wire.series_reader import Read, Series, Values, add_to

_BY_ID: Final[Mapping[int, Metric]] = {metric.id: metric for metric in METRICS}


def families_of_pages(places: Mapping[str, Read]) -> list[Family]:
    """Return the families that the pages of all places hold, in the order of the catalogue."""
    found: dict[int, Series] = {}
    for place, read in places.items():
        for series in (read.kept, read.gauges):
            for (metric_id, labels), values in series.items():
                metric = _BY_ID.get(metric_id)
                if metric is not None:  # else it is of another version, whose process is on its way out
                    key = (metric_id, (place, *labels) if metric.place else labels)
                    add_to(found.setdefault(metric_id, {}), {key: values})
    return [_family(metric, found[metric.id]) for metric in METRICS if metric.id in found]


def _family(metric: Metric, series: Series) -> Family:
    family = Family(metric.name, metric.kind.value, metric.help, metric.unit, metric.buckets)
    names = (metric.place, *metric.labels) if metric.place else metric.labels
    for (_, values), said in series.items():
        labels: Labels = tuple(zip(names, values, strict=True))
        if metric.kind is Kind.HISTOGRAM:
            family.histograms.append((labels, _buckets(said)))
        else:
            family.add(labels, said.numbers[0])
    return family


def _buckets(said: Values) -> Buckets:
    return Buckets(said.numbers[:-1], said.numbers[-1], said.exemplars)
