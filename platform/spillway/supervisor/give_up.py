"""When there is nothing to wait for any more: what is needed cannot be started, and no patience will help. Pure."""

from collections.abc import Sequence
from typing import Final

from spillway.settings import RestartSettings
from spillway.supervisor.lifecycle import State
from spillway.supervisor.place import Place
from spillway_wire.plane import ExitCause

STATUS_USAGE: Final = 2
"""Of an engine whose settings are wrong."""
_TRIES_OF_ITS_OWN_ACCORD: Final = 2
"""An engine that says why it cannot start is tried once more: memory may have been short for a moment."""


def cannot_start(places: Sequence[Place], policy: RestartSettings) -> str | None:
    """Say why none of `places` will ever start, or return None: all engines of a model, all gateways, or ops.

    What one is trying just now does not count: places that fail in turn would never all be at rest together.
    """
    if not places or any(place.ever_ready or not _gave_up(place, policy) for place in places):
        return None
    return _reason(places[0])


def none_left(places: Sequence[Place], policy: RestartSettings) -> str | None:
    """Say why no engine is left and none can be started, or return None. `places` are all engines.

    A parked one is tried now and then; it is given up when such a try failed before it was ready, too. One that was
    drained and stays stopped is nobody to wait for: it takes an order to start it, and whoever starts this platform
    again, as a service manager does after status 1, starts it as well. If all are stopped, that was somebody's wish.
    """
    tries = policy.intensity + 2
    wanted = [place for place in places if place.state is not State.STOPPED]
    if not wanted or any(place.state is not State.PARKED or place.failed_starts < tries for place in wanted):
        return None
    return _reason(wanted[0])


def _gave_up(place: Place, policy: RestartSettings) -> bool:
    last = place.last_exit
    if last is None or last.exit.cause is not ExitCause.FAILED_START:
        return False
    if last.exit.status == STATUS_USAGE:
        return True
    tries = _TRIES_OF_ITS_OWN_ACCORD if last.exit.status > 0 else policy.intensity + 1
    return place.failed_starts >= tries


def _reason(place: Place) -> str:
    return f"{place.id} cannot start: {'' if place.last_exit is None else place.last_exit.exit.message}"
