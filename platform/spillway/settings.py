"""Every setting of the platform, frozen. `configuration` reads them from flags, environment and file.

Groups become the tables of `spillway.toml`. In `network` and `limits` a setting's flag is its own name (`--port`, its
variable `SPILLWAY_PORT`); the other groups' names stand in front (`--drain-timeout-s`, `SPILLWAY_DRAIN_TIMEOUT_S`).
"""

from dataclasses import dataclass, field
from typing import Any


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
    There is no condition on tenants yet: no part of the platform can tell them apart before admission does.
    """

    to: str
    """The name of a served model."""
    model: str | None = None
    """What the request calls its model. A model's name stands for its aliases, too; an alias for itself alone."""
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
    log_requests: bool = False
    """One line per request from the gateways: endpoint, outcome, status and time; never a prompt."""
    engine: dict[str, Any] = field(default_factory=dict)
    """Engine settings for all models."""
    network: NetworkSettings = field(default_factory=NetworkSettings)
    generation: GenerationSettings = field(default_factory=GenerationSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    restart: RestartSettings = field(default_factory=RestartSettings)
    drain: DrainSettings = field(default_factory=DrainSettings)
