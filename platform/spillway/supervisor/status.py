"""Everything the supervisor knows, as plain values with stable keys: `GET /admin/pool`, metrics, `spillway status`."""

import os
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spillway.supervisor.engines import Engines
from spillway.supervisor.place import Place
from spillway.supervisor.services import Services
from spillway.supervisor.totals import Totals
from spillway_wire.plane import ServedModel


def of_place(place: Place) -> dict[str, Any]:
    """Return what all places have."""
    last = None
    if place.last_exit is not None:
        end = place.last_exit
        last = {
            "cause": str(end.exit.cause),
            "message": end.exit.message,
            "at": round(end.at, 3),
            "incarnation": end.incarnation,
        }
    return {
        "id": place.id,
        "pid": place.pid,
        "state": str(place.state),
        "incarnation": place.incarnation,
        "progress": place.progress,
        "restarts": {str(cause): count for cause, count in place.restarts.items()},
        "last_exit": last,
    }


def of_engine(place: Place, model: str, totals: Totals) -> dict[str, Any]:
    """Return what engines have besides."""
    facts: Mapping[str, Any] = {} if place.run is None else place.run.facts()
    return {
        **of_place(place),
        "model": model,
        "running": facts.get("running", 0),
        "waiting": facts.get("waiting", 0),
        "waiting_prefill_tokens": facts.get("waiting_prefill_tokens", 0),
        "kv_blocks": {
            "total": facts.get("num_blocks", 0),
            "free": facts.get("free_blocks", 0),
            "size": facts.get("block_size"),
        },
        "exactness": facts.get("exactness"),
        "counters": facts.get("counters", totals.plus({})),
    }


def of_gateway(place: Place, totals: Totals) -> dict[str, Any]:
    """Return what gateways have besides."""
    facts: Mapping[str, Any] = {} if place.run is None else place.run.facts()
    return {
        **of_place(place),
        "open_requests": facts.get("open_requests", 0),
        "loop_lag_ms": facts.get("loop_lag_ms", 0.0),
        "facts": facts.get("facts", {}),
        "counters": facts.get("counters", totals.plus({})),
    }


def of_redis(place: Place | None, *, external: bool) -> dict[str, Any]:
    """Return the embedded Redis's place, or that it is somebody else's, or that there is none."""
    if place is None:
        return {"pid": None, "state": "external" if external else "absent"}
    facts: Mapping[str, Any] = {} if place.run is None else place.run.facts()
    return {**of_place(place), "answer_s": facts.get("answer_s")}


def of_model(model: ServedModel, num_ready: int) -> dict[str, Any]:
    """Return a served model with how much of it there is."""
    return {
        "name": model.name,
        "path": model.path,
        "aliases": list(model.aliases),
        "num_engines": model.num_engines,
        "num_ready": num_ready,
        "hopeless": model.hopeless,
    }


def of_engines(engines: Engines, totals: Mapping[str, Totals]) -> list[dict[str, Any]]:
    """Return all engines."""
    return [
        of_engine(place, engines.specs[place.id].model, totals.get(place.id, Totals()))
        for place in engines.places.values()
    ]


def of_services(services: Services, *, external_redis: bool) -> dict[str, Any]:
    """Return all gateways, ops and Redis."""
    ops_facts: Mapping[str, Any] = {} if services.ops.run is None else services.ops.run.facts()
    return {
        "gateways": [of_gateway(place, services.totals[place.id]) for place in services.gateways.values()],
        "ops": {**of_place(services.ops), "loop_lag_ms": ops_facts.get("loop_lag_ms", 0.0)},
        "redis": of_redis(services.redis, external=external_redis),
    }


def of_this_process(uptime_s: float, num_stalls: int) -> dict[str, Any]:
    """Return what the supervisor says of itself."""
    return {"pid": os.getpid(), "rss_bytes": rss_bytes(), "uptime_s": round(uptime_s, 3), "stalls": num_stalls}


def rss_bytes() -> int:
    """How much memory this process occupies now; where that cannot be read, the most it ever did."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
