"""One gateway's share of a tenant's limits, while gateways cannot agree. Pure.

The shares of all gateways together are less than the whole: `SAFETY` of it, for how many there are is only known from
before. A share is one request at least, and never less than the request that is asked for if the whole allows it:
a limit may be met a little early or late, but no request is refused for ever because Redis is away.
"""

from dataclasses import replace
from typing import Final

from spillway.admission.contract import Claim, Limits, Scope

SAFETY: Final = 0.8


def share_of(num_gateways: int, *, safety: float = SAFETY) -> float:
    """Return the part of each limit that one of so many gateways may use."""
    return safety / max(1, num_gateways)


def on_a_share(claim: Claim, share: float) -> Claim:
    """Return `claim` with limits of this gateway alone."""
    return replace(claim, scopes=tuple(_scope(scope, claim.tokens, share) for scope in claim.scopes))


def _scope(scope: Scope, tokens: int, share: float) -> Scope:
    whole = scope.limits
    limits = Limits(
        requests_per_minute=_part(whole.requests_per_minute, share),
        request_burst=_part(whole.burst, share),
        tokens_per_minute=_part(whole.tokens_per_minute, share, at_least=tokens),
        max_concurrent=_part(whole.max_concurrent, share),
        tokens_per_day=_of_day(whole.tokens_per_day, scope.used_today, tokens, share),
    )
    return replace(scope, limits=limits)


def _part(whole: int | None, share: float, *, at_least: int = 1) -> int | None:
    if whole is None:
        return None
    return max(int(whole * share), min(whole, max(1, at_least)))


def _of_day(whole: int | None, used: int, tokens: int, share: float) -> int | None:
    """What is left of a day is shared out, as all gateways hear what all of them used; what is used is used."""
    if whole is None:
        return None
    left = max(0, whole - used)
    return whole - left + max(int(left * share), min(left, tokens))
