"""When a blow was seen, and when all was ready again, from the changes of places."""

from collections.abc import Iterable, Sequence

from spillway_chaos.stage.recorder import Change
from spillway_chaos.stage.stage import Strike

_AT_REST = frozenset({"ready", "standby"})
ROUNDING_S = 0.005
"""The wall clock of a note and that of a blow are read by different processes."""


def detection_s(changes: Iterable[Change], strike: Strike) -> float | None:
    """Return how long after a blow the supervisor saw the place's death; None if it never did."""
    for change in changes:
        if change.id == strike.id and change.exited_at is not None:
            seen = change.exited_at - strike.at_unix
            if seen >= -ROUNDING_S:
                return max(0.0, seen)
    return None


def recovery_s(changes: Sequence[Change], struck_at: float) -> float | None:
    """Return how long after the first blow all places were at rest for good; None if they are not; 0 if always."""
    states: dict[str, str] = {}
    wrong_since: float | None = None
    whole_at: float | None = None
    for change in changes:
        states[change.id] = change.state
        if change.at < struck_at:
            continue
        if all(state in _AT_REST for state in states.values()):
            whole_at = change.at if wrong_since is not None else whole_at
            wrong_since = None
        elif wrong_since is None:
            wrong_since = change.at
    if wrong_since is not None:
        return None
    return 0.0 if whole_at is None else whole_at - struck_at
