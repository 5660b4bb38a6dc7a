"""What the supervisor and its other children (gateways, ops) say to each other: the control plane.

Each child connects to the supervisor's socket, says `ChildHello` first, and hears `Membership` at once and on every
change. The end of that connection ends the child: without a supervisor there is nothing to serve. ::

    child ── ChildHello, ChildReady, ChildBeat ─────────────────▶ supervisor
    child ◀─ Membership, EngineDied, EngineLife, Phase, Reload ── supervisor
    gateway ── Quarantined ─────────────────────────────────────▶ supervisor
    gateway ◀─ Quarantined, what the others said ──────────────── supervisor
    ops   ── StatusRequest, Order, BrownoutFloor ───────────────▶ supervisor
    gateway ◀─ BrownoutFloor, what ops said ───────────────────── supervisor
    ops   ◀─ Status, OrderReply ───────────────────────────────── supervisor

Only the supervisor declares an engine dead. Times are CLOCK_MONOTONIC nanoseconds of the machine. Structs are
MessagePack arrays, grown at the end only, as in `messages`; a message that the other side does not know yet it skips.
"""

from enum import StrEnum
from typing import Any

import msgspec

from spillway_wire.page import Aboard

PLANE_VERSION = 1


class _Message(msgspec.Struct, frozen=True, array_like=True, tag=True, kw_only=True):
    """Base of everything that travels in a frame of its own."""


class _Part(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Base of everything that travels inside a message."""


class Role(StrEnum):
    """What a child of the supervisor is."""

    ENGINE = "engine"
    GATEWAY = "gateway"
    OPS = "ops"
    REDIS = "redis"


class EngineStatus(StrEnum):
    """Where an engine's place in the pool is in its life; the table is `spillway.supervisor.lifecycle`."""

    SPAWNING = "spawning"
    LOADING = "loading"
    WARMING = "warming"
    STANDBY = "standby"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"
    HUNG = "hung"
    CRASHED = "crashed"
    BACKOFF = "backoff"
    PARKED = "parked"


class ExitCause(StrEnum):
    """Why a process ended."""

    CLEAN = "clean"
    """Status 0, asked to."""
    EXCEPTION = "exception"
    """It said so in its last words, or left with a status of its own."""
    SIGNAL = "signal"
    OUT_OF_MEMORY = "out_of_memory"
    """Its last words said so, or the kernel's killer took it."""
    DEVICE = "device"
    """A sticky error of the accelerator."""
    HANG = "hang"
    """The supervisor killed it for lack of progress."""
    FAILED_START = "failed_start"
    """It ended, or took longer than allowed, before it was ready."""


# ---- from a child ----


class ChildHello(_Message, frozen=True, kw_only=True):
    """The first frame of a child."""

    child_id: str
    """Such as `gateway-0`."""
    incarnation: int
    role: Role
    pid: int
    plane_version: int = PLANE_VERSION


class ChildReady(_Message, frozen=True, kw_only=True):
    """The child can serve now."""


class ChildBeat(_Message, frozen=True, kw_only=True):
    """Twice a second: the child's loop turns, and this is what it holds."""

    at_ns: int
    open_requests: int = 0
    """Arrivals without an outcome yet."""
    loop_lag_ms: float = 0.0
    """How late the loop was to send this."""
    facts: dict[str, float] = {}
    """Further gauges by stable name, for metrics."""


class Quarantined(_Message, frozen=True, kw_only=True):
    """Engines died of a request: from the gateway that found out, and passed on to every other, as it is.

    Nobody answers. It is said once, as the book of whoever hears it (`quarantine`) keeps it until it is over.
    """

    fingerprint: bytes
    """What makes a request the same one when it is sent again, to whichever gateway."""
    until_ns: int
    """From then on it may be tried again."""
    crashes: int
    """How many engines died of it; told to whoever sends it again."""


class BrownoutFloor(_Message, frozen=True, kw_only=True):
    """Objectives burn: from ops, passed on to every gateway as it is. Nobody answers.

    It is said again and again while it holds, and over by itself when nobody does: an ops process that died must not
    leave less for everybody behind, and a gateway that is new hears of it soon.
    """

    steps: int
    """So many steps of the ladder hold at least, from the bottom; 0: none any more."""
    until_ns: int
    """From then on none does."""


class StatusRequest(_Message, frozen=True, kw_only=True):
    """Ask for the state of everything."""

    token: int


class OrderKind(StrEnum):
    """What ops may ask of the supervisor."""

    DRAIN_ENGINE = "drain_engine"
    """Finish what runs there, then stay stopped."""
    RESTART_ENGINE = "restart_engine"
    """Finish what runs there, then start it anew; a parked one is tried at once."""
    ROLLING_RESTART = "rolling_restart"
    """Restart the engines one after another, each when the one before is ready."""
    INJECT = "inject"
    """Arm a fault in an engine; only with `--chaos`."""
    SHUT_DOWN = "shut_down"


class Order(_Message, frozen=True, kw_only=True):
    """Do this; answered by one `OrderReply` when it has been begun, not when it is over."""

    token: int
    kind: OrderKind
    target: str = ""
    """An engine's id."""
    options: dict[str, Any] = {}
    """Of `inject`: the fields of `messages.Inject`."""


# ---- from the supervisor ----


class Member(_Part, frozen=True, kw_only=True):
    """One engine process that a gateway may talk to."""

    engine_id: str
    incarnation: int
    model: str
    """Name of the served model."""
    address: str
    """See `address`; meaningful in the states in which it listens: standby, ready, draining."""
    status: EngineStatus


class ServedModel(_Part, frozen=True, kw_only=True):
    """A model that requests may name."""

    name: str
    path: str
    """Folder with config.json, tokenizer.json and the chat template."""
    aliases: tuple[str, ...] = ()
    num_engines: int = 1
    hopeless: bool = False
    """No engine serves it and none is on its way: every one is parked or stopped."""
    retry_s: float | None = None
    """Of a hopeless one: a parked engine is tried again after at most so long. None: all are stopped until an order."""


class Membership(_Message, frozen=True, kw_only=True):
    """All engines and models, after a change; the highest version counts."""

    version: int
    members: tuple[Member, ...]
    models: tuple[ServedModel, ...]


class EngineDied(_Message, frozen=True, kw_only=True):
    """This incarnation is dead; sent before the `Membership` that no longer has it as ready."""

    engine_id: str
    incarnation: int
    cause: ExitCause
    message: str
    """One line for people: exit status, signal, last words."""
    aboard: tuple[Aboard, ...]
    """Sequences of the step that ran when it died; empty if it died between steps or was asked to end."""
    detected_ns: int


class LifePhase(_Part, frozen=True, kw_only=True):
    """A stretch of an engine's way back; where one ends, the next begins."""

    name: str
    """`detect`, `drain`, `kill`, `backoff`, `spawn`, `load` or `warm`."""
    start_ns: int
    end_ns: int


class EngineLife(_Message, frozen=True, kw_only=True):
    """How an engine came back, or came to rest: told when it is over, and to every child once more when it connects."""

    engine_id: str
    model: str
    incarnation: int
    """The one that is there now, or the last that there was."""
    cause: ExitCause | None
    """Why the one before ended; None at the first start."""
    asked: bool
    """Whether somebody had asked for that end."""
    message: str
    phases: tuple[LifePhase, ...]
    end: EngineStatus
    """Ready or standby; parked or stopped if it did not come back."""


class PhaseKind(StrEnum):
    """Steps of an orderly shutdown, in this order."""

    SERVING = "serving"
    UNREADY = "unready"
    """Say not ready, but take work: load balancers need time to notice."""
    REFUSING = "refusing"
    """Refuse new work as `draining`; what is in flight goes on."""
    ENDING = "ending"
    """Give every open request an error, then exit with status 0."""


class Phase(_Message, frozen=True, kw_only=True):
    """Which phase the whole platform is in; sent on connection and on every change."""

    kind: PhaseKind


class Reload(_Message, frozen=True, kw_only=True):
    """The settings were read again, and maybe certificates were renewed: the settings file holds what counts now."""


class Status(_Message, frozen=True, kw_only=True):
    """Everything the supervisor knows, as plain values with stable keys (`GET /admin/pool`, metrics)."""

    token: int
    status: dict[str, Any]


class OrderReply(_Message, frozen=True, kw_only=True):
    """Whether an order is being carried out, and if not, why."""

    token: int
    accepted: bool
    message: str


ToSupervisor = ChildHello | ChildReady | ChildBeat | StatusRequest | Order | Quarantined | BrownoutFloor
FromSupervisor = (
    Membership | EngineDied | EngineLife | Phase | Status | OrderReply | Reload | Quarantined | BrownoutFloor
)
