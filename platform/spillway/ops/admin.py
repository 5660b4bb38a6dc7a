"""The admin endpoints: the state of the pool, and orders to the supervisor. All of them need the admin key."""

from typing import Any, Final

import msgspec
from litestar import Request, Router, get, post
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.response import Response

from spillway.gateway.problems import Problem
from spillway.json_response import json_response
from spillway.ops.access import AdminKey
from spillway.ops.overseer import Overseer
from spillway_wire.messages import Inject
from spillway_wire.outcomes import Outcome
from spillway_wire.plane import OrderKind

_MAX_BODY_BYTES: Final = 64 * 1024
_ACCEPTED: Final = 202
_UNKNOWN_ENGINE: Final = "engine_not_found"
_REFUSED: Final = "order_refused"
_CHAOS_OFF: Final = "chaos_disabled"


class FaultOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /admin/faults`: an engine, and the fields of `messages.Inject`."""

    engine: str
    fault: str
    at_step: int | None = None
    value: float = 0.0
    num_steps: int = 1


def admin_router(overseer: Overseer, key: AdminKey, *, chaos: bool) -> Router:
    """Return the routes under `/admin`."""

    def need_key(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        key.check(connection.headers.get("authorization"))

    @get("/pool")
    async def pool() -> Response[bytes]:
        """Everything the supervisor knows."""
        return json_response(await overseer.status(), 200)

    @post("/engines/{engine_id:str}/drain")
    async def drain(engine_id: str) -> Response[bytes]:
        """Let an engine finish what it has, then keep it stopped."""
        return await _order(overseer, OrderKind.DRAIN_ENGINE, engine_id)

    @post("/engines/{engine_id:str}/restart")
    async def restart(engine_id: str) -> Response[bytes]:
        """Let an engine finish what it has and start it anew."""
        return await _order(overseer, OrderKind.RESTART_ENGINE, engine_id)

    @post("/rolling-restart")
    async def rolling_restart() -> Response[bytes]:
        """Restart the engines one after another."""
        return await _order(overseer, OrderKind.ROLLING_RESTART)

    @post("/faults")
    async def faults(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Arm a fault in an engine."""
        if not chaos:
            raise Problem(
                Outcome.FORBIDDEN, "Faults can be ordered only if Spillway was started with --chaos.", code=_CHAOS_OFF
            )
        order = _read_fault(await request.body())
        fields = msgspec.structs.asdict(order)
        return await _order(overseer, OrderKind.INJECT, fields.pop("engine"), fields)

    return Router(
        path="/admin",
        route_handlers=[pool, drain, restart, rolling_restart, faults],
        guards=[need_key],
        request_max_body_size=_MAX_BODY_BYTES,
    )


def _read_fault(body: bytes) -> FaultOrder:
    try:
        return msgspec.json.decode(body, type=FaultOrder)
    except (msgspec.MsgspecError, ValueError) as error:
        names = ", ".join(("engine", *Inject.__struct_fields__))
        raise Problem(Outcome.INVALID, f"The body must be a JSON object with {names}: {error}") from None


async def _order(
    overseer: Overseer, kind: OrderKind, engine_id: str = "", options: dict[str, Any] | None = None
) -> Response[bytes]:
    if engine_id:
        await _need_engine(overseer, engine_id)
    reply = await overseer.order(kind, engine_id, options)
    if not reply.accepted:
        raise Problem(Outcome.INVALID, reply.message, code=_REFUSED, status=409)
    return json_response({"accepted": True, "message": reply.message}, _ACCEPTED)


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
