"""One SLO document, with the indicator and the policies that it refers to → an objective."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Final

from spillway_slo import openslo
from spillway_slo.errors import SpecError
from spillway_slo.found import Found
from spillway_slo.narrowing import METRICS, narrowed, narrowed_stream
from spillway_slo.objective import Floor, Objective, Percentile, Ratio, Slices, Stream, Tolerance
from spillway_slo.windows import PERIOD_S, BurnWindow, parse_duration
from spillway_wire.metric import Kind

_BY_REQUEST: Final = "Occurrences"
_BY_TIME: Final = "Timeslices"
_ACCEPT: Final = openslo.PREFIX + "accept."


def build(document: Found, named: Mapping[tuple[str, str], Found], policies: Mapping[str, BurnWindow]) -> Objective:
    """Return the objective. Raises `SpecError`."""
    place, head = document.place, document.head
    spec: openslo.SloSpec = document.spec
    if len(spec.objectives) != 1:
        raise SpecError(f"{place}: spec.objectives must hold one objective; write an SLO for each")
    said = spec.objectives[0]
    sli = named.get(("SLI", spec.indicator_ref))
    if sli is None:
        raise SpecError(f"{place}: spec.indicatorRef is {spec.indicator_ref!r}; there is no SLI of this name")
    notes = head.metadata.annotations
    tier = notes.get(openslo.PREFIX + "tier", "")
    _check_period(place, spec.time_window)
    target = _target(place, said)
    indicator, percentile = _indicator(place, spec, said, sli)
    if tier:
        indicator = narrowed(indicator, "tier", (tier,), place)
        if percentile is not None:
            histogram = narrowed_stream(percentile.histogram, "tier", (tier,), place)
            percentile = Percentile(histogram, percentile.bounds, percentile.limit)
    return Objective(
        name=head.metadata.name,
        title=head.metadata.display_name or head.metadata.name,
        description=" ".join(spec.description.split()),
        service=spec.service,
        target=target,
        indicator=indicator,
        policies=_policies(place, spec.alert_policies, policies),
        tier=tier,
        family=spec.indicator_ref,
        percentile=percentile,
        expected_per_hour=_number(place, notes, "expected-requests-per-hour"),
        min_failures=round(_number(place, notes, "min-failures") or 1),
        accepted={key.removeprefix(_ACCEPT): why for key, why in notes.items() if key.startswith(_ACCEPT)},
        place=place,
    )


def _check_period(place: str, windows: list[openslo.TimeWindow]) -> None:
    if len(windows) != 1 or not windows[0].is_rolling or _duration(place, windows[0].duration) != PERIOD_S:
        raise SpecError(
            f"{place}: spec.timeWindow must be one rolling window of 30d: the burn rates' windows belong to that period"
        )


def _duration(place: str, text: str) -> int:
    try:
        return parse_duration(text)
    except SpecError as error:
        raise SpecError(f"{place}: {error}") from None


def _target(place: str, said: openslo.ObjectiveSpec) -> Fraction:
    if (said.target is None) == (said.target_percent is None):
        raise SpecError(f"{place}: spec.objectives[0] must have a target, or a targetPercent, and not both")
    target = Fraction(repr(said.target)) if said.target is not None else Fraction(repr(said.target_percent)) / 100
    if not 0 < target < 1:
        raise SpecError(f"{place}: the target is {float(target):g}; it must be above 0 and below 1, such as 0.999")
    return target


def _number(place: str, notes: Mapping[str, str], name: str) -> float | None:
    text = notes.get(openslo.PREFIX + name)
    try:
        number = None if text is None else float(text)
    except ValueError:
        number = -1.0
    if number is not None and number <= 0:
        raise SpecError(f"{place}: {openslo.PREFIX}{name} is {text!r}; it must be a number above 0, in quotes")
    return number


def _policies(place: str, refs: list[openslo.PolicyRef], policies: Mapping[str, BurnWindow]) -> tuple[BurnWindow, ...]:
    for ref in refs:
        if ref.alert_policy_ref not in policies:
            known = ", ".join(policies)
            raise SpecError(f"{place}: spec.alertPolicies names {ref.alert_policy_ref!r}; there are: {known}")
    return tuple(policies[ref.alert_policy_ref] for ref in refs)


def _indicator(
    place: str, spec: openslo.SloSpec, said: openslo.ObjectiveSpec, sli: Found
) -> tuple[Ratio | Slices, Percentile | None]:
    meant: openslo.IndicatorSpec = sli.spec
    if (meant.ratio_metric is None) == (meant.threshold_metric is None):
        raise SpecError(f"{sli.place}: spec must have a ratioMetric or a thresholdMetric, and not both")
    if spec.budgeting_method not in {_BY_REQUEST, _BY_TIME}:
        raise SpecError(f"{place}: spec.budgetingMethod is {spec.budgeting_method!r}; use {_BY_REQUEST} or {_BY_TIME}")
    by_time = spec.budgeting_method == _BY_TIME
    if meant.ratio_metric is not None:
        ratio = _ratio(sli.place, meant.ratio_metric)
        return (_tolerance(place, said, ratio) if by_time else ratio), None
    source = meant.threshold_metric.metric_source.spec if meant.threshold_metric is not None else None
    if source is None or said.value is None:
        raise SpecError(f"{place}: spec.objectives[0].value is missing; {spec.indicator_ref} is held against a value")
    if by_time:
        return _floor(place, said, sli.place, source), None
    return _below(place, said, sli.place, source)


def _ratio(place: str, metric: openslo.RatioMetric) -> Ratio:
    if (metric.good is None) == (metric.bad is None):
        raise SpecError(f"{place}: spec.ratioMetric must have good or bad, beside total, and not both")
    part = metric.good or metric.bad
    assert part is not None  # noqa: S101 - one of the two is there, as was checked
    return Ratio(
        _counter(place, part.metric_source.spec),
        _counter(place, metric.total.metric_source.spec),
        part_is_good=metric.good is not None,
    )


def _tolerance(place: str, said: openslo.ObjectiveSpec, ratio: Ratio) -> Slices:
    if said.time_slice_target is None or not 0 < said.time_slice_target < 1:
        raise SpecError(f"{place}: spec.objectives[0].timeSliceTarget is missing; a slice is good from such a share on")
    return Slices(_slice(place, said), Tolerance(ratio, 1 - Fraction(repr(said.time_slice_target))))


def _slice(place: str, said: openslo.ObjectiveSpec) -> int:
    if said.time_slice_window is None:
        raise SpecError(f"{place}: spec.objectives[0].timeSliceWindow is missing; write 1m, or longer")
    return _duration(place, said.time_slice_window)


def _floor(place: str, said: openslo.ObjectiveSpec, sli_place: str, source: openslo.SourceSpec) -> Slices:
    if said.op not in {"gte", "gt"} or source.meanwhile is None:
        raise SpecError(
            f"{place}: a threshold by time slices is a rate that must be reached (op: gte) while something else "
            f"happens, which the indicator's spec names as `meanwhile`"
        )
    done, meanwhile = _counter(sli_place, source), _counter(sli_place, source.meanwhile)
    return Slices(_slice(place, said), Floor(done, meanwhile, float(said.value or 0)))


def _below(
    place: str, said: openslo.ObjectiveSpec, sli_place: str, source: openslo.SourceSpec
) -> tuple[Ratio, Percentile]:
    """Return the share of observations up to the value, and its twin, the percentile."""
    metric = METRICS.get(source.metric)
    if metric is None or metric.kind is not Kind.HISTOGRAM:
        raise SpecError(f"{sli_place}: {source.metric!r} is no histogram of the catalogue (spillway_wire.names)")
    if said.op not in {"lte", None} or said.value is None:
        raise SpecError(f"{place}: spec.objectives[0].op must be lte: histograms count what is at most a bound")
    labels = _labels(sli_place, source, metric.labels)
    histogram = Stream(f"{metric.name}_bucket", labels)
    good = Stream(histogram.metric, labels, said.value)
    total = Stream(f"{metric.name}_count", labels)
    return Ratio(good, total, part_is_good=True), Percentile(histogram, metric.buckets, said.value)


def _counter(place: str, source: openslo.SourceSpec) -> Stream:
    metric = METRICS.get(source.metric)
    if metric is None or metric.kind is not Kind.COUNTER:
        raise SpecError(f"{place}: {source.metric!r} is no counter of the catalogue (spillway_wire.names)")
    return Stream(metric.exposed, _labels(place, source, metric.labels))


def _labels(place: str, source: openslo.SourceSpec, known: tuple[str, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    for label in source.labels:
        if label not in known:
            raise SpecError(f"{place}: {source.metric} has no label {label!r}; it has: {', '.join(known) or 'none'}")
    values = {name: (said,) if isinstance(said, str) else tuple(said) for name, said in source.labels.items()}
    return tuple(sorted(values.items()))
