"""A request made smaller, where the brownout ladder says so: as if its client had asked for less."""

from typing import Any

import msgspec

from spillway.admission.shedding.brownout import Wish
from spillway.admission.visitor import Visitor
from spillway.gateway.plan import Plan
from spillway.gateway.schema import SamplingFields


def softened(plan: Plan, visitor: Visitor) -> SamplingFields | None:
    """Return the smaller request, None if it stays as it is."""
    request = plan.request
    wish = Wish(
        max_tokens=plan.default_max_tokens if plan.max_tokens is None else plan.max_tokens,
        choices=request.n or 1,
        logprobs=plan.logprobs is not None,
    )
    degraded = visitor.degrade(wish).wish
    if degraded == wish:
        return None
    changes: dict[str, Any] = {}
    if degraded.max_tokens != wish.max_tokens:
        changes[plan.max_tokens_param] = degraded.max_tokens
    if degraded.choices != wish.choices:
        changes["n"] = degraded.choices
        if hasattr(request, "best_of"):
            changes["best_of"] = None
    if degraded.logprobs != wish.logprobs:
        changes |= {name: None for name in ("logprobs", "top_logprobs") if hasattr(request, name)}
    return msgspec.structs.replace(request, **changes)
