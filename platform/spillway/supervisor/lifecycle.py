"""States of a place (one process that is always wanted) as a table; the docs' diagram is drawn from it.

Engines go through all of it. Gateways, ops and Redis have nothing to load and are never held on standby.
"""

from enum import Enum, auto
from typing import Final

from spillway_wire import states
from spillway_wire.plane import EngineStatus

State = EngineStatus


class Event(Enum):
    """What can happen to a place."""

    START = auto()
    """A process is wanted, and is started at once."""
    LOAD = auto()
    """The process says that it loads."""
    WARM = auto()
    """The process says that it warms up."""
    SERVE = auto()
    """It can take work, and is in rotation."""
    HOLD = auto()
    """It can take work, and is kept out of rotation."""
    PROMOTE = auto()
    """It is needed in rotation now."""
    DRAIN = auto()
    """It was asked to end, or said that it does: it finishes what it has."""
    HANG = auto()
    """It made no progress, or was not ready in time, and is being killed."""
    DIE = auto()
    """The process ended, and nobody had asked for it."""
    WAIT = auto()
    """It will be started again after a pause."""
    PARK = auto()
    """It died too often: it will be tried now and then."""
    RETRY = auto()
    """The pause is over."""
    STOP = auto()
    """The process ended as it was asked to, or is not wanted any more."""


_STARTING: Final = (State.SPAWNING, State.LOADING, State.WARMING)
_LOADED: Final = (State.READY, State.STANDBY)
_RUNNING: Final = (*_STARTING, *_LOADED, State.DRAINING)

TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    (State.STOPPED, Event.START): State.SPAWNING,
    (State.SPAWNING, Event.LOAD): State.LOADING,
    **{(state, Event.WARM): State.WARMING for state in (State.SPAWNING, State.LOADING)},
    **{(state, Event.SERVE): State.READY for state in _STARTING},
    **{(state, Event.HOLD): State.STANDBY for state in _STARTING},
    (State.STANDBY, Event.PROMOTE): State.READY,
    **{(state, Event.DRAIN): State.DRAINING for state in (*_STARTING, *_LOADED)},
    **{(state, Event.HANG): State.HUNG for state in _RUNNING},
    **{(state, Event.DIE): State.CRASHED for state in (*_RUNNING, State.HUNG)},
    (State.CRASHED, Event.WAIT): State.BACKOFF,
    (State.CRASHED, Event.PARK): State.PARKED,
    **{(state, Event.RETRY): State.SPAWNING for state in (State.BACKOFF, State.PARKED)},
    **{
        (state, Event.STOP): State.STOPPED
        for state in (State.DRAINING, State.HUNG, State.CRASHED, State.BACKOFF, State.PARKED)
    },
}

STARTING: Final = frozenset(_STARTING)
"""There is a process, and it cannot take work yet."""
LISTENING: Final = frozenset({State.STANDBY, State.READY, State.DRAINING})
"""There is a process, and it can be talked to."""
ALIVE: Final = frozenset({*_RUNNING, State.HUNG})
"""There is a process."""
RESTING: Final = frozenset(State) - ALIVE - {State.CRASHED}
"""There is none, and it was decided when the next one comes, or that none does. `crashed` lasts for no time."""


def follow(state: State, event: Event) -> State:
    """Return the state after `event`, or raise `IllegalTransitionError` of `spillway_wire.states`."""
    return states.follow(TRANSITIONS, state, event)


def allows(state: State, event: Event) -> bool:
    """Whether the table knows this event in this state."""
    return (state, event) in TRANSITIONS
