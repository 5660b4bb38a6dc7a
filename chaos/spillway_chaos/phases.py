"""The states of a drill's run, as a table. Wherever it is left, by whatever error, restoring comes next."""

from enum import StrEnum
from typing import Final


class Phase(StrEnum):
    """Where a run stands."""

    PREPARING = "preparing"
    """The stage is set: platform, links, observers."""
    BEFORE = "before"
    """The steady state is checked, and the baseline taken."""
    STRIKING = "striking"
    """The method: load, fault, proof."""
    RESTORING = "restoring"
    """Every fault is undone."""
    AFTER = "after"
    """The steady state is checked again, and what is owed."""
    JUDGING = "judging"
    ENDED = "ended"


class Event(StrEnum):
    """What moves it on."""

    SET = "set"
    STEADY = "steady"
    DONE = "done"
    BROKEN = "broken"
    """An error, an abort rule, a person."""


NEXT: Final[dict[tuple[Phase, Event], Phase]] = {
    (Phase.PREPARING, Event.SET): Phase.BEFORE,
    (Phase.PREPARING, Event.BROKEN): Phase.RESTORING,
    (Phase.BEFORE, Event.STEADY): Phase.STRIKING,
    (Phase.BEFORE, Event.BROKEN): Phase.RESTORING,
    (Phase.STRIKING, Event.DONE): Phase.RESTORING,
    (Phase.STRIKING, Event.BROKEN): Phase.RESTORING,
    (Phase.RESTORING, Event.DONE): Phase.AFTER,
    (Phase.RESTORING, Event.BROKEN): Phase.AFTER,
    (Phase.AFTER, Event.DONE): Phase.JUDGING,
    (Phase.AFTER, Event.BROKEN): Phase.JUDGING,
    (Phase.JUDGING, Event.DONE): Phase.ENDED,
}


class IllegalEventError(Exception):
    """The table has no such step."""


def after(phase: Phase, event: Event) -> Phase:
    """Return the phase that follows. Raises `IllegalEventError`."""
    try:
        return NEXT[phase, event]
    except KeyError:
        raise IllegalEventError(f"{event} cannot happen while {phase}") from None
