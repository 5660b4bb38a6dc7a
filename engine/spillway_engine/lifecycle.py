"""States of a sequence inside an engine, as a table; the docs' diagram and the property tests are generated from it."""

from enum import Enum, auto

from spillway_wire import states


class Status(Enum):
    """Where a sequence is."""

    WAITING = auto()
    """Queued; holds no blocks and no slot."""
    RUNNING = auto()
    """Holds a slot and blocks; takes part in steps."""
    PREEMPTED = auto()
    """Queued again; gave its blocks back and will recompute."""
    FINISHED = auto()
    """Ended with exactly one outcome; holds nothing."""


class Event(Enum):
    """What can happen to a sequence."""

    SCHEDULE = auto()
    PREEMPT = auto()
    FINISH = auto()


TRANSITIONS: dict[tuple[Status, Event], Status] = {
    (Status.WAITING, Event.SCHEDULE): Status.RUNNING,
    (Status.WAITING, Event.FINISH): Status.FINISHED,
    (Status.RUNNING, Event.PREEMPT): Status.PREEMPTED,
    (Status.RUNNING, Event.FINISH): Status.FINISHED,
    (Status.PREEMPTED, Event.SCHEDULE): Status.RUNNING,
    (Status.PREEMPTED, Event.FINISH): Status.FINISHED,
}


def follow(status: Status, event: Event) -> Status:
    """Return the state after `event`, or raise `IllegalTransitionError` of `spillway_wire.states`."""
    return states.follow(TRANSITIONS, status, event)
