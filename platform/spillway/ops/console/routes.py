"""The console's routes.

The page itself says nothing of this instance, and needs no key: a browser has none to send when it opens a page. All
that the page then asks for needs the key wherever ops' other pages do. Where they do not, only pages that this machine
itself opened may ask: a name of the internet that points here (DNS rebinding) is refused.
"""

import ipaddress
from collections.abc import Sequence
from typing import Any, Final, cast

from litestar import Request, Response, Router, asgi, get, post
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.params import FromPath
from litestar.response import Stream
from litestar.types import Guard

from spillway.gateway.problems import Problem
from spillway.json_response import json_response
from spillway.ops.access import AdminKey
from spillway.ops.console.assets import GUARDS, INDEX, Asset, read_assets
from spillway.ops.console.console import Console
from spillway.ops.console.prompt import read_prompt
from spillway.ops.console.stream import Receive, Send, follow
from spillway.telemetry.trace_store.reader import Which
from spillway_wire.outcomes import Outcome

_MAX_BODY_BYTES: Final = 256 * 1024
_UNKEPT: Final = {**GUARDS, "cache-control": "no-store"}
_HEAD: Final = [(name.encode(), value.encode()) for name, value in _UNKEPT.items()]
_PASSED_ON: Final = ("x-api-key",)
"""What a gateway sees of the headers of a prompt; `Authorization` holds the key of ops."""


def console_router(console: Console, key: AdminKey, *, pages_need_key: bool) -> Router:
    """Return the routes under `/console`."""

    def need_access(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        if pages_need_key:
            key.check(connection.headers.get("authorization"))
        else:
            _need_own_name(connection.headers.get("host", ""))
        if connection.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            raise Problem(Outcome.FORBIDDEN, "Pages of other origins may not ask the console's questions.")

    @asgi("/events", guards=[need_access], copy_scope=True)
    async def events(scope: Any, receive: Any, send: Any) -> None:
        """Everything that changes, once a second, as server-sent events."""
        if scope["method"] != "GET":
            raise Problem(Outcome.INVALID, "The events are read by GET.", status=405)
        await follow(console.feed, cast("Receive", receive), cast("Send", send), _HEAD)

    @post("/prompt", guards=[need_access], request_max_body_size=_MAX_BODY_BYTES, status_code=200)
    async def prompt(request: Request[Any, Any, Any]) -> Stream:
        """Stream the answer to a prompt, as a gateway gives it."""
        return await _pass_on(console, request)

    return Router(path="/console", route_handlers=[*_files(), events, prompt, *_requests(console, need_access)])


def _files() -> Sequence[HTTPRouteHandler]:
    """Return the routes of the page itself."""
    assets = read_assets()

    @get("/")
    async def page(request: Request[Any, Any, Any]) -> Response[bytes]:
        """The page."""
        return _file(assets[INDEX], request)

    @get("/files/{path:path}")
    async def files(path: FromPath[str], request: Request[Any, Any, Any]) -> Response[bytes]:
        """Its scripts, styles and pictures."""
        asset = assets.get(path.lstrip("/"))
        if asset is None:
            raise Problem(Outcome.INVALID, f"The console has no file {path.lstrip('/')!r}.", status=404)
        return _file(asset, request)

    return page, files


def _requests(console: Console, need_access: Guard) -> Sequence[HTTPRouteHandler]:
    """Return the routes of what was kept of requests."""

    @get("/requests", guards=[need_access])
    async def requests(request: Request[Any, Any, Any]) -> Response[bytes]:
        """A list of requests: `which` is slow, failed, recovered or all; `limit` is 50 as shipped."""
        which, limit = request.query_params.get("which", Which.SLOW), request.query_params.get("limit", "50")
        if which not in tuple(Which) or not limit.isdecimal():
            known = ", ".join(Which)
            raise Problem(Outcome.INVALID, f"`which` is one of {known}, and `limit` a number of requests.")
        return _unkept(await console.requests.recent(Which(which), int(limit)))

    @get("/requests/{request_id:str}", guards=[need_access])
    async def one_request(request_id: FromPath[str]) -> Response[bytes]:
        """All spans of a request."""
        return _found(await console.requests.find(request_id), f"request {request_id!r}")

    @get("/traces/{trace_id:str}", guards=[need_access])
    async def trace(trace_id: FromPath[str]) -> Response[bytes]:
        """All spans of a trace."""
        return _found(await console.requests.waterfall(trace_id), f"trace {trace_id!r}")

    return requests, one_request, trace


async def _pass_on(console: Console, request: Request[Any, Any, Any]) -> Stream:
    # a page of another origin cannot send this type without asking first, and is told no
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Problem(Outcome.INVALID, "A prompt is sent as application/json.", status=415)
    asked = read_prompt(await request.body())
    api = (await console.overseer.status()).get("urls", {}).get("api")
    if not api:
        raise Problem(Outcome.NO_ENGINE, "The supervisor does not say where its gateways listen.")
    headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
    answer = await console.relay.ask(str(api), asked, headers)
    return Stream(answer.chunks(), status_code=answer.status, headers={**answer.headers, **_UNKEPT})


def _need_own_name(host: str) -> None:
    """Raise if a request was sent to a name that is not this machine's own for itself."""
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    name = name.strip("[]").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return
    try:
        if ipaddress.ip_address(name).is_loopback:
            return
    except ValueError:
        pass
    raise Problem(
        Outcome.FORBIDDEN,
        f"The console answers this machine alone, by the names it has for itself, and not as {name[:80]!r}: open it "
        f"as 127.0.0.1 or localhost, or set ops_host to an address that others reach, where it asks for the admin key.",
        code="foreign_host",
    )


def _file(asset: Asset, request: Request[Any, Any, Any]) -> Response[bytes]:
    if request.headers.get("if-none-match") == asset.etag:
        return Response(b"", status_code=304, headers=asset.headers)
    return Response(asset.body, status_code=200, headers=asset.headers)


def _unkept(value: object) -> Response[bytes]:
    answer = json_response(value)
    answer.headers.update(_UNKEPT)
    return answer


def _found(value: object | None, what: str) -> Response[bytes]:
    if value is None:
        raise Problem(Outcome.INVALID, f"There is no {what} in the trace store (any more, or yet).", status=404)
    return _unkept(value)
