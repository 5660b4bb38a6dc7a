"""What is known of a request when it has ended: stamps of CLOCK_MONOTONIC, in nanoseconds, and nothing decided yet.

Any of it may be missing, and engines' moments may come in any order: a timeline is made of whatever is there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from spillway.telemetry.tracing.context import Parent
from spillway_wire.messages import Moment
from spillway_wire.outcomes import Outcome
from spillway_wire.sampling import SamplingParams


class StepView(Protocol):
    """The steps of one incarnation of an engine, as far as they are remembered."""

    def end_of(self, started_ns: int) -> int | None:
        """When the step that began then ended; None if it is not known."""

    def last_end(self, by_ns: int) -> int | None:
        """The end of the last step that had ended by then."""

    def between(self, start_ns: int, end_ns: int) -> tuple[int, int] | None:
        """How many steps ended in (start, end], and their decode rows together; None if it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFacts:
    """One try on one engine."""

    number: int
    engine_id: str
    incarnation: int
    started_ns: int
    ended_ns: int | None
    end: str
    """Why it ended: an outcome, or what happened to the engine."""
    lost: bool
    """Whether the engine died, or output was lost: what follows is a stall until the next new token."""
    returned: bool = False
    """Whether the engine handed it back in good order: what follows is the queue."""
    moments: Sequence[tuple[int, Moment]] = ()
    """(choice, moment)."""
    steps: StepView | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Strand:
    """One prompt's way through the pool."""

    queued_ns: int
    attempts: tuple[AttemptFacts, ...] = ()
    num_choices: int = 1
    tokens: int | None = None
    """Output tokens, of all choices and attempts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """A request from its arrival to its end."""

    arrived_ns: int
    ended_ns: int
    strands: tuple[Strand, ...] = ()
    """Empty if it was never submitted."""
    blocked: Sequence[tuple[int, int]] = ()
    """(from, to): when a write waited for the client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFacts:
    """All that a request's spans are made of."""

    trace_id: bytes
    span_id: bytes
    """Of the server span; its caller has been told."""
    parent: Parent | None = None
    request_id: str
    endpoint: str
    """Its name in the table of endpoints."""
    life: Life
    wall_offset_ns: int
    """Unix time minus CLOCK_MONOTONIC, read when the request began."""
    outcome: Outcome
    kept_for: str
    gateway: str = ""
    client: str = ""
    status: int | None = None
    """Of HTTP; None if no answer began."""
    model: str = ""
    tenant: str = ""
    tier: str = ""
    band: str = ""
    stream: bool = False
    params: SamplingParams | None = None
    num_choices: int | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    finish_reasons: tuple[str, ...] = ()
    limit: str | None = None
    measured: str | None = None
    message: str = ""
    predicted_ttft_s: float | None = None
    ttft_objective_s: float | None = None
    tpot_objective_s: float | None = None
    objective_missed: bool = False
    first_token_ns: int | None = None
    """When the gateway had it."""
    bytes_sent: int = 0
    blocked_s: float = 0.0
    baggage: Mapping[str, str] = field(default_factory=dict)
    """Entries that are to be attributes."""
    prompt: str | None = None
    """As JSON, only where the settings ask for contents."""
    answer: str | None = None
