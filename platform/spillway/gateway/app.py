"""The application: its routes, what every request passes before them, and how what goes wrong there is told."""

from collections.abc import Callable
from typing import Any, Final

from litestar import Litestar, MediaType, Request, Response, post
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from spillway.gateway.body import Reader
from spillway.gateway.endpoints.table import ENDPOINTS, Endpoint
from spillway.gateway.exchange import Exchange
from spillway.gateway.gateway import Gateway
from spillway.gateway.information import information_handlers
from spillway.gateway.problems import Problem, body, headers
from spillway.gateway.reply import HEARD, VISIT, Receive, Scope, Send, Visit
from spillway_wire.outcomes import Outcome

_STATUS_OUTCOMES: Final = {401: Outcome.UNAUTHENTICATED, 403: Outcome.FORBIDDEN}


class GatewayApp(Litestar):
    """Litestar, but every request is a visit first: it has an id, and its answer bears what all answers bear."""

    def __init__(self, gateway: Gateway, **options: Any) -> None:
        super().__init__(**options)
        self._new_id = gateway.new_id
        self._clock = gateway.clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # type: ignore[override]
        """Serve one connection."""
        if scope["type"] == "http":
            visit = Visit(self._new_id(), self._clock, send, heard=scope.get(HEARD))
            scope[VISIT] = visit
            send = visit.send
        await super().__call__(scope, receive, send)  # type: ignore[arg-type]


def build_app(gateway: Gateway) -> GatewayApp:
    """Return the application of a gateway."""
    return GatewayApp(
        gateway,
        route_handlers=[
            *(_generating(gateway, endpoint) for endpoint in ENDPOINTS),
            *information_handlers(gateway),
        ],
        exception_handlers={Exception: _refuse(gateway)},
        openapi_config=None,  # `information` serves a document made from the same structs that decode and encode
        logging_config=None,
        debug=False,  # whatever the environment says: errors have one form
        request_max_body_size=None,  # `body` has its own bound, before anything is read
    )


def _generating(gateway: Gateway, endpoint: Endpoint) -> HTTPRouteHandler:
    exchange = Exchange(gateway, endpoint, Reader(endpoint.request, max_depth=gateway.settings.limits.max_json_depth))

    @post(endpoint.path, name=endpoint.name, status_code=200)
    async def handler() -> ASGIApp:
        return exchange  # type: ignore[return-value]

    return handler


def _refuse(gateway: Gateway) -> Callable[[Request[Any, Any, Any], Exception], Response[bytes]]:
    """Return the handler of what is raised outside of an exchange: Litestar's own refusals, and faults."""

    def refuse(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
        extra: dict[str, str] = {}
        if isinstance(error, Problem):
            problem = error
        elif isinstance(error, HTTPException) and error.status_code < 500:
            outcome = _STATUS_OUTCOMES.get(error.status_code, Outcome.INVALID)
            problem = Problem(outcome, _said(request, error), status=error.status_code)
            extra = dict(error.headers or {})
        else:
            gateway.log("request_failed", path=request.scope["path"][:200], error=type(error).__name__)
            problem = Problem(Outcome.INTERNAL, "the server met an error of its own")
        said = {name.decode(): value.decode() for name, value in headers(problem)} | extra
        return Response(body(problem), status_code=problem.status, media_type=MediaType.JSON, headers=said)

    return refuse


def _said(request: Request[Any, Any, Any], error: HTTPException) -> str:
    if error.status_code == 404:
        return f"Invalid URL ({request.method} {request.scope['path'][:200]})"
    if error.status_code == 405:
        return f"Not allowed to {request.method} on {request.scope['path'][:200]}"
    return error.detail
