"""States of a request in a gateway's pool, as a table; the docs' diagram is drawn from it.

A request ends exactly once, whatever happens to the engines that work on it: `FINISHED` has no way out.
"""

from enum import Enum, auto

from spillway_wire import states


class State(Enum):
    """Where a request is."""

    QUEUED = auto()
    """Waits for an engine; nobody works on it."""
    RUNNING = auto()
    """An engine has it: queued there, in prefill, or decoding."""
    RECOVERING = auto()
    """Its engine is lost; it waits for the verdict, then for another engine."""
    FINISHED = auto()
    """Ended with exactly one outcome; it holds nothing."""


class Event(Enum):
    """What can happen to a request."""

    DISPATCH = auto()
    """It is sent to an engine."""
    TURN_AWAY = auto()
    """The engine ends in good order and hands it back."""
    LOSE_ENGINE = auto()
    """The engine died, or output of it was lost."""
    FINISH = auto()


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.QUEUED, Event.DISPATCH): State.RUNNING,
    (State.QUEUED, Event.FINISH): State.FINISHED,
    (State.RUNNING, Event.TURN_AWAY): State.QUEUED,
    (State.RUNNING, Event.LOSE_ENGINE): State.RECOVERING,
    (State.RUNNING, Event.FINISH): State.FINISHED,
    (State.RECOVERING, Event.DISPATCH): State.RUNNING,
    (State.RECOVERING, Event.FINISH): State.FINISHED,
}


def follow(state: State, event: Event) -> State:
    """Return the state after `event`, or raise `IllegalTransitionError` of `spillway_wire.states`."""
    return states.follow(TRANSITIONS, state, event)
