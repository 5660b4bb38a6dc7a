"""From the pool's journal to the facts of a timeline. It reads what has ended, in the telemetry thread."""

from collections.abc import Sequence
from typing import Final

from spillway.pool.journal import Attempt, Entry
from spillway.telemetry.tracing.facts import AttemptFacts, Life, Strand
from spillway.telemetry.tracing.steps import StepBooks
from spillway_wire.outcomes import Outcome

TURNED_AWAY: Final = "turned away"
"""How the journal calls the end of an attempt that an engine handed back in good order."""
_OUTCOMES: Final = frozenset(outcome.value for outcome in Outcome)


def life_of(
    entries: Sequence[Entry], began_ns: int, ended_ns: int, blocked: Sequence[tuple[int, int]], books: StepBooks
) -> Life:
    """Return the life of a request with these prompts."""
    return Life(
        arrived_ns=began_ns,
        ended_ns=ended_ns,
        strands=tuple(_strand(entry, books) for entry in entries),
        blocked=blocked,
    )


def _strand(entry: Entry, books: StepBooks) -> Strand:
    return Strand(
        queued_ns=int(entry.queued_at * 1e9),
        attempts=tuple(_attempt(attempt, books) for attempt in entry.attempts),
        num_choices=len(entry.choices),
        tokens=entry.num_tokens,
    )


def _attempt(attempt: Attempt, books: StepBooks) -> AttemptFacts:
    returned = attempt.end == TURNED_AWAY
    return AttemptFacts(
        number=attempt.number,
        engine_id=attempt.engine_id,
        incarnation=attempt.incarnation,
        started_ns=int(attempt.started * 1e9),
        ended_ns=None if attempt.ended is None else int(attempt.ended * 1e9),
        end=attempt.end,
        lost=attempt.ended is not None and not returned and attempt.end not in _OUTCOMES,
        returned=returned,
        moments=attempt.moments,
        steps=books.get(attempt.engine_id, attempt.incarnation),
    )


def reasons_of(entries: Sequence[Entry]) -> tuple[str, ...]:
    """Return why each choice ended that was completed."""
    choices = (choice for entry in entries for choice in entry.choices)
    return tuple(
        choice.finish.reason.value
        for choice in choices
        if choice.finish is not None and choice.finish.reason is not None
    )


def num_cached(entries: Sequence[Entry]) -> int | None:
    """Return how many prompt tokens engines found in their caches; None if no prompt got so far."""
    found = [
        [choice.cached_tokens for choice in entry.choices if choice.cached_tokens is not None] for entry in entries
    ]
    known = [min(counts) for counts in found if counts]
    return sum(known) if known else None
