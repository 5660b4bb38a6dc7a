"""From the pool's journal to the facts of a timeline. It reads what has ended, in the telemetry thread."""

from collections.abc import Sequence
from typing import Final

from spillway.pool.journal import Attempt, Entry
from spillway.telemetry.tracing.facts import AttemptFacts, Life, StepNotes, Strand
from spillway.telemetry.tracing.steps import StepBook, StepBooks
from spillway_wire.messages import Moment, MomentKind
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
        strands=tuple([_strand(entry, ended_ns, books) for entry in entries]),
        blocked=tuple(blocked),
    )


def _strand(entry: Entry, life_ended_ns: int, books: StepBooks) -> Strand:
    return Strand(
        queued_ns=int(entry.queued_at * 1e9),
        attempts=tuple([_attempt(attempt, life_ended_ns, books) for attempt in entry.attempts]),
        num_choices=len(entry.choices),
        tokens=entry.num_tokens,
    )


def _attempt(attempt: Attempt, life_ended_ns: int, books: StepBooks) -> AttemptFacts:
    returned = attempt.end == TURNED_AWAY
    started_ns = int(attempt.started * 1e9)
    ended_ns = None if attempt.ended is None else int(attempt.ended * 1e9)
    lost = attempt.ended is not None and not returned and attempt.end not in _OUTCOMES
    book = books.get(attempt.engine_id, attempt.incarnation)
    until_ns = max(started_ns, life_ended_ns if ended_ns is None else ended_ns)
    return AttemptFacts(
        number=attempt.number,
        engine_id=attempt.engine_id,
        incarnation=attempt.incarnation,
        started_ns=started_ns,
        ended_ns=ended_ns,
        end=attempt.end,
        lost=lost,
        returned=returned,
        moments=tuple(attempt.moments),
        steps=None
        if book is None
        else notes_of(book, attempt.moments, (started_ns, until_ns, life_ended_ns), lost=lost),
    )


def notes_of(
    book: StepBook, moments: Sequence[tuple[int, Moment]], bounds: tuple[int, int, int], *, lost: bool
) -> StepNotes:
    """Ask the book what the timeline of an attempt can ask; `bounds`: its begin and end, and the request's end.

    A phase begins and ends with one of the attempt's moments, with the end of a step that computed again what was
    preempted, with the last step of an engine that was lost, or with the attempt.
    """
    last_ns = book.last_end(bounds[1]) if lost else None
    instants = {*bounds, *[moment.at_ns for _, moment in moments]}
    ends: dict[int, int] = {}
    if any(moment.kind is MomentKind.PREEMPTED for _, moment in moments):
        for _, moment in moments:
            if moment.kind is MomentKind.PREFILL_CHUNK and (end_ns := book.end_of(moment.at_ns)) is not None:
                ends[moment.at_ns] = end_ns
        instants.update(ends.values())
    if last_ns is not None:
        instants.add(last_ns)
    sums = {at_ns: found for at_ns in instants if (found := book.sums(at_ns)) is not None}
    return StepNotes(sums=sums, ends=ends, last_ns=last_ns)


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
