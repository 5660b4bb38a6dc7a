"""Whether a request sent now would be served: a pure question, asked by load balancers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from spillway_wire.plane import PhaseKind


@dataclass(frozen=True, slots=True)
class ModelReadiness:
    """How many engines of a model can take work."""

    name: str
    num_ready: int
    num_engines: int


_PHASES: Final = {
    PhaseKind.UNREADY: "the server is shutting down",
    PhaseKind.REFUSING: "the server is shutting down and refuses new work",
    PhaseKind.ENDING: "the server is ending",
}


def reasons_not_ready(phase: PhaseKind, models: Sequence[ModelReadiness]) -> list[str]:
    """Return why not, for people; nothing if ready. Overload is no reason: it is admission's affair."""
    reasons = [_PHASES[phase]] if phase in _PHASES else []
    if not models:
        reasons.append("no model is served yet")
    reasons += [
        f"model {model.name!r} has no engine ready, of {model.num_engines}" for model in models if model.num_ready == 0
    ]
    return reasons
