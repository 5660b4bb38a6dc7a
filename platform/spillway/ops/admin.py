"""The admin endpoints: the state of the pool, orders to the supervisor, profiles. All of them need the admin key."""

from collections.abc import Callable
from typing import Any, Final

import msgspec
from litestar import Request, Router, get, post
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath
from litestar.response import Response

from spillway.gateway.problems import Problem
from spillway.json_response import json_response
from spillway.ops.access import AdminKey
from spillway.ops.overseer import Overseer
from spillway.ops.profile import Profiler, read_request
from spillway_wire.fault_names import MEANINGS, VALUES, Fault
from spillway_wire.messages import Inject
from spillway_wire.outcomes import Outcome
from spillway_wire.plane import OrderKind

_MAX_BODY_BYTES: Final = 64 * 1024
_ACCEPTED: Final = 202
_UNKNOWN_ENGINE: Final = "engine_not_found"
_REFUSED: Final = "order_refused"
_CHAOS_OFF: Final = "chaos_disabled"
Ordered = Callable[[OrderKind, str, str], object]
"""Told of every order that is being carried out: its kind, target, and what the supervisor said of it."""


class FaultOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /admin/faults`: an engine, and the fields of `messages.Inject`."""

    engine: str
    fault: str
    at_step: int | None = None
    value: float = 0.0
    num_steps: int = 1


def admin_router(
    overseer: Overseer, key: AdminKey, *, chaos: bool, profiler: Profiler, ordered: Ordered = lambda *_: None
) -> Router:
    """Return the routes under `/admin`."""

    def need_key(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        key.check(connection.headers.get("authorization"))

    @get("/pool")
    async def pool() -> Response[bytes]:
        """Everything the supervisor knows."""
        return json_response(await overseer.status(), 200)

    async def order(kind: OrderKind, engine_id: str = "", options: dict[str, Any] | None = None) -> Response[bytes]:
        message = await _order(overseer, kind, engine_id, options)
        ordered(kind, engine_id, str((options or {}).get("fault", "")) or message)
        return json_response({"accepted": True, "message": message}, _ACCEPTED)

    @post("/engines/{engine_id:str}/drain")
    async def drain(engine_id: FromPath[str]) -> Response[bytes]:
        """Let an engine finish what it has, then keep it stopped."""
        return await order(OrderKind.DRAIN_ENGINE, engine_id)

    @post("/engines/{engine_id:str}/restart")
    async def restart(engine_id: FromPath[str]) -> Response[bytes]:
        """Let an engine finish what it has and start it anew."""
        return await order(OrderKind.RESTART_ENGINE, engine_id)

    @post("/rolling-restart")
    async def rolling_restart() -> Response[bytes]:
        """Restart the engines one after another."""
        return await order(OrderKind.ROLLING_RESTART)

    @post("/faults")
    async def faults(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Arm a fault in an engine."""
        if not chaos:
            raise Problem(
                Outcome.FORBIDDEN, "Faults can be ordered only if Spillway was started with --chaos.", code=_CHAOS_OFF
            )
        fields = msgspec.structs.asdict(_read_fault(await request.body()))
        return await order(OrderKind.INJECT, fields.pop("engine"), fields)

    @get("/faults")
    async def list_faults() -> Response[bytes]:
        """Which faults there are, and whether they can be ordered."""
        return json_response({"enabled": chaos, "faults": [_described(fault) for fault in Fault]})

    @post("/profile/{child:str}")
    async def profile(child: FromPath[str], request: Request[Any, Any, Any]) -> Response[bytes]:
        """Profile an engine or gateway for `seconds`; `format` is speedscope, flamegraph or raw."""
        seconds, form = read_request(request.query_params)
        taken = await profiler.take(await overseer.status(), child, seconds, form)
        headers = {
            "content-type": taken.content_type,
            "content-disposition": f'attachment; filename="{taken.name}"',
            "x-content-type-options": "nosniff",
            "cache-control": "no-store",
        }
        return Response(taken.body, status_code=200, headers=headers)

    return Router(
        path="/admin",
        route_handlers=[pool, drain, restart, rolling_restart, faults, list_faults, profile],
        guards=[need_key],
        request_max_body_size=_MAX_BODY_BYTES,
    )


def _read_fault(body: bytes) -> FaultOrder:
    try:
        return msgspec.json.decode(body, type=FaultOrder)
    except (msgspec.MsgspecError, ValueError) as error:
        names = ", ".join(("engine", *Inject.__struct_fields__))
        raise Problem(Outcome.INVALID, f"The body must be a JSON object with {names}: {error}") from None


def _described(fault: Fault) -> dict[str, Any]:
    return {"name": fault.value, "meaning": MEANINGS[fault], "value": VALUES.get(fault)}


async def _order(overseer: Overseer, kind: OrderKind, engine_id: str, options: dict[str, Any] | None) -> str:
    """Give an order, and return what the supervisor says of it. Raises `Problem` if it refuses."""
    if engine_id:
        await _need_engine(overseer, engine_id)
    reply = await overseer.order(kind, engine_id, options)
    if not reply.accepted:
        raise Problem(Outcome.INVALID, reply.message, code=_REFUSED, status=409)
    return reply.message


async def _need_engine(overseer: Overseer, engine_id: str) -> None:
    known = [str(engine["id"]) for engine in (await overseer.status()).get("engines", ())]
    if engine_id not in known:
        raise Problem(
            Outcome.INVALID,
            f"There is no engine {engine_id!r}; there are: {', '.join(known) or 'none'}.",
            param="engine",
            code=_UNKNOWN_ENGINE,
            status=404,
        )
