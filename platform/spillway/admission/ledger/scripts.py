"""The scripts: their text, their names, and how they are called. No I/O but reading them.

Every script begins with `account.lua`; none but `heartbeat.lua` touches more than one tenant's keys, which have one
tag, so that a cluster keeps them on one node.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from hashlib import sha1
from pathlib import Path
from typing import Final

from spillway.admission.contract import Claim, Scope
from spillway.admission.ledger.accounts import or_none

_FOLDER: Final = Path(__file__).parent / "lua"
GATEWAYS: Final = "spillway:gateways"
"""Those that live, each until when it is believed."""
HOLDERS: Final = "spillway:lease-holders"
"""Tenants that may hold leases, for the reaper."""
REAPER: Final = "spillway:reaper"
"""Who reaps for now."""


class Script(Enum):
    """What can be asked of Redis in one step."""

    ACQUIRE = "acquire"
    RENEW = "renew"
    SETTLE = "settle"
    REAP = "reap"
    HEARTBEAT = "heartbeat"


@cache
def text(script: Script) -> str:
    """Return what Redis is to run."""
    own = (_FOLDER / f"{script.value}.lua").read_text(encoding="utf-8")
    if script is Script.HEARTBEAT:
        return own
    return (_FOLDER / "account.lua").read_text(encoding="utf-8") + own


@cache
def digest(script: Script) -> str:
    """Return the name that Redis knows it by."""
    return sha1(text(script).encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """How one claim ended."""

    tenant_id: str
    request_id: str
    actual_tokens: int
    refund_request: bool = False
    is_late: bool = False
    """Nobody knows whether the acquire was done: if it is done later, it must not charge."""

    @property
    def how(self) -> str:
        """For the script."""
        return ("r" if self.refund_request else "") + ("t" if self.is_late else "")


Command = tuple[str | int | float, ...]


def _keys(tenant_id: str) -> tuple[str, str, str]:
    return f"spillway:{{{tenant_id}}}:quota", f"spillway:{{{tenant_id}}}:leases", f"spillway:{{{tenant_id}}}:claims"


def _call(script: Script, tenant_id: str, lease_ms: float, now: float | None, *words: str | int) -> Command:
    clock = "" if now is None else repr(now)
    return ("EVALSHA", digest(script), 3, *_keys(tenant_id), clock, lease_ms, *words)


# ---- calls; `now` in ms is for tests: without it, Redis goes by its own clock ----


def acquire(claim: Claim, lease_ms: float, *, forced: bool = False, now: float | None = None) -> Command:
    """Reserve all of a claim or nothing; `forced`: without looking at the limits."""
    words = [word for scope in claim.scopes for word in _scope(scope)]
    is_forced = "1" if forced else "0"
    return _call(Script.ACQUIRE, claim.tenant_id, lease_ms, now, claim.request_id, claim.tokens, is_forced, *words)


def renew(tenant_id: str, used: Sequence[tuple[str, int]], lease_ms: float, *, now: float | None = None) -> Command:
    """Lengthen leases; `used`: requests, and the tokens that they have used so far. At most a thousand."""
    return _call(Script.RENEW, tenant_id, lease_ms, now, *(word for pair in used for word in pair))


def settle(tenant_id: str, settlements: Sequence[Settlement], lease_ms: float, *, now: float | None = None) -> Command:
    """End claims of one tenant. At most a thousand."""
    words = (word for one in settlements for word in (one.request_id, one.actual_tokens, one.how))
    return _call(Script.SETTLE, tenant_id, lease_ms, now, *words)


def reap(tenant_id: str, lease_ms: float, *, now: float | None = None) -> Command:
    """End claims that nobody renews."""
    return _call(Script.REAP, tenant_id, lease_ms, now)


def heartbeat(gateway_id: str, believed_ms: float, *, now: float | None = None) -> Command:
    """Say that a gateway lives."""
    clock = "" if now is None else repr(now)
    return ("EVALSHA", digest(Script.HEARTBEAT), 1, GATEWAYS, clock, believed_ms, gateway_id)


def load(script: Script) -> Command:
    """Make a script known."""
    return ("SCRIPT LOAD", text(script))


def _scope(scope: Scope) -> tuple[str | int, ...]:
    limits = scope.limits
    return (
        scope.account,
        or_none(limits.requests_per_minute),
        or_none(limits.burst),
        or_none(limits.tokens_per_minute),
        or_none(limits.max_concurrent),
        or_none(limits.tokens_per_day),
        scope.used_today,
    )
