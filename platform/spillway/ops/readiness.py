"""What the supervisor's status says of readiness."""

from collections.abc import Mapping
from typing import Any, Final

from spillway.readiness import Facts, ModelFacts
from spillway_wire.plane import EngineStatus, PhaseKind

_SERVING: Final = EngineStatus.READY.value
_GATEWAY_DOWN: Final = ("spawning", "backoff", "crashed", "hung", "stopped", "parked")


def readiness_facts(status: Mapping[str, Any]) -> Facts:
    """Return it; what a status does not say is taken as not there."""
    engines = list(status.get("engines", ()))
    gateways = list(status.get("gateways", ()))
    return Facts(
        phase=status.get("phase", PhaseKind.SERVING),
        models=[
            _model(name, [str(engine["state"]) for engine in engines if engine.get("model") == name])
            for name in _models(status)
        ],
        num_gateways=sum(gateway.get("state") not in _GATEWAY_DOWN for gateway in gateways),
        is_started=bool(status.get("ready", False)),
    )


def _models(status: Mapping[str, Any]) -> list[str]:
    """Names of the models that are served: those listed, and those that engines are for."""
    listed = [model["name"] if isinstance(model, Mapping) else str(model) for model in status.get("models", ())]
    served = [str(engine["model"]) for engine in status.get("engines", ()) if "model" in engine]
    return list(dict.fromkeys([*listed, *served]))


def _model(name: str, states: list[str]) -> ModelFacts:
    return ModelFacts(name=name, num_ready=states.count(_SERVING), num_engines=len(states), states=states)
