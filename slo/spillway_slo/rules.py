"""Objectives → Prometheus' recording rules and alerts, under the names that Sloth uses; a pure function.

Each objective has up to four groups, in this order: slices of time; at every mark, what windows longer than six hours
are added up from; at every tick, the windows and what boards show; the alerts. With a scale all lengths shrink and all
names stay: a drill of minutes is judged by the same template.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import yaml

from spillway_slo import promql
from spillway_slo.burn import WARN_AT, budget, decimal
from spillway_slo.objective import Objective, Slices
from spillway_slo.windows import (
    DAY,
    MARK_S,
    PERCENTILE_WINDOW,
    RECORDED,
    TICK_S,
    BurnWindow,
    promql_duration,
)

UNSCALED: Final = Fraction(1)
WARNING: Final = "warning"
_HEAD: Final = "# Written by `spillway slo rules`{how}; change the objectives, not this file.\n"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alerting rule."""

    name: str
    expr: str
    labels: dict[str, str]
    annotations: dict[str, str]


def alerts_of(objective: Objective, scale: Fraction = UNSCALED) -> Iterator[Alert]:
    """Yield the alerts of an objective: one for each row, and the warning of a percentile."""
    for window in objective.policies:
        yield Alert(
            objective.alert_name(window),
            promql.burning(objective, window, scale),
            burn_labels(objective, window),
            burn_annotations(objective, window),
        )
    if objective.percentile is not None:
        yield Alert(
            objective.warning_name,
            promql.near_limit(objective, objective.percentile),
            warning_labels(objective),
            warning_annotations(objective),
        )


def burn_labels(objective: Objective, window: BurnWindow) -> dict[str, str]:
    """Return the labels of an alert."""
    return promql.labels_of(objective) | {
        "sloth_severity": window.severity,
        "severity": window.severity,
        "sloth_window": window.long,
    }


def warning_labels(objective: Objective) -> dict[str, str]:
    """Return the labels of a warning."""
    return promql.labels_of(objective) | {"severity": WARNING, "sloth_window": PERCENTILE_WINDOW}


def burn_annotations(objective: Objective, window: BurnWindow) -> dict[str, str]:
    """Return what an alert says to people."""
    return {
        "summary": f"{objective.title}: the error budget burns {float(window.factor):g} times too fast",
        "description": (
            f"{objective.description} Over {window.long} and over {window.short}, more than "
            f"{float(window.factor * budget(objective.target)):.4g} of all was bad; the target is "
            f"{float(objective.target):.4%}."
        ),
    }


def warning_annotations(objective: Objective) -> dict[str, str]:
    """Return what a warning says to people."""
    limit = 0.0 if objective.percentile is None else objective.percentile.limit
    return {
        "summary": f"{objective.title}: p{float(objective.target) * 100:g} is above {float(WARN_AT):.0%} of its limit",
        "description": f"{objective.description} The limit is {limit:g} s, and it is near.",
    }


def groups_of(objective: Objective, scale: Fraction = UNSCALED) -> list[dict[str, Any]]:
    """Return the rule groups of an objective."""
    tick, mark = promql_duration(TICK_S * scale), promql_duration(MARK_S * scale)
    by_time = objective.indicator if isinstance(objective.indicator, Slices) else None
    slices = [_record(objective, promql.SLICE_BAD, promql.slice_bad(by_time, scale))] if by_time else []
    growth = [_record(objective, name, expr) for name, expr in promql.marks(objective, scale)]
    ticks = [*_ratios(objective, scale), *_standing(objective, scale)]
    groups = [
        _group(objective, "slices", slices, promql_duration(by_time.slice_s * scale) if by_time else tick),
        _group(objective, "marks", growth, mark),
        _group(objective, "ticks", ticks, tick),
        _group(objective, "alerts", [_alert(alert) for alert in alerts_of(objective, scale)], tick),
    ]
    return [group for group in groups if group["rules"]]


def _group(objective: Objective, what: str, rules: list[dict[str, Any]], interval: str) -> dict[str, Any]:
    return {"name": f"sloth-slo-{what}-{objective.id}", "interval": interval, "rules": rules}


def _record(objective: Objective, name: str, expr: str, **more: str) -> dict[str, Any]:
    return {"record": name, "expr": expr, "labels": promql.labels_of(objective) | more}


def _alert(alert: Alert) -> dict[str, Any]:
    return {"alert": alert.name, "expr": alert.expr, "labels": alert.labels, "annotations": alert.annotations}


def _ratios(objective: Objective, scale: Fraction) -> Iterator[dict[str, Any]]:
    for window in RECORDED:
        expr = promql.recorded_ratio(objective, window, scale)
        yield _record(objective, promql.RATIO + window, expr, sloth_window=window)


def _standing(objective: Objective, scale: Fraction) -> Iterator[dict[str, Any]]:
    """Yield what boards show of an objective."""
    yield _record(objective, promql.OBJECTIVE, f"vector({decimal(objective.target)})")
    yield _record(objective, promql.BUDGET, f"vector({decimal(budget(objective.target))})")
    yield _record(objective, promql.PERIOD_DAYS, f"vector({objective.period_s // DAY})")
    for name, window in ((promql.CURRENT_BURN, "5m"), (promql.PERIOD_BURN, "30d")):
        spent, of = promql.own(promql.RATIO + window, objective), promql.own(promql.BUDGET, objective)
        yield _record(objective, name, f"{spent} / ignoring (sloth_window) group_left () {of}")
    yield _record(objective, promql.REMAINING, f"1 - {promql.own(promql.PERIOD_BURN, objective)}")
    info = {"sloth_mode": "cli-gen-openslo", "sloth_spec": "openslo/v1", "sloth_version": "spillway"}
    yield _record(objective, promql.INFO, "vector(1)", sloth_objective=decimal(objective.target * 100), **info)
    if objective.percentile is not None:
        yield _record(objective, promql.PERCENTILE, promql.percentile(objective, objective.percentile, scale))


class _Plain(yaml.SafeDumper):
    """Writes nothing but what Prometheus reads: no anchors, long lines whole."""

    def ignore_aliases(self, data: object) -> bool:
        """Say everything where it belongs."""
        del data
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Plain.add_representer(str, _text)


def to_yaml(content: object) -> str:
    """Write a document."""
    return yaml.dump(content, Dumper=_Plain, sort_keys=False, width=2**20, allow_unicode=True)


def document(objectives: Iterable[Objective], scale: Fraction = UNSCALED) -> str:
    """Return the rules of objectives as the file that Prometheus loads."""
    groups = [group for objective in objectives for group in groups_of(objective, scale)]
    how = "" if scale == 1 else f", all windows times {scale}"
    return _HEAD.format(how=how) + to_yaml({"groups": groups})
