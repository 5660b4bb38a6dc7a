"""Objectives → `promtool` tests: for every alert, that it fires, that it does not, and that it clears.

For an alert of the windows L and S, with the threshold r, a test has four stretches of even traffic ::

    errors   0 ─────────── b ───────────────────────── 0 ──────────
             │   4 S       │  S  │  until L is above r │  S, a little │
    alert    not           not   │                fires           not

so the end of the second stretch has a short window that burns alone, which must not be enough. b is twice r, or all of
it. Where a budget is so small that one bad minute spends more than the threshold, the second look is taken before any.
The warning of a percentile is tried with all requests in a bucket below the warning, then in the one at the limit.

promtool evaluates all rules of a file alike, whatever their groups say: every five minutes here for pages and warnings,
every half hour for tickets, whose windows are so long that nothing less would end.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from spillway_slo.burn import WARN_AT, threshold
from spillway_slo.objective import Floor, Objective, Percentile, Ratio, Stream, Tolerance
from spillway_slo.rules import Alert, alerts_of, groups_of, to_yaml
from spillway_slo.windows import HOUR, MARK_S, MINUTE, PERCENTILE_WINDOW, RECORDED, BurnWindow

STEP_S: Final = {False: MINUTE, True: 30}
"""Between two samples, by whether slices of time are judged: a minute needs two, whichever edge is part of it."""
EVERY_S: Final = {"page": MARK_S, "ticket": HOUR // 2}
"""Between two evaluations, by severity."""
RATE: Final = 6000
"""Requests in a minute; so many that no alert is kept back for too few failures."""
_HEAD: Final = "# Written by `spillway slo rules`; change the objectives, not this file.\n"
Series = Mapping[Stream, float]
"""How much each grows in a minute."""


@dataclass(frozen=True, slots=True)
class Look:
    """What is expected at one moment."""

    at_s: int
    fires: bool


@dataclass(frozen=True, slots=True)
class Stretch:
    """A length of time, and the share of what happens in it that is bad."""

    seconds: int
    bad: Fraction


def _rounded(seconds: float, every_s: int) -> int:
    return math.ceil(seconds / every_s) * every_s


def course_of(objective: Objective, window: BurnWindow) -> tuple[list[Stretch], list[Look]]:
    """Return the stretches that try an alert, and when to look."""
    above = threshold(window.factor, objective.target)
    short, every = window.short_s, EVERY_S[window.severity]
    bad = Fraction(1) if objective.is_by_time else min(Fraction(1), 2 * above)
    calm = _rounded(4 * short, every)
    needed = float(above * calm / (bad - above)) if bad > above else 0.0
    burning = max(_rounded(1.1 * needed, every) + 2 * every, _rounded(short, every) + every)
    after = _rounded(short, every) + 3 * every
    alone = objective.is_by_time or float(bad) * short >= 0.9 * float(above) * (calm + short)
    looks = [
        Look(calm if alone else calm + _rounded(short, every), fires=False),
        Look(calm + burning, fires=True),
        Look(calm + burning + after, fires=False),
    ]
    return [Stretch(calm, Fraction(0)), Stretch(burning, bad), Stretch(after, Fraction(0))], looks


def _only(stream: Stream, *, not_in: Stream | None = None) -> Stream:
    """Return one series of a stream; if it is told, one that is not part of `not_in`."""
    chosen = []
    unlike = {} if not_in is None else dict(not_in.labels)
    for name, values in stream.labels:
        others = [value for value in values if value not in unlike.get(name, ())]
        chosen.append((name, ((others or list(values))[0],)))
    return Stream(stream.metric, tuple(chosen), stream.le)


def _of_ratio(ratio: Ratio, bad: float) -> dict[Stream, float]:
    if ratio.part.le is not None:  # a bucket, and the count
        return {_only(ratio.part): RATE * (1 - bad), _only(ratio.total): float(RATE)}
    inside, outside = _only(ratio.part), _only(ratio.total, not_in=ratio.part)
    part = RATE * ((1 - bad) if ratio.part_is_good else bad)
    return {inside: part, outside: RATE - part}


def _of_floor(rule: Floor, bad: float) -> dict[Stream, float]:
    enough = 2 * rule.rate * MINUTE
    return {_only(rule.done): enough * (1 - bad), _only(rule.meanwhile): float(RATE)}


def _growth(objective: Objective, bad: Fraction) -> dict[Stream, float]:
    indicator = objective.indicator
    if isinstance(indicator, Ratio):
        return _of_ratio(indicator, float(bad))
    if isinstance(indicator.rule, Tolerance):
        return _of_ratio(indicator.rule.ratio, float(bad))
    return _of_floor(indicator.rule, float(bad))


def _inputs(stretches: list[tuple[int, Series]], step_s: int) -> list[dict[str, str]]:
    """Return series as promtool writes them: where each begins, and how it grows from sample to sample."""
    found = []
    for stream in stretches[0][1]:
        value, parts = 0.0, []
        for seconds, series in stretches:
            steps, step = seconds // step_s, series[stream] * step_s / MINUTE
            parts.append(f"{value:.6f}+{step:.6f}x{steps - 1}")
            value += step * steps
        parts.append(f"{value:.6f}")
        found.append({"series": _written(stream), "values": " ".join(parts)})
    return found


def _written(stream: Stream) -> str:
    inside = [f'{name}="{values[0]}"' for name, values in stream.labels if values[0]]
    if stream.le is not None:
        inside.append(f'le="{"+Inf" if math.isinf(stream.le) else repr(stream.le)}"')
    return f"{stream.metric}{{{', '.join(inside)}}}"


def _test(alert: Alert, stretches: list[tuple[int, Series]], looks: Iterable[Look], step_s: int) -> dict[str, Any]:
    expected = [{"exp_labels": alert.labels, "exp_annotations": alert.annotations}]
    return {
        "name": alert.name,
        "interval": f"{step_s}s",
        "input_series": _inputs(stretches, step_s),
        "alert_rule_test": [
            {
                "eval_time": f"{look.at_s // MINUTE}m",
                "alertname": alert.name,
                "exp_alerts": expected if look.fires else [],
            }
            for look in looks
        ],
    }


def _burn_test(objective: Objective, window: BurnWindow, alert: Alert) -> dict[str, Any]:
    stretches, looks = course_of(objective, window)
    grown: list[tuple[int, Series]] = [(each.seconds, _growth(objective, each.bad)) for each in stretches]
    return _test(alert, grown, looks, STEP_S[objective.is_by_time])


def _percentile_test(percentile: Percentile, alert: Alert) -> dict[str, Any]:
    """All requests far below the warning; then all at the limit; then below again."""
    warning = float(WARN_AT) * percentile.limit
    low = max((bound for bound in percentile.bounds if bound <= warning / 2), default=percentile.bounds[0])
    bounds = (*percentile.bounds, math.inf)

    def all_at(limit: float) -> Series:
        buckets = [Stream(percentile.histogram.metric, percentile.histogram.labels, bound) for bound in bounds]
        return {_only(bucket): float(RATE) if (bucket.le or 0.0) >= limit else 0.0 for bucket in buckets}

    clear = RECORDED[PERCENTILE_WINDOW] + 2 * MARK_S
    stretches = [(HOUR, all_at(low)), (HOUR, all_at(percentile.limit)), (clear, all_at(low))]
    looks = [Look(HOUR, fires=False), Look(2 * HOUR, fires=True), Look(2 * HOUR + clear, fires=False)]
    return _test(alert, stretches, looks, STEP_S[False])


def tests_of(objective: Objective, severity: str) -> list[dict[str, Any]]:
    """Return a test for every alert of an objective that is a page, or a ticket; warnings go with the pages."""
    alerts = {alert.name: alert for alert in alerts_of(objective)}
    rows = [window for window in objective.policies if window.severity == severity]
    found = [_burn_test(objective, window, alerts[objective.alert_name(window)]) for window in rows]
    if objective.percentile is not None and severity == "page":
        found.append(_percentile_test(objective.percentile, alerts[objective.warning_name]))
    return found


def documents(objective: Objective, rules_file: str) -> dict[str, str]:
    """Return the tests of one objective, by severity, as the files that promtool reads."""
    found = {}
    for severity, every_s in EVERY_S.items():
        tests = tests_of(objective, severity)
        if tests:
            content = {
                "rule_files": [rules_file],
                "evaluation_interval": f"{every_s}s",
                "group_eval_order": [group["name"] for group in groups_of(objective)],
                "tests": tests,
            }
            found[severity] = _HEAD + to_yaml(content)
    return found
