"""How long each phase of an engine's way back took, from the states that its place goes through.

::

    ready ─ died ▶ detect ▶ (kill) ▶ backoff ▶ spawn ▶ load ▶ warm ▶ ready: told
    ready ─────▶ drain ▶ spawn ▶ load ▶ warm ▶ ready: told

A start that fails on the way adds its phases to the same story. What became parked has a story that ends there; the
next try begins another.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, runtime_checkable

from spillway.supervisor.lifecycle import State
from spillway.supervisor.place import Death
from spillway_wire import trace_names as names
from spillway_wire.plane import EngineLife, LifePhase

KEPT: Final = 32
"""Stories kept for a child that connects later."""
_MOST_PHASES: Final = 64
"""Of one story: an engine that fails to start for hours does not fill the memory."""
_NAMES: Final = {
    State.DRAINING: names.DRAIN,
    State.HUNG: names.KILL,
    State.CRASHED: names.BACKOFF,
    State.BACKOFF: names.BACKOFF,
    State.SPAWNING: names.SPAWN,
    State.LOADING: names.LOAD,
    State.WARMING: names.WARM,
}
_ENDS: Final = frozenset({State.READY, State.STANDBY, State.PARKED, State.STOPPED})


@runtime_checkable
class Watched(Protocol):
    """A run that can say when it last showed that it gets on."""

    def last_sign_ns(self) -> int | None:
        """CLOCK_MONOTONIC of that; None if it never did."""


@dataclass(slots=True)
class _Story:
    """What happened to one engine since it was last at rest."""

    phases: deque[LifePhase] = field(default_factory=lambda: deque(maxlen=_MOST_PHASES))
    phase: str | None = None
    since_ns: int = 0
    death: Death | None = None

    def turn(self, phase: str | None, now_ns: int) -> None:
        """End the current phase, and begin another."""
        if self.phase == phase:
            return
        if self.phase is not None:
            self.phases.append(LifePhase(name=self.phase, start_ns=self.since_ns, end_ns=max(now_ns, self.since_ns)))
        self.phase, self.since_ns = phase, now_ns


class Chronicle:
    """Follows all engines. `tell` gets each story once, when it is over."""

    def __init__(self, tell: Callable[[EngineLife], None]) -> None:
        self._tell = tell
        self._stories: dict[str, _Story] = {}
        self._states: dict[str, tuple[int, State]] = {}
        self.lately: deque[EngineLife] = deque(maxlen=KEPT)
        """The last stories, the oldest first."""

    def died(self, engine_id: str, death: Death, last_sign_ns: int | None) -> None:
        """Note a death, before the state changes. A hang lasted since the last sign; an exit is seen as it happens."""
        story = self._stories.setdefault(engine_id, _Story())
        if not death.asked:
            since_ns = death.at_ns if last_sign_ns is None else min(last_sign_ns, death.at_ns)
            story.turn(names.DETECT, max(since_ns, story.since_ns))
        if story.death is None or story.death.asked:
            story.death = death

    def changed(self, engine_id: str, model: str, incarnation: int, state: State, now_ns: int) -> None:
        """Note a state; the same one again is no news."""
        if self._states.get(engine_id) == (incarnation, state):
            return
        self._states[engine_id] = (incarnation, state)
        story = self._stories.get(engine_id)
        if state in _ENDS:
            if story is not None:
                del self._stories[engine_id]
                story.turn(None, now_ns)
                self._told(engine_id, model, incarnation, state, story)
            return
        if story is None:
            story = self._stories[engine_id] = _Story()
        story.turn(_NAMES[state], now_ns)

    def _told(self, engine_id: str, model: str, incarnation: int, state: State, story: _Story) -> None:
        death = story.death
        life = EngineLife(
            engine_id=engine_id,
            model=model,
            incarnation=incarnation,
            cause=None if death is None else death.exit.cause,
            asked=death is not None and death.asked,
            message="" if death is None else death.exit.message,
            phases=tuple(story.phases),
            end=state,
        )
        self.lately.append(life)
        self._tell(life)
