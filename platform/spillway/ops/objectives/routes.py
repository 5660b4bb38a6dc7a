"""`GET /slo`, for ops' application."""

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.response import Response

from spillway.json_response import json_response
from spillway.ops.objectives.keeper import Keeper


def slo_handler(keeper: Keeper) -> HTTPRouteHandler:
    """Return the handler."""

    @get("/slo")
    async def slo() -> Response[bytes]:
        """How objectives stand now: budgets left, burn rates, alerts."""
        return json_response(keeper.answer())

    return slo
