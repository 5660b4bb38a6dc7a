"""How objectives stand, as `GET /slo` says it."""

from collections.abc import Sequence
from typing import Any

from spillway_slo.alerts import FIRING, INACTIVE, AlertBook, rfc3339
from spillway_slo.evaluate import Standing
from spillway_slo.rules import WARNING
from spillway_slo.windows import RECORDED


def answer(standings: Sequence[Standing], alerts: AlertBook, *, at: float, profile: str, scale: str) -> dict[str, Any]:
    """Return the body. Ratios are of 1; times are unix times; what nobody asked for is null."""
    return {
        "profile": profile,
        "time_scale": scale,
        "evaluated_at": at,
        "tiers": tiers(standings),
        "objectives": [_objective(standing, alerts) for standing in standings],
    }


def tiers(standings: Sequence[Standing]) -> list[dict[str, Any]]:
    """Return availability, what was shed, and good requests of every tier: none is fair without the others."""
    found: dict[str, dict[str, Any]] = {}
    for standing in standings:
        objective = standing.objective
        if objective.tier and not objective.kind and not objective.is_by_time:
            names = {"availability": "availability", "shed": "shed", "good-request": "good"}
            name = names.get(objective.family)
            if name is not None:
                ratio = standing.counted["30d"].ratio
                value = ratio if name == "shed" or ratio is None else 1.0 - ratio
                found.setdefault(objective.tier, {"tier": objective.tier})[name] = value
    return list(found.values())


def _objective(standing: Standing, alerts: AlertBook) -> dict[str, Any]:
    objective = standing.objective
    found: dict[str, Any] = {
        "name": objective.name,
        "title": objective.title,
        "description": objective.description,
        "family": objective.family,
        "tier": objective.tier,
        "kind": objective.kind,
        "by": "time" if objective.is_by_time else "request",
        "target": float(objective.target),
        "attained": standing.attained,
        "budget_left": standing.budget_left,
        "bad": standing.counted["30d"].bad,
        "total": standing.counted["30d"].total,
        "burn": {window: standing.burn(window) for window in RECORDED},
        "alerts": [_alert(name, standing, alerts) for name in standing.burning],
    }
    if objective.percentile is not None:
        found["percentile"] = {
            "q": float(objective.target),
            "limit_s": objective.percentile.limit,
            "value_s": standing.percentile_s,
            "warns": standing.burning[objective.warning_name],
        }
    return found


def _alert(name: str, standing: Standing, alerts: AlertBook) -> dict[str, Any]:
    firing = alerts.firing.get(name)
    rows = {standing.objective.alert_name(window): window.severity for window in standing.objective.policies}
    return {
        "name": name,
        "state": INACTIVE if firing is None else FIRING,
        "since": None if firing is None else firing.since,
        "since_at": None if firing is None else rfc3339(firing.since),
        "severity": rows.get(name, WARNING),
    }
