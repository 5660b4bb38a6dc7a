"""A request's life as segments that tile it: exactly one phase at any instant, from arrival to end.

::

    arrival                                                                                    end
    │ admission │ queue │ queue │ prefill │ decode │ stalled │ stalled │ decode │ send │ tail │
                        └──── attempt 1 ─────────────────────┘ └─ attempt 2 ────┘

Segments are made from marks, each the begin of a phase; a mark that lies before the one before it begins with it. So
the segments add up to the whole by construction, whatever is missing and in whatever order it came, and none is
negative. While an engine works, a client that does not read costs nothing, and the instant is the engine's; once the
last token is there, the time is the client's (`send`) or ours (`tail`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final

from spillway.telemetry.tracing.facts import AttemptFacts, Life, Strand
from spillway.telemetry.tracing.lanes import Lane, lane_of, merged
from spillway_wire import trace_names as names


class Phase(StrEnum):
    """What a request is in at an instant; the values are names of spans."""

    ADMISSION = names.ADMISSION
    """Read, identified, tokenized, admitted; of a refused one everything."""
    QUEUE = names.QUEUE
    """Waits for an engine, or in one."""
    PREFILL = names.PREFILL
    DECODE = names.DECODE
    PREEMPTED = names.PREEMPTED
    STALLED = names.STALLED
    """From the loss of its engine to the next new token."""
    SEND = names.SEND
    """All is generated, and the client does not take it."""
    TAIL = names.TAIL
    """All is generated: the last events are made and sent."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch in one phase. Times are those of the facts."""

    phase: Phase
    start_ns: int
    end_ns: int
    attempt: int | None = None
    """Index of the attempt that it is part of."""

    @property
    def duration_ns(self) -> int:
        """Never negative."""
        return self.end_ns - self.start_ns


Mark = tuple[int, Phase, int | None]
"""From when on, what, and in which attempt."""
_RANK: Final = {
    phase: rank
    for rank, phase in enumerate(
        (
            Phase.DECODE,
            Phase.PREFILL,
            Phase.STALLED,
            Phase.PREEMPTED,
            Phase.QUEUE,
            Phase.ADMISSION,
            Phase.SEND,
            Phase.TAIL,
        )
    )
}
"""Of several prompts, what counts for the request at an instant is the one that is furthest."""
_LANES: Final = {
    Lane.QUEUED: Phase.QUEUE,
    Lane.PREFILL: Phase.PREFILL,
    Lane.DECODE: Phase.DECODE,
    Lane.PREEMPTED: Phase.PREEMPTED,
}


def tile(life: Life) -> list[Segment]:
    """Return the whole request as segments without gap or overlap."""
    strands = [tile_strand(life, strand) for strand in life.strands]
    if not strands:
        return [Segment(Phase.ADMISSION, life.arrived_ns, max(life.arrived_ns, life.ended_ns))]
    segments = strands[0] if len(strands) == 1 else _foremost(strands)
    return list(_split_tail(segments, life.blocked))


def tile_strand(life: Life, strand: Strand) -> list[Segment]:
    """Return one prompt's life; what follows its last token is `tail`, also while other prompts go on."""
    marks: list[Mark] = [(life.arrived_ns, Phase.ADMISSION, None), (strand.queued_ns, Phase.QUEUE, None)]
    stalled = False
    for index, attempt in enumerate(strand.attempts):
        stalled = _mark_attempt(marks, attempt, index, strand.num_choices, life.ended_ns, stalled=stalled)
    return _segments(marks, life.ended_ns)


def totals(segments: Iterable[Segment]) -> dict[Phase, int]:
    """Return the nanoseconds in each phase that there was."""
    found: dict[Phase, int] = {}
    for segment in segments:
        found[segment.phase] = found.get(segment.phase, 0) + segment.duration_ns
    return found


def _mark_attempt(
    marks: list[Mark], attempt: AttemptFacts, index: int, num_choices: int, life_ended_ns: int, *, stalled: bool
) -> bool:
    """Add an attempt's marks; return whether the request is stalled after it."""
    ended_ns = attempt.until_ns(life_ended_ns)
    cut_ns = _last_sign(attempt, ended_ns) if attempt.lost else ended_ns
    marks.append((attempt.started_ns, Phase.STALLED if stalled else Phase.QUEUE, index))
    for at_ns, state in _states(attempt, num_choices, ended_ns):
        if at_ns > cut_ns:
            break
        if state is Lane.DONE:
            marks.append((at_ns, Phase.TAIL, None))
            continue
        if stalled and state is not Lane.DECODE:
            continue
        stalled = False
        marks.append((at_ns, _LANES[state], index))
    if attempt.lost:
        marks.append((cut_ns, Phase.STALLED, index))
        marks.append((ended_ns, Phase.STALLED, None))
        return True
    if attempt.returned:
        marks.append((ended_ns, Phase.STALLED if stalled else Phase.QUEUE, None))
        return stalled
    marks.append((ended_ns, Phase.TAIL, None))
    return False


def _last_sign(attempt: AttemptFacts, ended_ns: int) -> int:
    """When the engine last did something: the loss itself is noticed later, of a hanging engine by seconds."""
    seen_ns = None if attempt.steps is None else attempt.steps.last_ns
    if seen_ns is None:
        return ended_ns
    last_ns = max((moment.at_ns for _, moment in attempt.moments), default=attempt.started_ns)
    return min(max(seen_ns, last_ns, attempt.started_ns), ended_ns)


def _states(attempt: AttemptFacts, num_choices: int, ended_ns: int) -> Sequence[tuple[int, Lane]]:
    if num_choices == 1:
        return lane_of([moment for _, moment in attempt.moments], attempt.started_ns, ended_ns, attempt.steps)
    by_choice: dict[int, list[tuple[int, Lane]]] = {}
    for choice in range(num_choices):
        own = [moment for index, moment in attempt.moments if index == choice]
        by_choice[choice] = lane_of(own, attempt.started_ns, ended_ns, attempt.steps)
    return merged(list(by_choice.values()))


def _segments(marks: Sequence[Mark], ended_ns: int) -> list[Segment]:
    """Turn marks into segments: each lasts until the next, none is empty unless there is no other."""
    began_ns = marks[0][0]
    ended_ns = max(began_ns, ended_ns)
    found: list[Segment] = []
    at_ns, phase, attempt = marks[0]
    for next_ns, next_phase, next_attempt in (*marks[1:], (ended_ns, Phase.TAIL, None)):
        until_ns = min(max(next_ns, at_ns), ended_ns)
        if until_ns > at_ns:
            if found and found[-1].phase is phase and found[-1].attempt == attempt:
                found[-1] = Segment(phase, found[-1].start_ns, until_ns, attempt)
            else:
                found.append(Segment(phase, at_ns, until_ns, attempt))
        at_ns, phase, attempt = until_ns, next_phase, next_attempt
    if not found:
        return [Segment(marks[0][1], began_ns, began_ns)]
    if found[-1].end_ns < ended_ns:  # the last mark lies before the end, and its phase lasts until then
        found.append(Segment(phase, found[-1].end_ns, ended_ns, attempt))
    return found


def _foremost(strands: Sequence[Sequence[Segment]]) -> list[Segment]:
    """Return, for each instant, the phase of the strand that is furthest."""
    bounds = sorted({at for segments in strands for segment in segments for at in (segment.start_ns, segment.end_ns)})
    places = [0] * len(strands)
    found: list[Segment] = []
    for start_ns, end_ns in pairwise(bounds):
        phases = []
        for number, segments in enumerate(strands):
            while segments[places[number]].end_ns <= start_ns:
                places[number] += 1
            phases.append(segments[places[number]].phase)
        phase = min(phases, key=_RANK.__getitem__)
        if found and found[-1].phase is phase:
            found[-1] = Segment(phase, found[-1].start_ns, end_ns)
        else:
            found.append(Segment(phase, start_ns, end_ns))
    return found or list(strands[0])


def _split_tail(segments: Iterable[Segment], blocked: Sequence[tuple[int, int]]) -> Iterator[Segment]:
    """Tell the waiting for the client from the rest of the tail."""
    for segment in segments:
        if segment.phase is not Phase.TAIL or not blocked:
            yield segment
            continue
        at_ns = segment.start_ns
        for began_ns, ended_ns in sorted(blocked):
            from_ns, to_ns = max(began_ns, at_ns), min(ended_ns, segment.end_ns)
            if to_ns <= from_ns:
                continue
            if from_ns > at_ns:
                yield Segment(Phase.TAIL, at_ns, from_ns)
            yield Segment(Phase.SEND, from_ns, to_ns)
            at_ns = to_ns
        if at_ns < segment.end_ns or at_ns == segment.start_ns:
            yield Segment(Phase.TAIL, at_ns, segment.end_ns)
