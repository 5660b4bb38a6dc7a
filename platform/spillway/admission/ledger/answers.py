"""What the scripts and their twin answer, and what that means to whoever asked. Pure; shared by both.

An answer is a row of words: why not (empty: granted), the number of the scope that refused, its limit, what it would
have come to, the wait in ms (empty: not known, or never), and then each scope's levels of requests and tokens.
"""

import math
from collections.abc import Sequence
from typing import Final

from spillway.admission.contract import Claim, Denial, Grant, LimitName, Scope, Standing
from spillway.admission.ledger.accounts import EPSILON, reset_s, tightest

HEAD: Final = 5
"""Words before the levels."""
GRANTED: Final = ("", "", "", "", "")
Word = bytes | str


def decision(claim: Claim, words: Sequence[Word], *, degraded: bool = False) -> Grant | Denial:
    """Return the decision that an answer to `claim` tells."""
    levels = [float(word) for word in words[HEAD:]]
    standing = _standing(claim.scopes, levels)
    if not words[0]:
        return Grant(standing=standing, degraded=degraded)
    name, scope, limit, measured, wait = words[:HEAD]
    return Denial(
        name=LimitName(name.decode() if isinstance(name, bytes) else name),
        account=claim.scopes[int(scope) - 1].account,
        limit=int(limit),
        measured=math.ceil(float(measured)),
        wait_s=float(wait) / 1e3 if wait else None,
        standing=standing,
        degraded=degraded,
    )


def _standing(scopes: Sequence[Scope], levels: Sequence[float]) -> Standing:
    """Return what is left, in the scope with the least."""
    requests: list[tuple[int, int, float | None]] = []
    tokens: list[tuple[int, int, float | None]] = []
    for number, scope in enumerate(scopes):
        requests_level, tokens_level = levels[2 * number], levels[2 * number + 1]
        rpm, burst, tpm = scope.limits.requests_per_minute, scope.limits.burst, scope.limits.tokens_per_minute
        if rpm is not None and burst is not None:
            remaining = max(0, math.floor(burst - requests_level + EPSILON)) if rpm > 0 else 0
            requests.append((rpm, remaining, reset_s(requests_level, rpm)))
        if tpm is not None:
            remaining = max(0, math.floor(tpm - tokens_level + EPSILON))
            tokens.append((tpm, remaining, reset_s(tokens_level, tpm)))
    limit_requests, remaining_requests, reset_requests_s = tightest(requests) or (None, None, None)
    limit_tokens, remaining_tokens, reset_tokens_s = tightest(tokens) or (None, None, None)
    return Standing(
        limit_requests=limit_requests,
        remaining_requests=remaining_requests,
        reset_requests_s=reset_requests_s,
        limit_tokens=limit_tokens,
        remaining_tokens=remaining_tokens,
        reset_tokens_s=reset_tokens_s,
    )
