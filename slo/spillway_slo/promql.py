"""Objectives in PromQL. Each means what `evaluate` computes; a test holds them against each other."""

from fractions import Fraction
from typing import Final

from spillway_slo.burn import WARN_AT, decimal, threshold
from spillway_slo.objective import Floor, Objective, Percentile, Ratio, Slices, Stream, Tolerance
from spillway_slo.windows import FINE_S, MARK_S, PERCENTILE_WINDOW, RECORDED, BurnWindow, promql_duration

RATIO: Final = "slo:sli_error:ratio_rate"
"""Followed by the name of a window."""
BAD: Final = "slo:sli_bad:increase5m"
TOTAL: Final = "slo:sli_total:increase5m"
"""Between two marks; what windows longer than six hours are added up from, so that every request weighs the same."""
SLICE_BAD: Final = "slo:slice_bad:bool"
OBJECTIVE: Final = "slo:objective:ratio"
BUDGET: Final = "slo:error_budget:ratio"
PERIOD_DAYS: Final = "slo:time_period:days"
CURRENT_BURN: Final = "slo:current_burn_rate:ratio"
PERIOD_BURN: Final = "slo:period_burn_rate:ratio"
REMAINING: Final = "slo:period_error_budget_remaining:ratio"
PERCENTILE: Final = "slo:percentile:seconds"
INFO: Final = "sloth_slo_info"
_EDGE_S: Final = Fraction(1, 10)
"""Samples lie on both edges of a window; the one at its beginning belongs to the stretch before it."""


def range_of(window: str, scale: Fraction) -> str:
    """Return the length of a recorded window."""
    return promql_duration(RECORDED[window] * scale)


def _open_range(window: str, scale: Fraction) -> str:
    """Return its length without the sample at its beginning."""
    return promql_duration((RECORDED[window] - _EDGE_S) * scale)


def labels_of(objective: Objective) -> dict[str, str]:
    """Return the labels that Sloth gives to everything of an objective, and ours."""
    found = {"sloth_id": objective.id, "sloth_service": objective.service, "sloth_slo": objective.name}
    return found | {name: value for name, value in (("tier", objective.tier), ("kind", objective.kind)) if value}


def own(name: str, objective: Objective) -> str:
    """Return a recorded series of an objective."""
    return f'{name}{{sloth_id="{objective.id}", sloth_service="{objective.service}", sloth_slo="{objective.name}"}}'


def select(stream: Stream) -> str:
    """Return what selects a stream's series."""
    inside = []
    for name, values in stream.labels:
        plain = len(values) == 1
        inside.append(f'{name}{"=" if plain else "=~"}"{"|".join(values)}"')
    if stream.le is not None:
        inside.append(f'le="{_bound(stream.le)}"')
    return f"{stream.metric}{{{','.join(inside)}}}" if inside else stream.metric


def _bound(le: float) -> str:
    return "+Inf" if le == float("inf") else repr(le)


def _sum(function: str, stream: Stream, length: str) -> str:
    return f"sum({function}({select(stream)}[{length}]))"


def bad_of(ratio: Ratio, function: str, length: str) -> str:
    """Return the bad events of a stretch."""
    part = _sum(function, ratio.part, length)
    return f"({_sum(function, ratio.total, length)} - {part})" if ratio.part_is_good else part


def ratio_of(ratio: Ratio, length: str) -> str:
    """Return the error ratio of a stretch."""
    quotient = f"{_sum('rate', ratio.part, length)} / {_sum('rate', ratio.total, length)}"
    return f"1 - {quotient}" if ratio.part_is_good else quotient


def recorded_ratio(objective: Objective, window: str, scale: Fraction) -> str:
    """Return the error ratio over a window."""
    if isinstance(objective.indicator, Slices):
        return f"avg_over_time({own(SLICE_BAD, objective)}[{_open_range(window, scale)}])"
    if RECORDED[window] <= FINE_S:
        return ratio_of(objective.indicator, range_of(window, scale))
    length = _open_range(window, scale)
    return f"sum_over_time({own(BAD, objective)}[{length}]) / sum_over_time({own(TOTAL, objective)}[{length}])"


def marks(objective: Objective, scale: Fraction) -> list[tuple[str, str]]:
    """Return what is recorded at every mark: names and expressions. Of slices nothing has to be."""
    if isinstance(objective.indicator, Slices):
        return []
    length = promql_duration(MARK_S * scale)
    return [
        (BAD, bad_of(objective.indicator, "increase", length)),
        (TOTAL, _sum("increase", objective.indicator.total, length)),
    ]


def slice_bad(slices: Slices, scale: Fraction) -> str:
    """Return whether a slice was bad, as 1 or 0. A slice without traffic has no error ratio, and is not bad."""
    length = promql_duration(slices.slice_s * scale)
    rule = slices.rule
    if isinstance(rule, Tolerance):
        return f"{ratio_of(rule.ratio, length)} > bool {decimal(rule.most)}"
    return _too_little(rule, length)


def _too_little(rule: Floor, length: str) -> str:
    done, meanwhile = _sum("rate", rule.done, length), _sum("rate", rule.meanwhile, length)
    return f"({meanwhile} > bool 0) * ({done} < bool {rule.rate:g})"


def burning(objective: Objective, window: BurnWindow, scale: Fraction) -> str:
    """Return the condition of an alert."""
    above = decimal(threshold(window.factor, objective.target))
    lines = [
        f"{own(RATIO + window.short, objective)} > {above}",
        f"and ignoring (sloth_window) {own(RATIO + window.long, objective)} > {above}",
    ]
    if objective.min_failures > 1:
        failures = bad_in(objective, window.long, scale)
        lines.append(f"and on () {failures} > {objective.min_failures - 0.5:g}")
    return "\n".join(lines)


def bad_in(objective: Objective, window: str, scale: Fraction) -> str:
    """Return how many bad events a window had."""
    if isinstance(objective.indicator, Slices):
        return f"sum_over_time({own(SLICE_BAD, objective)}[{_open_range(window, scale)}])"
    if RECORDED[window] <= FINE_S:
        return bad_of(objective.indicator, "increase", range_of(window, scale))
    return f"sum_over_time({own(BAD, objective)}[{_open_range(window, scale)}])"


def percentile(objective: Objective, found: Percentile, scale: Fraction) -> str:
    """Return the percentile of an objective, in seconds."""
    histogram, length = select(found.histogram), range_of(PERCENTILE_WINDOW, scale)
    return f"histogram_quantile({decimal(objective.target)}, sum by (le) (rate({histogram}[{length}])))"


def near_limit(objective: Objective, found: Percentile) -> str:
    """Return the condition of the warning."""
    return f"{own(PERCENTILE, objective)} > {decimal(WARN_AT * Fraction(repr(found.limit)))}"
