"""What a load generator is told, and what it tells: the two messages between it and the bench.

Times of a plan count from its start, in seconds; those of records too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What a right answer is."""

    num_tokens: int
    finish_reason: str
    text: str | None = None
    """The whole of it; None: any text."""
    num_words: int | None = None
    """For models whose every token is a word: one lost or doubled on the way is seen."""


class Shot(msgspec.Struct, frozen=True, kw_only=True):
    """One request."""

    number: int
    due_s: float
    """When it is sent, whatever has become of the others."""
    path: str
    body: bytes
    expected: Expected
    group: str = ""
    """Whose it is, where a bench tells several apart."""
    headers: dict[str, str] = {}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The work of one generator process."""

    host: str
    port: int
    shots: list[Shot]
    """In the order of their times."""
    patience_s: float
    """Counted from the last first try: what has not ended then is given up. A retry has as long for itself."""
    retries: int = 0
    """How often a refused client comes back, when it is told to."""
    in_flight: int | None = None
    """A closed loop of so many clients instead of the shots' own times."""
    closed_s: float = 0.0
    """For how long the clients of the closed loop begin new requests."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one try of one request."""

    number: int
    group: str
    attempt: int
    due_s: float
    sent_s: float
    """Later than due by what the generator was late."""
    ended_s: float
    """When the answer was whole, or the try was over otherwise."""
    status: int = 0
    """0: no answer began."""
    events_s: list[float] = []
    """When each event with text came."""
    prompt_tokens: int = 0
    output_tokens: int = 0
    """Of its usage; without one, the number of events with text."""
    is_done: bool = False
    """It ended as a success does."""
    is_exact: bool = False
    """Its text, its end and its usage are as expected."""
    gave_up: bool = False
    """The client did, not the server."""
    code: str | None = None
    """Of the error, as the server calls it."""
    problem: str | None = None
    """In words, where it failed."""
    retry_after_s: float | None = None
    should_retry: bool | None = None

    @property
    def is_refused(self) -> bool:
        """Whether it was turned away, before anything of an answer came."""
        return self.status in {429, 503} and not self.events_s

    @property
    def ttft_s(self) -> float:
        """From when it was due to its first token; without one, how long it has waited at least."""
        return (self.events_s[0] if self.events_s else self.ended_s) - self.due_s

    @property
    def tpot_s(self) -> float:
        """Mean time between its tokens; 0 of a single one."""
        if len(self.events_s) < 2 or self.output_tokens < 2:
            return 0.0
        return (self.events_s[-1] - self.events_s[0]) / (self.output_tokens - 1)


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """All that one generator tells."""

    records: list[Record]
    seconds: float
    """From the start to the last end."""
    cpu_s: float
    """Computed meanwhile."""
    scheduling: str


@dataclass(frozen=True, slots=True)
class Run:
    """What all generators of one run saw together."""

    records: Sequence[Record]
    seconds: float
    cpu_share: float
    """Of one core, of the busiest generator."""
    scheduling: str

    @classmethod
    def of(cls, parts: Sequence[Seen]) -> "Run":
        """Put the parts together, of which there must be at least one."""
        records = sorted((record for part in parts for record in part.records), key=lambda record: record.due_s)
        seconds = max(part.seconds for part in parts)
        share = max(part.cpu_s / max(part.seconds, 1e-9) for part in parts)
        return cls(records, seconds, share, parts[0].scheduling)
