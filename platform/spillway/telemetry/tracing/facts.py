"""What is known of a request when it has ended: stamps of CLOCK_MONOTONIC, in nanoseconds, and nothing decided yet.

Any of it may be missing, and engines' moments may come in any order: a timeline is made of whatever is there. Facts are
what the store keeps: a few hundred bytes as MessagePack, and spans are made of them when somebody looks.
"""

import msgspec

from spillway.telemetry.tracing.context import Parent
from spillway_wire.messages import Moment
from spillway_wire.outcomes import Outcome
from spillway_wire.sampling import SamplingParams


class StepNotes(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What an attempt's timeline has to know of its engine's steps: the answers to its few questions."""

    sums: dict[int, tuple[int, int]] = {}
    """At an instant: how many steps had ended by then, and their decode rows together."""
    ends: dict[int, int] = {}
    """When a step that began then ended."""
    last_ns: int | None = None
    """The end of the last step before the attempt's end."""

    def between(self, start_ns: int, end_ns: int) -> tuple[int, int] | None:
        """How many steps ended in (start, end], and their decode rows together; None if it is not known."""
        before, after = self.sums.get(start_ns), self.sums.get(end_ns)
        return None if before is None or after is None else (after[0] - before[0], after[1] - before[1])


class AttemptFacts(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
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
    moments: tuple[tuple[int, Moment], ...] = ()
    """(choice, moment)."""
    steps: StepNotes | None = None

    def until_ns(self, life_ended_ns: int) -> int:
        """When it was over, at the latest with the request; never before it began."""
        return max(self.started_ns, life_ended_ns if self.ended_ns is None else self.ended_ns)


class Strand(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """One prompt's way through the pool."""

    queued_ns: int
    attempts: tuple[AttemptFacts, ...] = ()
    num_choices: int = 1
    tokens: int | None = None
    """Output tokens, of all choices and attempts."""


class Life(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """A request from its arrival to its end."""

    arrived_ns: int
    ended_ns: int
    strands: tuple[Strand, ...] = ()
    """Empty if it was never submitted."""
    blocked: tuple[tuple[int, int], ...] = ()
    """(from, to): when a write waited for the client."""


class RequestFacts(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag="request"):
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
    baggage: dict[str, str] = {}
    """Entries that are to be attributes."""
    prompt: str | None = None
    """As JSON, only where the settings ask for contents."""
    answer: str | None = None
