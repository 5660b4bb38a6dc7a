"""Every setting of the platform, frozen. `configuration` reads them from flags, environment and file.

Groups become the tables of `spillway.toml`. In `network` and `limits` a setting's flag is its own name (`--port`, its
variable `SPILLWAY_PORT`); the other groups' names stand in front (`--drain-timeout-s`, `SPILLWAY_DRAIN_TIMEOUT_S`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spillway.admission.contract import Tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """One served model."""

    name: str
    model: str
    """A Hugging Face folder, a hub id, or `demo`."""
    engines: int | None = None
    """Engines that serve it; None: `Settings.engines`."""
    aliases: tuple[str, ...] = ()
    engine: dict[str, Any] = field(default_factory=dict)
    """Engine settings (`spillway_engine` flags by key, such as `dtype`) that differ from those for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRule:
    """Requests for which all conditions hold are served by the model `to`; what is None or empty is no condition.

    An engine group is a model served under a name of its own, with engines of its own: so one rule chooses either.
    """

    to: str
    """The name of a served model."""
    model: str | None = None
    """What the request calls its model. A model's name stands for its aliases, too; an alias for itself alone."""
    tenant: str | None = None
    """The id of the tenant that asks; `anonymous` where nobody has to say who they are."""
    tier: str | None = None
    """The service tier that the request gets: default, flex or priority."""
    priority_at_least: int | None = None
    """Of the request's own `priority`, 0 if it has none; lower is more important."""
    priority_at_most: int | None = None
    prompt_tokens_at_least: int | None = None
    """Of its longest prompt, as the model that it names tokenizes it."""
    prompt_tokens_at_most: int | None = None
    header: dict[str, str] = field(default_factory=dict)
    """Names in any case, and the exact value that one header of this name has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationSettings:
    """What a request gets where neither it nor the model's generation config says otherwise."""

    temperature: float = 0.7
    top_p: float = 0.95
    top_k: int = -1
    """How many of the most likely tokens are kept; -1: all. 0 is refused."""
    repetition_penalty: float = 1.0
    max_tokens_chat: int = 1024
    max_tokens_generate: int = 100
    seed: int = 0
    """Requests without a seed get one drawn from this and their id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """Bounds of one gateway."""

    max_body_bytes: int = 8 * 2**20
    max_json_depth: int = 64
    max_queued_requests: int = 1024
    """Waiting for an engine, in each gateway; beyond that a request is refused as `overloaded`."""
    request_timeout_s: float = 600.0
    """The longest a request may take; a client's own patience counts if it is shorter."""
    engine_wait_s: float = 30.0
    """How long a request waits for an engine to come back when its model has none ready."""
    slow_reader_s: float = 60.0
    """A client that takes nothing for so long is cut off."""
    first_byte_s: float = 15.0
    """Until the first token, or this, no header is sent: any status is possible until then."""
    keep_alive_s: float = 10.0
    """An idle stream gets a comment so often."""
    max_recoveries: int | None = None
    """How often a request goes on elsewhere after its engine died, then it fails; None: as often as it takes."""
    quarantine_s: float = 600.0
    """What engines have died of, alone, is refused for so long; 0: it may try, and kill, again at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TierSettings:
    """What one tier of tenants is promised. Requests that cannot have it are refused, at once, with when to return."""

    ttft_s: float = 1.0
    """To the first token, of what was admitted."""
    tpot_s: float = 0.1
    """Mean, for each later token."""
    bulk_ttft_s: float = 10.0
    """To the first token of a request of the bulk band (`service_tier: flex`)."""
    weight: float = 1.0
    """Of each of its tenants that has none of its own."""


def _tiers() -> dict[str, TierSettings]:
    return {
        "gold": TierSettings(ttft_s=1.0, tpot_s=0.1, bulk_ttft_s=10.0, weight=4.0),
        "silver": TierSettings(ttft_s=2.0, tpot_s=0.2, bulk_ttft_s=20.0, weight=2.0),
        "bronze": TierSettings(ttft_s=5.0, tpot_s=0.5, bulk_ttft_s=30.0, weight=1.0),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantSettings:
    """A tenant that the file declares; it can be changed there alone."""

    tenant: Tenant
    keys: tuple[str, ...] = ()
    """Hashes of its API keys, as `spillway tenants key --hash` prints them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrownoutStep:
    """One step of the ladder that is climbed, while load is too high, before and while requests are refused."""

    name: str
    """Told in the header `x-spillway-brownout`."""
    at: float
    """The pressure at which it begins: 1.0 is where admission begins to refuse."""
    tiers: tuple[str, ...] = ()
    """Whom it concerns; empty: all tiers."""
    bands: tuple[str, ...] = ()
    """Likewise; empty: all bands."""
    max_tokens: int | None = None
    """Longer answers are cut to this."""
    single_choice: bool = False
    """`n` becomes 1."""
    no_logprobs: bool = False
    """They are left out."""


def _brownout() -> tuple[BrownoutStep, ...]:
    return (
        BrownoutStep(name="bulk-short", at=0.8, bands=("bulk",), max_tokens=256),
        BrownoutStep(name="bronze-plain", at=0.9, tiers=("bronze",), no_logprobs=True, single_choice=True),
        BrownoutStep(name="bronze-short", at=1.0, tiers=("bronze",), max_tokens=256),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthSettings:
    """Bearer tokens (OAuth 2.0 JWT) that are believed; without an issuer, none are."""

    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwt_jwks: str | None = None
    """A file, or an https URL, with the issuer's keys."""
    jwt_algorithms: tuple[str, ...] = ("RS256",)
    """Those alone; `none` and the symmetric ones are refused as settings."""
    jwt_tenant_claim: str = "tenant"
    """Names the tenant; dots lead into objects."""
    jwt_leeway_s: float = 30.0
    """How far clocks may differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionSettings:
    """Who is let in, and how patient the parts of admission are."""

    anonymous_tier: str = "gold"
    """The tier of requests while no tenant is known: nobody has to say who they are then."""
    shed: bool = True
    """Refuse what cannot meet its objective. Without it, only the queue's bound and the client's deadline count."""
    lease_s: float = 15.0
    """What a dead gateway held of a tenant's quota goes back after so long."""
    redis_timeout_s: float = 0.1
    """The longest that one request waits for Redis, in all."""
    retry_budget: float = 0.1
    """Retries that are let through for each first try, while load is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetrySettings:
    """What is kept of requests, and what tokens cost. Collectors are named by OpenTelemetry's own variables."""

    enabled: bool = True
    """False: requests leave no trace, no series of their own, no line in the log; what the supervisor counts stays."""
    trace_ratio: float = 1.0
    """Of the traces that nothing else keeps: errors, refusals, recoveries and missed objectives always are."""
    max_traces: int = 10_000
    """In the state folder; the oldest make room."""
    max_age_s: float = 86_400.0
    """Likewise."""
    baggage_keys: tuple[str, ...] = ()
    """Entries of callers' baggage that become attributes."""
    content: tuple[str, ...] = ()
    """Tenants whose prompts and answers are kept in traces and in the log's lines of requests; `*`: everybody's."""
    price_input: float = 0.0
    """Of a million prompt tokens."""
    price_cached: float = 0.0
    """Of a million prompt tokens that were found in a cache."""
    price_output: float = 0.0
    """Of a million output tokens."""
    currency: str = "USD"


@dataclass(frozen=True, slots=True, kw_only=True)
class SloSettings:
    """What is promised, and who is told when it does not hold."""

    objectives: str = "auto"
    """`standard`, `laptop` (which the demo model keeps on two cores), or an OpenSLO file, or a folder of such files;
    `auto`: laptop for the demo model on a CPU, else standard."""
    time_scale: float = 1.0
    """All windows times this: 0.01 makes hours of burn rates minutes, for drills."""
    webhooks: tuple[str, ...] = ()
    """URLs that alerts are sent to, in the form of Alertmanager's webhooks."""
    external_url: str | None = None
    """Where people reach ops, for links in alerts; None: where it listens."""
    brownout: bool = False
    """Climb the brownout ladder while an alert of latency, of shedding or of good requests pages somebody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartSettings:
    """When and how often what died is started again."""

    backoff_base_s: float = 0.1
    backoff_cap_s: float = 30.0
    intensity: int = 5
    """More restarts than this within `period_s` park an engine."""
    period_s: float = 60.0
    pool_intensity: int = 30
    """More restarts of all engines than this within `period_s`: every further one waits for its turn in `period_s`."""
    retry_parked_s: float = 60.0
    stable_after_s: float = 5.0
    """An incarnation that was ready this long and served a request resets backoff and intensity."""
    start_timeout_s: float = 600.0
    hang_floor_s: float = 1.8
    """No step is called hung before this: with the time to look and to tell, a hang is seen within 2 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainSettings:
    """An orderly end."""

    grace_s: float = 5.0
    """Not ready, but still taking work: load balancers need time to notice."""
    timeout_s: float = 120.0
    """How long streams may then go on before they are handed an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """Where and how both ports listen."""

    host: str = "127.0.0.1"
    port: int = 8000
    ops_host: str = "127.0.0.1"
    ops_port: int = 8001
    tls_certificate: str | None = None
    tls_key: str | None = None
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks whose X-Forwarded-For and X-Forwarded-Proto are believed."""
    backlog: int = 2048
    open: bool = False
    """Serve anybody on an address that is not loopback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All of them."""

    models: tuple[ModelSettings, ...] = (ModelSettings(name="demo", model="demo"),)
    routes: tuple[RouteRule, ...] = ()
    """The first rule that matches a request chooses its model; if none does, it gets the model that it names."""
    engines: int | None = None
    """Per model; None: 2 for the demo model, else one per GPU, or 1 on a CPU."""
    standby: int = 0
    """Loaded engines out of rotation, per model."""
    gateways: int = 1
    device: str = "auto"
    redis: str | None = None
    """URL of a Redis to use; None: an embedded one."""
    chaos: bool = False
    state_dir: str | None = None
    """None: `spillway` in the user's state home."""
    runtime_dir: str | None = None
    """Sockets and shared pages; None: a private folder in the user's runtime folder or /tmp."""
    tiers: Mapping[str, TierSettings] = field(default_factory=_tiers)
    tenants: tuple[TenantSettings, ...] = ()
    """Declared ones; others are made at run time (`spillway tenants`)."""
    brownout: tuple[BrownoutStep, ...] = field(default_factory=_brownout)
    log_requests: bool = True
    """One line of the log per request: who asked for what, outcome and timings; prompts only by `telemetry.content`."""
    engine: dict[str, Any] = field(default_factory=dict)
    """Engine settings for all models."""
    network: NetworkSettings = field(default_factory=NetworkSettings)
    generation: GenerationSettings = field(default_factory=GenerationSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    admission: AdmissionSettings = field(default_factory=AdmissionSettings)
    auth: AuthSettings = field(default_factory=AuthSettings)
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)
    slo: SloSettings = field(default_factory=SloSettings)
    restart: RestartSettings = field(default_factory=RestartSettings)
    drain: DrainSettings = field(default_factory=DrainSettings)
