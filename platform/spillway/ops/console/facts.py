"""What a console is told: seconds, tokens and ratios as plain numbers; None where there is nothing to say."""

from typing import Any

import msgspec


class _Fact(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all of them."""


class Quantile(_Fact, frozen=True):
    """A percentile, interpolated within its bucket."""

    value: float
    low: float
    """The true one lies between this …"""
    high: float | None
    """… and this; None: it lies beyond the last bound, and `value` is that bound."""


class Latency(_Fact, frozen=True):
    """One histogram over some time."""

    count: int
    mean: float | None
    p50: Quantile | None
    p95: Quantile | None
    p99: Quantile | None


class LatencyRow(_Fact, frozen=True):
    """One latency: of the last while, and since the instance was started."""

    name: str
    recent: Latency
    total: Latency


class Count(_Fact, frozen=True):
    """A counter: how much it grew in the last while, and its sum since the instance was started."""

    recent: float
    total: float


class OutcomeRow(_Fact, frozen=True):
    """Requests of one outcome."""

    outcome: str
    kind: str
    """`completed`, `refused`, `failed` or `client`."""
    count: Count
    tiers: dict[str, Count]
    """The same by tenants' tier; an empty one: it ended before it was known who asked."""


class ReasonRow(_Fact, frozen=True):
    """Refusals for one reason."""

    reason: str
    count: Count


class Engine(_Fact, frozen=True):
    """One engine's place in the pool."""

    id: str
    model: str
    state: str
    incarnation: int
    pid: int | None
    progress: str
    running: int
    waiting: int
    limit: float | None
    """How many at a time admission gives it now; None: no gateway says."""
    kv_total: int
    kv_used: int
    step: Latency
    """Of the last while."""
    tokens_per_s: float | None
    restarts: dict[str, int]
    last_exit: dict[str, Any] | None
    exactness: str | None


class Gateway(_Fact, frozen=True):
    """One gateway."""

    id: str
    state: str
    incarnation: int
    pid: int | None
    open_requests: int
    loop_lag_s: float | None
    arrivals_per_s: float | None
    restarts: dict[str, int]
    last_exit: dict[str, Any] | None


class Redis(_Fact, frozen=True):
    """The embedded Redis, or that it is somebody else's."""

    state: str
    pid: int | None = None
    incarnation: int = 0
    answer_s: float | None = None
    restarts: dict[str, int] = {}


class Brownout(_Fact, frozen=True):
    """How many steps of the ladder are in force for a model, in the gateway where they are most."""

    model: str
    level: int
    pressure: float | None
    """1 is where refusals begin."""


class Admission(_Fact, frozen=True):
    """Who was let in."""

    admitted: Count
    refused: Count
    reasons: tuple[ReasonRow, ...]
    queued: dict[str, int]
    """Requests that wait for an engine, by band."""
    brownout: tuple[Brownout, ...]
    ladder: tuple[str, ...]
    """Names of the steps of the brownout ladder, the first one first."""
    limiter_degraded: bool
    """Whether quotas are decided without Redis, in any gateway."""


class Snapshot(_Fact, frozen=True):
    """Everything, at one moment."""

    at: float
    """Unix time."""
    window_s: float
    """How long the last while is now: it grows to its full length after somebody began to look."""
    problem: str
    """Why the supervisor says nothing; what it said last is shown then."""
    stale_s: float
    """How old that is; 0: it is of now."""
    ready: bool
    reasons: tuple[str, ...]
    phase: str
    uptime_s: float | None
    models: tuple[str, ...]
    engines: tuple[Engine, ...]
    gateways: tuple[Gateway, ...]
    redis: Redis
    arrivals: Count
    open_requests: int
    tokens: Count
    """Sampled by engines."""
    recoveries: Count
    outcomes: tuple[OutcomeRow, ...]
    latencies: tuple[LatencyRow, ...]
    admission: Admission


class Happening(_Fact, frozen=True):
    """Something that happened."""

    id: int
    at: float
    """Unix time."""
    kind: str
    """`died`, `returned`, `started`, `stopped`, `parked`, `order`, `fault`, `phase`, `brownout` or `silence`."""
    tone: str
    """`bad`, `warn`, `good` or `plain`."""
    subject: str
    """The process that it is about; empty: the whole."""
    text: str
    phases: tuple[tuple[str, float], ...] = ()
    """Of a return: what took how many seconds."""


POINT = (
    "at", "arrivals", "completed", "refused", "failed", "client", "tokens",
    "ttft_p50", "ttft_p95", "ttft_p99", "ttft_mean", "tpot_p50", "tpot_p95", "tpot_p99", "tpot_mean",
    "queue_p50", "queue_p95", "queue_p99", "queue_mean",
    "open", "running", "waiting", "kv", "engines",
)  # fmt: skip
"""What one point of the charts is made of: rates per second, seconds, and how things were at that moment."""
Point = tuple[float | None, ...]
