"""What one choice of a request is doing in an engine, and what several are together.

A lane is a list of (from when on, what), in order of time, made of the moments that the engine told.
"""

from collections.abc import Sequence
from enum import IntEnum

from spillway.telemetry.tracing.facts import StepNotes
from spillway_wire.messages import Moment, MomentKind


class Lane(IntEnum):
    """Where a choice is; of several choices, the lowest value counts for all."""

    DECODE = 0
    PREFILL = 1
    PREEMPTED = 2
    QUEUED = 3
    DONE = 4


_BY_MOMENT = {
    MomentKind.QUEUED: Lane.QUEUED,
    MomentKind.SCHEDULED: Lane.PREFILL,
    MomentKind.FIRST_TOKEN: Lane.DECODE,
    MomentKind.PREEMPTED: Lane.PREEMPTED,
    MomentKind.RESUMED: Lane.PREFILL,
    MomentKind.LAST_TOKEN: Lane.DONE,
}


def lane_of(
    moments: Sequence[Moment], started_ns: int, ended_ns: int, steps: StepNotes | None
) -> list[tuple[int, Lane]]:
    """Return a choice's lane. Times are brought into the attempt, and none lies before the one before it.

    What was preempted is computed again before it goes on, and no moment tells when that is done: it is the end of the
    step of the last chunk, or its start if that step is not remembered.
    """
    lane: list[tuple[int, Lane]] = []
    at_ns = started_ns
    decoding = False
    recomputed_ns: int | None = None
    """Where decoding goes on after a preemption, as far as chunks were seen."""

    def add(when_ns: int, state: Lane) -> None:
        nonlocal at_ns
        at_ns = min(max(at_ns, when_ns), ended_ns)
        lane.append((at_ns, state))

    for moment in moments:
        if moment.kind is MomentKind.PREFILL_CHUNK:
            if decoding and lane and lane[-1][1] is Lane.PREFILL:
                end_ns = None if steps is None else steps.ends.get(moment.at_ns)
                recomputed_ns = moment.at_ns if end_ns is None else end_ns
            continue
        if recomputed_ns is not None:
            add(recomputed_ns, Lane.DECODE)
            recomputed_ns = None
        decoding = decoding or moment.kind is MomentKind.FIRST_TOKEN
        add(moment.at_ns, _BY_MOMENT[moment.kind])
        if moment.kind is MomentKind.LAST_TOKEN:
            break  # whatever is told after it is not its doing
    if recomputed_ns is not None:
        add(recomputed_ns, Lane.DECODE)
    return lane


def merged(lanes: Sequence[Sequence[tuple[int, Lane]]]) -> list[tuple[int, Lane]]:
    """Return what several choices are in together: done when all are, else what the furthest does."""
    changes = sorted(
        (at_ns, order, number, state) for number, lane in enumerate(lanes) for order, (at_ns, state) in enumerate(lane)
    )
    states = [Lane.QUEUED] * len(lanes)
    found: list[tuple[int, Lane]] = []
    for at_ns, _, number, state in changes:
        states[number] = state
        together = min(states)
        if not found or found[-1][1] is not together:
            found.append((at_ns, together))
    return found
