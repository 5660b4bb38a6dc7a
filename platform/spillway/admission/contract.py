"""The values that the parts of admission share. No I/O, and nothing here decides.

A request passes the parts in this order, the cheapest refusal first::

    headers ─▶ identity ─▶ Caller
    body ────▶ class, brownout, door: load and retries, before anything is tokenized
    tokens ──▶ ledger: Claim ─▶ Grant | Denial        one round trip to Redis
           ──▶ door: load, confirmed with exact counts
           ──▶ the pool's queue, in the order of bands and tenants
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Final, Protocol

import msgspec


class Band(IntEnum):
    """How important a request is, the most important first: a lower band waits for a higher one, down to its floor."""

    SYSTEM = 0
    """Probes and canaries of the operator's own; only for tenants that have it by default."""
    INTERACTIVE = 1
    DEFAULT = 2
    BULK = 3

    @property
    def label(self) -> str:
        """For settings, headers and metrics."""
        return self.name.lower()

    @classmethod
    def of(cls, label: str) -> "Band":
        """Return the band of a label. Raises KeyError."""
        return cls[label.upper()]


FLOORS: Final[Mapping[Band, float]] = {Band.SYSTEM: 0.0, Band.INTERACTIVE: 0.1, Band.DEFAULT: 0.1, Band.BULK: 0.05}
"""Share of all tokens that a band with a backlog gets, whatever those above it want."""


class Kind(StrEnum):
    """The classes of calls that can be limited apart."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    GENERATE = "generate"
    BATCH = "batch"


class Objective(msgspec.Struct, frozen=True, kw_only=True):
    """What a tier promises for a request that was admitted; times in seconds."""

    ttft_s: float
    """To the first token."""
    tpot_s: float
    """Mean, for each later one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a tenant may use; None: no limit."""

    requests_per_minute: int | None = None
    request_burst: int | None = None
    """How many of them at once; None: a sixth of a minute's, at least one."""
    tokens_per_minute: int | None = None
    """Prompt and output together; a full minute's may be used at once."""
    max_concurrent: int | None = None
    """HTTP requests being served."""
    tokens_per_day: int | None = None
    """Of a UTC day."""

    @property
    def burst(self) -> int | None:
        """Requests that may come at once, None without a limit of requests."""
        if self.requests_per_minute is None:
            return None
        return self.request_burst if self.request_burst is not None else max(1, self.requests_per_minute // 6)

    @property
    def any(self) -> bool:
        """Whether there is anything to enforce."""
        numbers = (self.requests_per_minute, self.tokens_per_minute, self.max_concurrent, self.tokens_per_day)
        return any(number is not None for number in numbers)


NO_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """Somebody who may use the platform."""

    id: str
    """`[a-z0-9][a-z0-9._-]{0,63}`; also a metric label, as far as their number is bounded."""
    tier: str
    """The name of a tier in the settings."""
    weight: float = 1.0
    """Share of a band's tokens, relative to others, while several are backlogged."""
    limits: Limits = NO_LIMITS
    limits_by_kind: Mapping[Kind, Limits] = field(default_factory=dict)
    """On top of `limits`: both must hold."""
    models: tuple[str, ...] = ()
    """Names of served models it may use; empty: all."""
    bands: tuple[Band, ...] = (Band.INTERACTIVE, Band.DEFAULT, Band.BULK)
    """That its requests may ask for."""
    default_band: Band = Band.DEFAULT
    enabled: bool = True

    @property
    def limited(self) -> bool:
        """Whether the ledger has to be asked at all."""
        return self.limits.any or any(limits.any for limits in self.limits_by_kind.values())


ANONYMOUS_ID: Final = "anonymous"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, once it is known."""

    tenant: Tenant
    key_id: str
    """Which credential: `key:` and its public id, `jwt:` and its subject, or `anonymous`. Never a secret."""

    @property
    def is_anonymous(self) -> bool:
        """Whether nobody had to say who they are."""
        return self.tenant.id == ANONYMOUS_ID


# ---- the ledger ----


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """One set of limits and the account that it is kept on: a tenant's own, or that of one kind of its calls."""

    account: str
    """`acme`, or `acme/chat`."""
    limits: Limits
    used_today: int = 0
    """Tokens of this UTC day, as the durable store knows them: no less is counted, whatever the ledger forgot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a request wants of its tenant's quota."""

    request_id: str
    """Unique among all gateways and all times: it makes asking twice harmless."""
    tenant_id: str
    scopes: tuple[Scope, ...]
    tokens: int
    """The estimate that is reserved: prompt, and the output that is likely."""


class LimitName(StrEnum):
    """Which limit refused."""

    REQUESTS = "requests_per_minute"
    TOKENS = "tokens_per_minute"
    CONCURRENT = "max_concurrent"
    DAY = "tokens_per_day"
    REQUEST_SIZE = "request_tokens"
    """More tokens than the bucket ever holds: it can never succeed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is left to a tenant after the decision, for the `x-ratelimit-*` headers; None where there is no limit."""

    limit_requests: int | None = None
    remaining_requests: int | None = None
    reset_requests_s: float | None = None
    """Until all of it is there again."""
    limit_tokens: int | None = None
    remaining_tokens: int | None = None
    reset_tokens_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The claim is reserved, until it is settled or its lease ends."""

    standing: Standing
    degraded: bool = False
    """Decided locally, on a share of the limits: the shared ledger is away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """The claim is refused, and nothing was charged."""

    name: LimitName
    account: str
    limit: int
    measured: int
    """What it would have come to."""
    wait_s: float | None
    """After which the same claim could succeed; None: not known (concurrency), or never."""
    standing: Standing
    degraded: bool = False


class Ledger(Protocol):
    """Quotas. Nothing here raises, and nothing waits longer than the ledger's own bound (100 ms)."""

    async def acquire(self, claim: Claim) -> Grant | Denial:
        """Reserve all that `claim` wants, or nothing."""

    def progress(self, request_id: str, used_tokens: int) -> None:
        """Note what a request has used so far: if this process dies, only the rest of its reservation goes back."""

    def settle(self, request_id: str, actual_tokens: int, *, refund_request: bool = False) -> None:
        """End a granted claim with what it really used; returns at once. A second time does nothing.

        `refund_request`: it was refused later on, and is not to count as a request either.
        """


# ---- load ----


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One request as the door sees it. Before it is tokenized, counts are what is known without: lower bounds."""

    request_id: str
    model: str
    tenant_id: str
    key_id: str
    band: Band
    weight: float
    objective: Objective
    prompt_tokens: int = 0
    """Of all its prompts together."""
    matched_tokens: int = 0
    """Of these, probably cached in the best engine."""
    output_tokens: int = 0
    """Likely, of all choices together."""
    sequences: int = 1
    """Prompts times choices."""
    deadline: float | None = None
    """Of the gateway's monotonic clock."""
    retry: int = 0
    """How often the client has tried before, as it says (`x-stainless-retry-count`)."""


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """When a request would get its first token, in seconds from now, before and after correction."""

    queue_s: float
    prefill_s: float
    kv_s: float
    factor: float
    """Measured ratio of actual to predicted, as a margin."""
    alone_s: float
    """What it would take with nothing else in the way."""

    @property
    def raw_s(self) -> float:
        """Uncorrected."""
        return self.queue_s + self.prefill_s + self.kv_s

    @property
    def ttft_s(self) -> float:
        """What the decision is made on."""
        return self.raw_s * self.factor
