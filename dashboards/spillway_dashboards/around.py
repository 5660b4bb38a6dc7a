"""What stands around the panels of every board: the choices at its top, and the moments that are marked."""

from typing import Final

from spillway_dashboards.model import ORANGE, RED, Mark, Variable
from spillway_dashboards.promql import Scope
from spillway_wire import names
from spillway_wire import status_names as status
from spillway_wire.metric import Metric

STEP_S: Final = 60
"""Seconds between the moments that are looked at for marks, and the window that each looks back."""
DRILL_TAGS: Final = ("spillway", "drill")
"""Grafana's own annotations that bear both are shown: whoever runs a drill posts them (`/api/annotations`)."""

_TARGET: Final = 'job=~"$job", instance=~"$instance"'
_JOB: Final = Variable(name="job", label="Job", query=f"label_values({status.READY.exposed}, job)", all_value=".+")
_INSTANCE: Final = Variable(
    name="instance",
    label="Instance",
    query=f'label_values({status.READY.exposed}{{job=~"$job"}}, instance)',
    all_value=".+",
)
_OF_SCOPE: Final = (
    Variable(
        name="model",
        label="Model",
        query=f"label_values({status.ENGINE_INCARNATION.exposed}{{{_TARGET}}}, model)",
    ),
    Variable(name="tier", label="Tier", query=f"label_values({names.REQUESTS.exposed}{{{_TARGET}}}, tier)"),
    Variable(
        name="engine",
        label="Engine",
        query=f'label_values({status.ENGINE_INCARNATION.exposed}{{{_TARGET}, model=~"$model"}}, engine)',
    ),
)


def variables(scope: Scope) -> tuple[Variable, ...]:
    """Return the choices of a board of this scope, in the order in which they depend on each other."""
    if not scope.target:  # what is recorded has none of these labels, or not for the same things
        return ()
    return (_JOB, _INSTANCE, *(each for each in _OF_SCOPE if each.name in scope.variables))


def marks(scope: Scope) -> tuple[Mark, ...]:
    """Return what is marked on a board of this scope: ends of processes, faults that struck."""
    scope, window = Scope(frozenset(), scope.target), f"{STEP_S}s"

    def grew(metric: Metric, *by: str) -> str:
        return f"round({scope.grown(metric, by=by, over=window)}) > 0"

    return (
        Mark(
            name="Engine restarts",
            expr=grew(status.ENGINE_RESTARTS, "engine", "cause"),
            color=RED,
            title="{{engine}} was restarted",
            text="Its process had ended: {{cause}}.",
            tags=("engine", "cause"),
        ),
        Mark(
            name="Gateway restarts",
            expr=grew(status.GATEWAY_RESTARTS, "gateway", "cause"),
            color=RED,
            title="{{gateway}} was restarted",
            text="Its process had ended: {{cause}}.",
            tags=("gateway", "cause"),
        ),
        Mark(
            name="Redis restarts",
            expr=grew(status.REDIS_RESTARTS, "cause"),
            color=ORANGE,
            title="Redis was restarted",
            text="Its process had ended: {{cause}}.",
            tags=("cause",),
        ),
        Mark(
            name="Faults",
            expr=grew(status.ENGINE_COUNTERS["faults_struck"], "engine"),
            color="purple",
            title="A fault struck {{engine}}",
            text="It was injected on order.",
            tags=("engine",),
        ),
    )
