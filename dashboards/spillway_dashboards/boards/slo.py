"""Objectives: what is left of their budgets, how fast it burns, and which alerts that has raised.

The series are recorded by rules, under Sloth's names, so that boards made for Sloth work as well: one for each window
of `slo:sli_error:ratio_rate`, and the labels `sloth_service`, `sloth_slo`, `sloth_id`; ours say the tier, too.
"""

from typing import Final

from spillway_dashboards.model import GREEN, ORANGE, RED, Board, Panel, Query, Row, Shape, State, Threshold, Variable
from spillway_dashboards.promql import Scope
from spillway_wire.metric import Metric, gauge

_LABELS: Final = ("sloth_id", "sloth_service", "sloth_slo", "tier")
WINDOWS: Final = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
"""The long and short windows of the four burn-rate alerts."""
BURN_RATES: Final = {"page, quick": 14.4, "page, slow": 6.0, "ticket, quick": 3.0, "ticket, slow": 1.0}
"""From which burn rate on an alert fires (SRE workbook, chapter 5)."""


def _recorded(name: str, text: str, *more: str) -> Metric:
    return gauge(name, text, *_LABELS, *more)


OBJECTIVE: Final = _recorded("slo:objective:ratio", "The share that is promised.")
BUDGET: Final = _recorded("slo:error_budget:ratio", "The share that may fail: 1 less the objective.")
BURN: Final = _recorded("slo:current_burn_rate:ratio", "How fast the budget burns: 1 uses it up exactly.")
PERIOD_BURN: Final = _recorded("slo:period_burn_rate:ratio", "The same over the whole period.")
LEFT: Final = _recorded("slo:period_error_budget_remaining:ratio", "What is left of the period's budget.")
ERRORS: Final = {
    window: _recorded(f"slo:sli_error:ratio_rate{window}", f"Share that failed, of the last {window}.", "sloth_window")
    for window in WINDOWS
}
PERCENTILE: Final = _recorded("slo:percentile:seconds", "The percentile that an objective of a time is about.")
ALERTS: Final = _recorded("ALERTS", "Prometheus's own: 1 for each alert.", "alertname", "alertstate", "sloth_severity")
RECORDED: Final = (OBJECTIVE, BUDGET, BURN, PERIOD_BURN, LEFT, PERCENTILE, *ERRORS.values())
"""What the rules must record."""

_SCOPE: Final = Scope(frozenset({"service", "tier", "slo"}), target=())
_EACH: Final = ("sloth_service", "sloth_slo")
_NAMED: Final = "{{sloth_service}} {{sloth_slo}}"

_ANSWERS: Final = Row(
    title="Now",
    panels=(
        Panel(
            title="Budget left",
            description="Of the period's error budget. At 0 the objective is missed; below, it was missed by as much "
            "again. A new installation begins at 100 %.",
            unit="percentunit",
            shape=Shape.NUMBER,
            queries=(Query(expr=_SCOPE.now(LEFT, by=_EACH, how="min"), legend=_NAMED),),
            base=RED,
            thresholds=(Threshold(at=0.0, color=ORANGE), Threshold(at=0.25, color=GREEN)),
            least=None,
            most=1.0,
            decimals=1,
            empty="no objectives",
            width=24,
            height=7,
        ),
        Panel(
            title="Burn rate now",
            description="How fast the budget burns, of the last 5 minutes: at 1 it would just last for the period. A "
            "single burst is no reason to get up; the alerts look at two windows at once.",
            unit="short",
            shape=Shape.NUMBER,
            queries=(Query(expr=_SCOPE.now(BURN, by=_EACH, how="max"), legend=_NAMED),),
            thresholds=(Threshold(at=1.0, color=ORANGE), Threshold(at=14.4, color=RED)),
            decimals=2,
            empty="no objectives",
            width=24,
            height=7,
        ),
    ),
)

_BURN: Final = Row(
    title="Burn",
    panels=(
        *(
            Panel(
                title=f"Burn rate over {window}",
                description=f"Share that failed in the last {window}, divided by the share that may fail. "
                f"From {factor:g} on, and if {short} says the same, this raises: {severity}.",
                unit="short",
                queries=(
                    Query(
                        expr=f"{_SCOPE.now(ERRORS[window], by=_EACH, how='max')} / "
                        f"{_SCOPE.now(BUDGET, by=_EACH, how='max')}",
                        legend=_NAMED,
                    ),
                ),
                thresholds=(Threshold(at=factor, color=RED),),
                empty="no objectives",
                width=12,
            )
            for (severity, factor), window, short in zip(
                BURN_RATES.items(), ("1h", "6h", "1d", "3d"), ("5m", "30m", "2h", "6h"), strict=True
            )
        ),
        Panel(
            title="Failed, by window",
            description="Share that failed, over each window: the raw numbers behind the burn rates; the worst of the "
            "objectives chosen.",
            unit="percentunit",
            queries=tuple(
                Query(expr=_SCOPE.now(metric, how="max"), legend=window) for window, metric in ERRORS.items()
            ),
            empty="no objectives",
            width=12,
        ),
        Panel(
            title="Burn rate over the whole period",
            description="Above 1 the objective will be missed, or is.",
            unit="short",
            queries=(Query(expr=_SCOPE.now(PERIOD_BURN, by=_EACH, how="max"), legend=_NAMED),),
            thresholds=(Threshold(at=1.0, color=RED),),
            empty="no objectives",
            width=12,
        ),
        Panel(
            title="Promised percentiles",
            description="Of objectives of a time: the percentile that is promised, as it is now. What the promise is "
            "stands in the objective's alert, and at `/slo`.",
            unit="s",
            queries=(Query(expr=_SCOPE.now(PERCENTILE, by=_EACH, how="max"), legend=_NAMED),),
            empty="no objectives",
            width=24,
        ),
    ),
)

_ALERTS: Final = Row(
    title="Alerts and objectives",
    panels=(
        Panel(
            title="Alerts",
            description="Alerts on objectives, while they fire. Page: get up. Ticket: look at it this week.",
            unit="short",
            shape=Shape.STATES,
            queries=(
                Query(
                    expr=_SCOPE.now(
                        ALERTS, 'alertstate="firing"', 'sloth_id!=""', by=("alertname", "sloth_severity"), how="max"
                    ),
                    legend="{{alertname}} ({{sloth_severity}})",
                ),
            ),
            states=(State(value=1, text="firing", color=RED),),
            least=None,
            empty="none fires",
            width=16,
        ),
        Panel(
            title="Objectives",
            description="What is promised.",
            unit="percentunit",
            shape=Shape.TABLE,
            queries=(Query(expr=_SCOPE.now(OBJECTIVE, by=_EACH, how="max")),),
            least=None,
            decimals=2,
            empty="no objectives",
        ),
    ),
)

BOARD: Final = Board(
    uid="spillway-slo",
    title="Spillway: objectives and budgets",
    description="What is promised, what is left of each error budget, how fast it burns, which alerts that has raised.",
    rows=(_ANSWERS, _BURN, _ALERTS),
    scope=_SCOPE,
    variables=(
        Variable(name="service", label="Service", query=f"label_values({OBJECTIVE.name}, sloth_service)"),
        Variable(name="tier", label="Tier", query=f'label_values({OBJECTIVE.name}{{sloth_service=~"$service"}}, tier)'),
        Variable(
            name="slo",
            label="Objective",
            query=f'label_values({OBJECTIVE.name}{{sloth_service=~"$service", tier=~"$tier"}}, sloth_slo)',
        ),
    ),
    period="now-6h",
)
