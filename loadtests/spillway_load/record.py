"""What came of one request, and what that was worth: exactly one fate each. Pure.

::

    record ── the client hung up on purpose ───────────────────▶ left
           ── 429 or 503, nothing of an answer ────────────────▶ refused
           ── the client's patience ended ─────────────────────▶ unfinished
           ── an error, a broken stream, another status ────────▶ failed
           ── not what was asked for ──────────────────────────▶ inexact
           ── first token after its limit ─────────────────────▶ late
           ── later tokens slower than theirs ─────────────────▶ slow
           ── else ────────────────────────────────────────────▶ good
"""

from enum import StrEnum
from typing import Final

import msgspec

from spillway_load.objectives import Limits
from spillway_wire.outcomes import Outcome

TIMEOUT: Final = "timeout"
LEFT: Final = "left"


class Fate(StrEnum):
    """What came of a request."""

    GOOD = "good"
    LATE = "late"
    SLOW = "slow"
    INEXACT = "inexact"
    FAILED = "failed"
    REFUSED = "refused"
    UNFINISHED = "unfinished"
    LEFT = "left"


SERVED: Final = frozenset({Fate.GOOD, Fate.LATE, Fate.SLOW})
"""Whole and exact answers."""
BROKEN: Final = frozenset({Fate.FAILED, Fate.UNFINISHED, Fate.INEXACT})
"""What availability counts as failures."""


class Record(msgspec.Struct, array_like=True):
    """One intended request. Times in seconds from the campaign's start."""

    number: int
    due_s: float
    begun_s: float
    """When the generator took it up: what that is later than due is the generator's lag."""
    sent_s: float
    """When the last attempt was written."""
    first_s: float | None
    """The first piece of text."""
    ended_s: float
    gaps_us: list[int]
    """Between pieces of text, in microseconds."""
    attempts: int
    status: int
    outcome: str
    """Spillway's where it told, else what the client saw."""
    num_tokens: int
    """By the server's usage; of a broken answer, the pieces that came."""
    is_right: bool
    """Whether the answer is what was asked for."""
    is_mistake: bool
    """It is not, and an undisturbed asking gives the same: the model's own mistake, not the platform's."""
    server_ms: int | None
    """Until the first token by the server's account."""
    is_slow: bool
    """Its client read slowly on purpose: its later times are its own."""
    work: str
    tier: str
    tenant: str
    label: str = ""
    wanted: str = ""
    got: str = ""
    """What was asked, wanted and said; of answers that are not right alone."""

    @property
    def lag_s(self) -> float:
        """How late the generator was."""
        return self.begun_s - self.due_s

    @property
    def ttft_s(self) -> float | None:
        """Time to the first token, from when the request was due."""
        return None if self.first_s is None else self.first_s - self.due_s

    @property
    def tpot_s(self) -> float | None:
        """Mean time per output token after the first."""
        return sum(self.gaps_us) / 1e6 / (self.num_tokens - 1) if self.num_tokens > 1 and self.first_s else None

    @property
    def e2e_s(self) -> float:
        """Until the end, from when the request was due."""
        return self.ended_s - self.due_s


_REFUSALS: Final = frozenset({429, 503})


def judge(record: Record, limits: Limits) -> Fate:
    """Return the fate of a request; the first that fits counts."""
    is_whole = record.status == 200 and record.outcome == Outcome.COMPLETED
    ttft_s, tpot_s = record.ttft_s, record.tpot_s
    table = (
        (record.outcome == LEFT, Fate.LEFT),
        (record.status in _REFUSALS and record.first_s is None, Fate.REFUSED),
        (record.outcome == TIMEOUT, Fate.UNFINISHED),
        (not is_whole, Fate.FAILED),
        (not record.is_right and not record.is_mistake, Fate.INEXACT),
        (ttft_s is not None and ttft_s * 1000 > limits.ttft_ms, Fate.LATE),
        (tpot_s is not None and not record.is_slow and tpot_s * 1000 > limits.tpot_ms, Fate.SLOW),
    )
    return next((fate for applies, fate in table if applies), Fate.GOOD)
