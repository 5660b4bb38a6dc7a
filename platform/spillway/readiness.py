"""Whether a request sent now would be served, and if not, why: one pure rule, for a gateway and for ops.

Each knows its part. A gateway sees which engines it can reach, and needs no telling that a gateway runs; ops has the
supervisor's status, with the state of everything. Both turn what they know into `Facts`, so that the two `/ready`
differ in what can be seen from there, and in nothing else.

Being overloaded is no reason: a load balancer that takes away an overloaded instance overloads the next.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from spillway_wire.plane import PhaseKind


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """The engines of one model."""

    name: str
    num_ready: int
    """That can take work."""
    num_engines: int
    states: Sequence[str] = ()
    """Of each of them, where that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What readiness depends on, as far as whoever is asked can see."""

    models: Sequence[ModelFacts]
    """All that are served."""
    phase: str = PhaseKind.SERVING
    """Of the whole platform (`PhaseKind`)."""
    num_gateways: int = 1
    """That take requests."""
    is_started: bool = True
    """Whether the supervisor says that everything is up, parts that are not seen here included."""


def reasons_not_ready(facts: Facts) -> list[str]:
    """Return why it is not ready, in words for people; an empty list means that it is."""
    reasons = [] if facts.phase == PhaseKind.SERVING else [f"shutting down ({facts.phase})"]
    if not facts.models:
        reasons.append("no model is served yet")
    reasons += [f"model {model.name}: {_lack(model)}" for model in facts.models if model.num_ready == 0]
    if facts.num_gateways == 0:
        reasons.append("no gateway is running")
    if not reasons and not facts.is_started:
        reasons.append("starting")
    return reasons


def _lack(model: ModelFacts) -> str:
    if model.num_engines == 0:
        return "no engine"
    if not model.states:
        return f"no engine is ready, of {model.num_engines}"
    counts = Counter(model.states)
    return "no engine is ready (" + ", ".join(f"{counts[state]} {state}" for state in sorted(counts)) + ")"
