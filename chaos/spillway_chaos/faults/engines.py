"""Faults inside of an engine, by the injection points that `spillway serve --chaos` has."""

from typing import Any

import httpx

from spillway_chaos.errors import FaultError
from spillway_chaos.stage import targets
from spillway_chaos.stage.stage import current
from spillway_wire.fault_names import Fault


def inject(fault: str, value: float = 0.0, num_steps: int = 1, which: targets.Which = "drawn") -> dict[str, Any]:
    """Arm a fault in one engine, from its next step on; return which."""
    stage = current()
    if fault not in tuple(Fault):
        raise FaultError(f"{fault!r} is no fault of an engine; there are: {', '.join(Fault)}")
    stage.notes["struck_before"] = stage.scrape()
    target = stage.target("engine", which)
    stage.strike(fault, "engine", target.id, pid=target.pid, born=target.born, incarnation=target.incarnation)
    answer = stage.instance.inject(target.id, fault, value=value, num_steps=num_steps)
    if answer.status_code != httpx.codes.ACCEPTED:
        raise FaultError(f"{target.id} does not take the fault {fault}: {answer.text[:300]}")
    return {"id": target.id, "fault": fault, "said": answer.json().get("message", "")}
