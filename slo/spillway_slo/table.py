"""The objectives as a table that one can read: in Markdown, for the docs."""

from collections.abc import Iterable
from fractions import Fraction

from spillway_slo.burn import budget, decimal
from spillway_slo.objective import Objective
from spillway_slo.windows import MINUTE

_HEAD = "| objective | promise | target | a month's budget | alerts |\n|---|---|---|---|---|\n"


def table(objectives: Iterable[Objective]) -> str:
    """Return the table."""
    return _HEAD + "".join(_row(objective) for objective in objectives)


def _row(objective: Objective) -> str:
    alerts = ", ".join(window.name for window in objective.policies)
    if objective.percentile is not None:
        alerts += ", near limit"
    kind = f" ({objective.kind})" if objective.kind else ""
    return (
        f"| `{objective.name}` | {objective.description}{kind} | {decimal(objective.target * 100)} % "
        f"| {_budget(objective)} | {alerts} |\n"
    )


def _budget(objective: Objective) -> str:
    share = budget(objective.target)
    if objective.is_by_time:
        minutes = share * objective.period_s / MINUTE
        return f"{decimal(Fraction(round(minutes * 10), 10))} min"
    return f"1 request in {float(1 / share):,.4g}"
