"""How objectives stand, as families of metrics."""

from collections.abc import Iterable, Mapping

from spillway.ops.status_families import Families
from spillway.telemetry.metrics.exposition import Family
from spillway_slo.alerts import AlertBook
from spillway_slo.evaluate import Standing
from spillway_slo.rules import WARNING
from spillway_slo.windows import RECORDED
from spillway_wire import slo_names as names


def families_of(
    standings: Iterable[Standing], alerts: AlertBook, notified: Mapping[str, int], at: float | None
) -> Iterable[Family]:
    """Return them; before the first evaluation there are none."""
    found = Families()
    for standing in standings:
        objective = standing.objective
        found.say(names.TARGET, (objective.name, objective.tier, objective.kind), float(objective.target))
        found.say(names.BUDGET_LEFT, (objective.name,), standing.budget_left)
        found.say(names.PERCENTILE, (objective.name,), standing.percentile_s)
        for window in RECORDED:
            found.say(names.BURN_RATE, (objective.name, window), standing.burn(window))
        severities = {objective.alert_name(row): row.severity for row in objective.policies}
        for alert in standing.burning:
            labels = (objective.name, alert, severities.get(alert, WARNING))
            found.say(names.ALERT_FIRING, labels, float(alert in alerts.firing))
    for end, count in notified.items():
        found.say(names.NOTIFICATIONS, (end,), count)
    found.say(names.EVALUATION_TIME, (), at)
    return found
