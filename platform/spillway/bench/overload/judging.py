"""What a try was worth to the one who asked: exactly one fate each. Pure.

::

    record ── 429 or 503, nothing of an answer ───────────────▶ refused
           ── the client gave up, at the end of its patience ─▶ unfinished
           ── an error, a broken stream, another status ──────▶ failed
           ── not what was asked for ─────────────────────────▶ wrong
           ── first token after its objective ────────────────▶ late
           ── later tokens slower than theirs ────────────────▶ slow
           ── else ───────────────────────────────────────────▶ good
"""

from collections.abc import Callable
from enum import StrEnum

from spillway.admission.contract import Objective
from spillway.bench.overload.plan import Record


class Fate(StrEnum):
    """What came of a try."""

    GOOD = "good"
    LATE = "late"
    SLOW = "slow"
    WRONG = "wrong"
    FAILED = "failed"
    UNFINISHED = "unfinished"
    REFUSED = "refused"


ObjectiveOf = Callable[[Record], Objective]


def judge(record: Record, objective: Objective) -> Fate:
    """Return the fate of a try. Its first token is counted from when it was due, not from when it was sent."""
    if record.is_refused:
        return Fate.REFUSED
    if record.gave_up:
        return Fate.UNFINISHED
    if record.status != 200 or not record.is_done:
        return Fate.FAILED
    if not record.is_exact:
        return Fate.WRONG
    if record.ttft_s > objective.ttft_s:
        return Fate.LATE
    return Fate.SLOW if record.tpot_s > objective.tpot_s else Fate.GOOD
