"""The report for a period: what was attained, what the budget was spent on, incidents, worst requests, tenants.

A pure function of what ops remembers (`memory`) and of facts that others give: restarts and traces. Its numbers come
from the same sums and the same arithmetic as `/slo`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from spillway_slo.alerts import AlertBook, AlertState
from spillway_slo.burn import NOTHING, Counted, budget_left, burn_rate
from spillway_slo.evaluate import Evaluator
from spillway_slo.ledger import OUTCOME, TENANT, VERDICT, Cause, Ledger
from spillway_slo.objective import Objective
from spillway_slo.rules import WARNING
from spillway_slo.windows import RECORDED
from spillway_wire.outcomes import Outcome
from spillway_wire.verdicts import BEFORE_FIRST_TOKEN, Verdict

BARS = 48
"""Stretches in the picture of an objective's course."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One objective over the period."""

    name: str
    title: str
    description: str
    family: str
    tier: str
    kind: str
    by: str
    target: float
    attained: float | None
    """None: nobody asked for anything."""
    met: bool | None
    bad: float
    total: float
    burn_rate: float | None
    budget_spent: float
    """Share of the budget of 30 days that went in this period."""
    budget_left: float
    """Of the 30 days that end now."""
    course: tuple[float | None, ...]
    """Burn rates of equal stretches of the period; None: nothing happened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """One cause of bad requests."""

    tier: str
    what: str
    """A verdict or an outcome."""
    requests: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """An engine that died and came back, or did not."""

    at: float
    engine: str
    cause: str
    end: str
    detect_s: float | None
    recover_s: float | None
    trace_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Alerts that overlap in time, and the restarts around them; or a restart that no alert was due for."""

    start: float
    end: float | None
    """None: it is not over."""
    alerts: tuple[str, ...] = ()
    severity: str = ""
    detect_s: float | None = None
    """From the first bad event to the first alert, or from a death to its being noticed."""
    recover_s: float | None = None
    """From there to the end of all alerts, or until the engine was back."""
    restarts: tuple[Restart, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Worst:
    """A request to look at."""

    at: float
    request_id: str
    trace_id: str
    model: str
    tenant: str
    outcome: str
    duration_s: float
    ttft_s: float | None
    recovered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantRow:
    """One tenant over the period."""

    tenant: str
    tier: str
    requests: float
    served: float
    failed: float
    shed: float
    excluded: float
    availability: float | None
    shed_ratio: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All of it. Times are unix times, ratios of 1, the rest as its name says."""

    profile: str
    start: float
    end: float
    covered_from: float | None
    """The first moment that is remembered within the period; None: nothing is."""
    covered_to: float | None
    written_at: float
    objectives: tuple[Row, ...] = ()
    spent: tuple[Spent, ...] = ()
    incidents: tuple[Incident, ...] = ()
    failed: tuple[Worst, ...] = ()
    slowest: tuple[Worst, ...] = ()
    tenants: tuple[TenantRow, ...] = ()
    notes: tuple[str, ...] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What is known from elsewhere."""

    restarts: tuple[Restart, ...] = ()
    failed: tuple[Worst, ...] = ()
    slowest: tuple[Worst, ...] = ()
    notes: tuple[str, ...] = ()


def build(
    evaluator: Evaluator,
    ledger: Ledger,
    alerts: AlertBook,
    given: Given,
    *,
    start: float,
    end: float,
    profile: str,
    written_at: float,
) -> Report:
    """Return the report of [start, end]."""
    found = evaluator.history.between(start, end)
    counts = ledger.between(start, end)
    return Report(
        profile=profile,
        start=start,
        end=end,
        covered_from=None if found is None else found[1],
        covered_to=None if found is None else found[2],
        written_at=written_at,
        objectives=tuple(_row(evaluator, objective, start, end) for objective in evaluator.objectives),
        spent=_spent(counts),
        incidents=_incidents(evaluator, alerts, given.restarts, start, end),
        failed=given.failed,
        slowest=given.slowest,
        tenants=_tenants(counts),
        notes=given.notes,
    )


def _row(evaluator: Evaluator, objective: Objective, start: float, end: float) -> Row:
    counted = _counted(evaluator, objective, start, end)
    ratio, length_s = counted.ratio, end - start
    burn = burn_rate(ratio, objective.target)
    period_s = evaluator.history.length_of("30d")
    return Row(
        name=objective.name,
        title=objective.title,
        description=objective.description,
        family=objective.family,
        tier=objective.tier,
        kind=objective.kind,
        by="time" if objective.is_by_time else "request",
        target=float(objective.target),
        attained=None if ratio is None else 1.0 - ratio,
        met=None if ratio is None else 1.0 - ratio >= float(objective.target),
        bad=counted.bad,
        total=counted.total,
        burn_rate=burn,
        budget_spent=(burn or 0.0) * min(length_s / period_s, 1.0),
        budget_left=budget_left(evaluator.count(objective, evaluator.history.growth("30d")).ratio, objective.target),
        course=tuple(
            burn_rate(_counted(evaluator, objective, begin, begin + length_s / BARS).ratio, objective.target)
            for begin in (start + place * length_s / BARS for place in range(BARS))
        ),
    )


def _counted(evaluator: Evaluator, objective: Objective, start: float, end: float) -> Counted:
    found = evaluator.history.between(start, end)
    return NOTHING if found is None else evaluator.count(objective, found[0])


def _spent(counts: dict[Cause, float]) -> tuple[Spent, ...]:
    """Return what was bad: by verdict, and the failures among them by outcome; the most first."""
    found: dict[tuple[str, str], float] = {}
    for cause, number in counts.items():
        if cause[0] == VERDICT and cause[3] not in {Verdict.GOOD, Verdict.EXCLUDED}:
            key = (cause[1], cause[3])
        elif cause[0] == OUTCOME and BEFORE_FIRST_TOKEN.get(Outcome(cause[2])) is Verdict.FAILED:
            key = (cause[1], f"{Verdict.FAILED.value} or {Verdict.BROKEN.value}: {cause[2]}")
        else:
            continue
        found[key] = found.get(key, 0.0) + number
    rows = [Spent(tier=tier, what=what, requests=number) for (tier, what), number in found.items()]
    return tuple(sorted(rows, key=lambda row: (-row.requests, row.tier, row.what)))


def _tenants(counts: dict[Cause, float]) -> tuple[TenantRow, ...]:
    """Return tenants by how many requests they made."""
    by_tenant: dict[tuple[str, str], dict[Verdict, float]] = {}
    for cause, number in counts.items():
        if cause[0] == TENANT:
            verdict = BEFORE_FIRST_TOKEN[Outcome(cause[3])]
            verdicts = by_tenant.setdefault((cause[1], cause[2]), dict.fromkeys(Verdict, 0.0))
            verdicts[verdict] += number
    rows = [_tenant(tenant, tier, verdicts) for (tenant, tier), verdicts in by_tenant.items()]
    return tuple(sorted(rows, key=lambda row: (-row.requests, row.tenant)))


def _tenant(tenant: str, tier: str, verdicts: dict[Verdict, float]) -> TenantRow:
    served, failed, shed = verdicts[Verdict.GOOD], verdicts[Verdict.FAILED], verdicts[Verdict.SHED]
    failing, shedding = Counted(failed, served + failed).ratio, Counted(shed, served + failed + shed).ratio
    return TenantRow(
        tenant=tenant,
        tier=tier,
        requests=sum(verdicts.values()),
        served=served,
        failed=failed,
        shed=shed,
        excluded=verdicts[Verdict.EXCLUDED],
        availability=None if failing is None else 1.0 - failing,
        shed_ratio=shedding,
    )


# ---- incidents ----


def _incidents(
    evaluator: Evaluator, book: AlertBook, restarts: Sequence[Restart], start: float, end: float
) -> tuple[Incident, ...]:
    """Return incidents, the earliest first."""
    all_of_them = [alert for alert in (*book.past, *book.firing.values()) if alert.severity != WARNING]
    alerts = sorted((a for a in all_of_them if _overlaps(a, start, end)), key=lambda alert: alert.since)
    left = list(restarts)
    found = []
    for group in _grouped(alerts):
        began = group[0].since - (detect_s := _detection(evaluator, group[0]) or 0.0)
        ended = None if any(a.until is None for a in group) else max(a.until or 0.0 for a in group)
        around = tuple(each for each in left if began - 60 <= each.at <= (end if ended is None else ended))
        left = [each for each in left if each not in around]
        found.append(
            Incident(
                start=began,
                end=ended,
                alerts=tuple(alert.name for alert in group),
                severity="page" if any(alert.severity == "page" for alert in group) else "ticket",
                detect_s=detect_s,
                recover_s=None if ended is None else ended - group[0].since,
                restarts=around,
            )
        )
    found += [_of_restart(each) for each in left]
    return tuple(sorted(found, key=lambda incident: incident.start))


def _of_restart(restart: Restart) -> Incident:
    back = None if restart.recover_s is None else restart.at + restart.recover_s
    return Incident(
        start=restart.at,
        end=back,
        detect_s=restart.detect_s,
        recover_s=restart.recover_s,
        restarts=(restart,),
    )


def _overlaps(alert: AlertState, start: float, end: float) -> bool:
    return alert.since <= end and (alert.until is None or alert.until >= start)


def _grouped(alerts: Iterable[AlertState]) -> list[list[AlertState]]:
    groups: list[list[AlertState]] = []
    until = float("-inf")
    for alert in alerts:
        if groups and alert.since <= until:
            groups[-1].append(alert)
        else:
            groups.append([alert])
            until = float("-inf")
        until = max(until, float("inf") if alert.until is None else alert.until)
    return groups


def _detection(evaluator: Evaluator, alert: AlertState) -> float | None:
    """Return the seconds from the first bad event that the long window of an alert saw to the alert."""
    objective = next((each for each in evaluator.objectives if each.name == alert.objective), None)
    window = alert.labels.get("sloth_window", "")
    if objective is None or window not in RECORDED:
        return None
    history = evaluator.history
    for ring in (history.fine, history.coarse):
        times = ring.times
        inside = np.flatnonzero((times >= alert.since - history.length_of(window)) & (times <= alert.since))
        for before, place in pairwise(inside):
            if evaluator.count(objective, ring.rows[place] - ring.rows[inside[0]]).bad > 0.5:
                return float(alert.since - times[before])
    return None
