"""Whether a request sent now would be served, and if not, why: from the supervisor's status alone."""

from collections.abc import Mapping
from typing import Any, Final

from spillway_wire.plane import EngineStatus, PhaseKind

_SERVING: Final = EngineStatus.READY.value
_GATEWAY_DOWN: Final = ("spawning", "backoff", "crashed", "hung", "stopped", "parked")


def reasons_not_ready(status: Mapping[str, Any]) -> list[str]:
    """Return why it is not ready, in words for people; an empty list means that it is.

    Being overloaded is no reason: a load balancer that takes away an overloaded instance overloads the next.
    """
    reasons: list[str] = []
    phase = status.get("phase", PhaseKind.SERVING)
    if phase != PhaseKind.SERVING:
        reasons.append(f"shutting down ({phase})")
    engines = list(status.get("engines", ()))
    for model in _models(status):
        states = [engine["state"] for engine in engines if engine.get("model") == model]
        if _SERVING not in states:
            reasons.append(f"model {model}: {_summary(states)}")
    gateways = list(status.get("gateways", ()))
    if all(gateway.get("state") in _GATEWAY_DOWN for gateway in gateways):
        reasons.append("no gateway is running")
    if not reasons and not status.get("ready", False):
        reasons.append("starting")
    return reasons


def _models(status: Mapping[str, Any]) -> list[str]:
    """Names of the models that are served: those listed, and those that engines are for."""
    listed = [model["name"] if isinstance(model, Mapping) else str(model) for model in status.get("models", ())]
    served = [str(engine["model"]) for engine in status.get("engines", ()) if "model" in engine]
    return list(dict.fromkeys([*listed, *served]))


def _summary(states: list[str]) -> str:
    if not states:
        return "no engine"
    counts = {state: states.count(state) for state in sorted(set(states))}
    return "no engine is ready (" + ", ".join(f"{count} {state}" for state, count in counts.items()) + ")"
