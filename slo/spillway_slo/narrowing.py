"""Adds a condition on a label to everything that an indicator looks at."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from spillway_slo.errors import SpecError
from spillway_slo.objective import Floor, Ratio, Slices, Stream, Tolerance, Values
from spillway_wire import names
from spillway_wire.metric import Kind, Metric

_OPERATION: Final = "gen_ai_operation_name"
METRICS = {metric.name: metric for metric in names.METRICS}
"""What indicators can be made of: what processes count themselves."""


def metric_of(stream: Stream) -> Metric:
    """Return the definition that a stream's series belong to."""
    for suffix in ("_total", "_bucket", "_count"):
        metric = METRICS.get(stream.metric.removesuffix(suffix))
        if metric is not None:
            return metric
    raise KeyError(stream.metric)


def kinds_of(indicator: Ratio | Slices) -> tuple[str, Mapping[str, str]]:
    """Return the label by which series tell kinds of call apart, and its value of each kind."""
    if isinstance(indicator, Ratio):
        stream = indicator.total
    else:
        stream = indicator.rule.ratio.total if isinstance(indicator.rule, Tolerance) else indicator.rule.done
    if _OPERATION in metric_of(stream).labels:
        return _OPERATION, names.OPERATION_KINDS
    return names.KIND_LABEL, {kind: kind for kind in names.KINDS.values()}


def narrowed(indicator: Ratio | Slices, label: str, values: Values, place: str) -> Ratio | Slices:
    """Return the indicator of series alone whose `label` has one of `values`. Raises `SpecError`."""
    if isinstance(indicator, Ratio):
        return narrowed_ratio(indicator, label, values, place)
    rule = indicator.rule
    if isinstance(rule, Tolerance):
        return replace(indicator, rule=replace(rule, ratio=narrowed_ratio(rule.ratio, label, values, place)))
    done = narrowed_stream(rule.done, label, values, place)
    meanwhile = narrowed_stream(rule.meanwhile, label, values, place)
    return replace(indicator, rule=Floor(done, meanwhile, rule.rate))


def narrowed_ratio(ratio: Ratio, label: str, values: Values, place: str) -> Ratio:
    """Return the same of series with this label."""
    part = narrowed_stream(ratio.part, label, values, place)
    return Ratio(part, narrowed_stream(ratio.total, label, values, place), ratio.part_is_good)


def narrowed_stream(stream: Stream, label: str, values: Values, place: str) -> Stream:
    """Likewise. What was counted without the label, because nobody knew, is part of every counter's."""
    metric = metric_of(stream)
    if label not in metric.labels:
        raise SpecError(f"{place}: {metric.name} has no label {label!r}; it has: {', '.join(metric.labels) or 'none'}")
    if metric is names.JUDGED_REQUESTS and metric.kind is Kind.COUNTER:
        values = (*values, "")
    return replace(stream, labels=tuple(sorted([*stream.labels, (label, values)])))
