"""The ops port's ASGI application: its routes, who may come in, and how every error becomes OpenAI's error body."""

from typing import Any, Final

from litestar import Litestar, Request, Router, get
from litestar.config.app import AppConfig
from litestar.connection import ASGIConnection
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler
from litestar.response import Response

from spillway.gateway import problems
from spillway.gateway.problems import Problem
from spillway.json_response import json_response
from spillway.ops.access import AdminKey
from spillway.ops.admin import admin_router
from spillway.ops.console.console import Console
from spillway.ops.console.routes import console_router
from spillway.ops.metrics import Scraper
from spillway.ops.objectives.keeper import Keeper
from spillway.ops.objectives.routes import slo_handler
from spillway.ops.overseer import Overseer, SilentError
from spillway.ops.profile import Profiler
from spillway.ops.readiness import readiness_facts
from spillway.readiness import reasons_not_ready
from spillway_wire.outcomes import Outcome

_UNAVAILABLE: Final = 503


def build_app(
    overseer: Overseer,
    key: AdminKey,
    scraper: Scraper,
    console: Console,
    keeper: Keeper,
    *,
    chaos: bool,
    pages_need_key: bool,
) -> Litestar:
    """Return the application. `pages_need_key`: whether others than this machine can reach the port.

    Probes (`/health`, `/ready`) never need the key: they say nothing that a request to the API would not.
    """

    def need_key(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        if pages_need_key:
            key.check(connection.headers.get("authorization"))

    @get("/health")
    async def health() -> Response[bytes]:
        """Whether this process lives."""
        return json_response({"status": "healthy"}, 200)

    @get("/ready")
    async def ready() -> Response[bytes]:
        """Whether a request sent now would be served."""
        try:
            reasons = reasons_not_ready(readiness_facts(await overseer.status()))
        except SilentError as error:
            reasons = [str(error)]
        if reasons:
            return json_response({"status": "not ready", "reasons": reasons}, _UNAVAILABLE)
        return json_response({"status": "ready", "reasons": []}, 200)

    @get("/metrics")
    async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Everything, for Prometheus; OpenMetrics if the scraper asks for it."""
        body, content_type = await scraper.scrape(request.headers.get("accept", ""))
        return Response(body, status_code=200, headers={"content-type": content_type})

    pages = Router(path="/", route_handlers=[metrics, slo_handler(keeper)], guards=[need_key])
    return Litestar(
        [
            *(health, ready, pages),
            console_router(console, key, pages_need_key=pages_need_key),
            admin_router(overseer, key, chaos=chaos, profiler=Profiler(), ordered=console.ordered),
        ],
        exception_handlers={Problem: _told, SilentError: _silent, HTTPException: _refused, Exception: _broken},
        openapi_config=None,
        logging_config=None,
        on_app_init=[_without_debug_pages],
    )


def _without_debug_pages(config: AppConfig) -> AppConfig:
    """Keep Litestar's debug pages off whatever the environment says: errors have one form."""
    config.debug = False
    return config


# ---- errors ----


def _answer(problem: Problem) -> Response[bytes]:
    headers = {name.decode(): value.decode() for name, value in problems.headers(problem)}
    if problem.outcome is Outcome.UNAUTHENTICATED:
        headers["www-authenticate"] = 'Bearer realm="spillway admin"'
    body = problems.body(problem)
    return Response(body, status_code=problem.status, media_type="application/json", headers=headers)


def _told(_: Request[Any, Any, Any], problem: Problem) -> Response[bytes]:
    return _answer(problem)


def _silent(_: Request[Any, Any, Any], error: SilentError) -> Response[bytes]:
    return _answer(Problem(Outcome.INTERNAL, f"{error}.", code="supervisor_silent", status=_UNAVAILABLE))


def _refused(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Answer what Litestar itself refuses: unknown paths, wrong methods, bodies that are too large."""
    if error.status_code >= 500:
        return _broken(request, error)
    message = f"{request.method} {request.url.path}: {error.detail}"
    answer = _answer(Problem(Outcome.INVALID, message, status=error.status_code))
    answer.headers.update({name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"})
    return answer


def _broken(_: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    return _answer(Problem(Outcome.INTERNAL, f"A fault of ours: {type(error).__name__}."))
