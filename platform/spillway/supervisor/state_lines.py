"""A line in the log for every change of a child's state; what a starting one says of its progress is no change."""

from collections.abc import Callable

from spillway.supervisor.place import Place
from spillway_wire.oplog import CHILD_STATE


class StateLines:
    """Looks at a place after everything that happens to it."""

    def __init__(self, log: Callable[..., None]) -> None:
        self._log = log
        self._known: dict[str, tuple[int, str]] = {}

    def look(self, place: Place) -> None:
        """Log its state, if that is another than before."""
        state = str(place.state)
        before = self._known.get(place.id)
        if before == (place.incarnation, state):
            return
        self._known[place.id] = (place.incarnation, state)
        was = {} if before is None else {"was": before[1]}
        self._log(CHILD_STATE, child=place.id, state=state, incarnation=place.incarnation, pid=place.pid, **was)
