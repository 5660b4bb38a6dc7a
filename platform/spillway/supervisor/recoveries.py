"""How long it takes to see that a process is dead, and until another one serves in its place: by role and cause.

It looks at a place after every change of it, and finds in that what is new. ::

    last sign ──── detect ────▶ declared dead ──────────── recover ────────────▶ ready
                                (also by its exit,         (pause, start, load, warm)
                                which is seen at once)

What was asked for is no fault, and is not counted. What dies again on its way back has not recovered: the time goes on
from the first death.
"""

from dataclasses import dataclass
from typing import Final, Protocol

from spillway.supervisor.chronicle import Watched
from spillway.supervisor.lifecycle import State
from spillway.supervisor.place import LastExit
from spillway.supervisor.run import Run
from spillway_wire.series import Histograms

_DEAD: Final = frozenset({State.HUNG, State.CRASHED, State.BACKOFF, State.PARKED})
"""Where a place is when its process ended and nobody had asked for it."""
_BACK: Final = frozenset({State.READY, State.STANDBY})


class Seen(Protocol):
    """What is looked at of a place."""

    @property
    def id(self) -> str:
        """Such as `engine-0`."""

    @property
    def state(self) -> State:
        """Where it is in its life."""

    @property
    def last_exit(self) -> LastExit | None:
        """How its last process ended."""

    @property
    def run(self) -> Run | None:
        """Its process; of one that hangs it is still there."""


@dataclass(slots=True)
class _Known:
    """What was seen of a place."""

    last_exit: LastExit | None = None
    died_ns: int | None = None
    """When it was declared dead; None: it is not."""
    cause: str = ""


class Recoveries:
    """Watches all places."""

    def __init__(self, detected: Histograms, recovered: Histograms) -> None:
        self._detected, self._recovered = detected, recovered
        self._known: dict[str, _Known] = {}

    def look(self, place: Seen, now_ns: int) -> None:
        """Look at a place that has changed a moment ago."""
        known = self._known.setdefault(place.id, _Known())
        role = place.id.partition("-")[0]
        if place.last_exit is not known.last_exit:
            known.last_exit = place.last_exit
            if place.last_exit is not None and place.state in _DEAD:
                cause = str(place.last_exit.exit.cause)
                self._detected.of(role, cause).observe(_silent_s(place, now_ns))
                if known.died_ns is None:
                    known.died_ns, known.cause = now_ns, cause
        if place.state is State.STOPPED:
            known.died_ns = None  # nobody wants it back
        elif known.died_ns is not None and place.state in _BACK:
            self._recovered.of(role, known.cause).observe((now_ns - known.died_ns) / 1e9)
            known.died_ns = None


def _silent_s(place: Seen, now_ns: int) -> float:
    """Return how long it was dead unseen: the kernel tells of an end at once, a hang lasts since the last sign."""
    run: object = place.run
    last_ns = run.last_sign_ns() if isinstance(run, Watched) else None
    return 0.0 if last_ns is None else max(0, now_ns - last_ns) / 1e9
