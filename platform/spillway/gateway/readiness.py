"""What a gateway knows of readiness: the phase, and which engines it can reach."""

from spillway.gateway.gateway import Gateway
from spillway.readiness import Facts, ModelFacts


def readiness_facts(gateway: Gateway) -> Facts:
    """Return it. Other gateways are not seen from here, and this one runs."""
    found = []
    for model in gateway.models:
        state = gateway.model_state(model)
        found.append(
            ModelFacts(
                name=model.name,
                num_ready=state.num_ready if state else 0,
                num_engines=state.num_engines if state else 0,
            )
        )
    return Facts(phase=gateway.phase, models=found)
