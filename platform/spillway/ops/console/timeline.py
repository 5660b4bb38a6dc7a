"""What happened, the latest last: told by the supervisor as it happens, and seen in its status.

A death is told at once, the return with its phases when it is over. What ops was told again when it connected (it was
started anew, the engines were not) is put where it belongs in time. Gateways and Redis are not told of: their ends are
seen in the next status that somebody looks at, with the time at which they were.
"""

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from spillway.ops.console.facts import Happening
from spillway_wire.plane import EngineDied, EngineLife, EngineStatus, ExitCause, FromSupervisor, Phase, PhaseKind

KEPT: Final = 200
_BACK: Final = frozenset({EngineStatus.READY, EngineStatus.STANDBY})
_SERVICES: Final = ("gateways", "redis", "ops")


class Timeline:
    """The last `KEPT` happenings. `number` is that of the latest."""

    def __init__(
        self, *, wall: Callable[[], float] = time.time, clock_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._wall, self._clock_ns = wall, clock_ns
        self._ids = itertools.count(1)
        self._kept: deque[Happening] = deque(maxlen=KEPT)
        self._deaths: dict[str, int] = {}
        """When engines were last told to have died, CLOCK_MONOTONIC."""
        self._told: deque[tuple[str, int, int]] = deque(maxlen=KEPT)
        """Stories that are known."""
        self._phase: PhaseKind | None = None
        self._exits: dict[str, tuple[int, float]] = {}
        self._levels: dict[str, int] = {}
        self._silent = False
        self.number = 0

    def since(self, number: int) -> tuple[Happening, ...]:
        """Return what was noted after the happening of that number, as far as it is kept, in the order of time."""
        return tuple(sorted((one for one in self._kept if one.id > number), key=lambda one: (one.at, one.id)))

    def note(
        self,
        kind: str,
        text: str,
        *,
        tone: str = "plain",
        subject: str = "",
        at: float | None = None,
        phases: Iterable[tuple[str, float]] = (),
    ) -> None:
        """Note something; without `at`, it happens now."""
        self.number = next(self._ids)
        when = self._wall() if at is None else at
        self._kept.append(
            Happening(id=self.number, at=when, kind=kind, tone=tone, subject=subject, text=text, phases=tuple(phases))
        )

    # ---- what is told ----

    def received(self, message: FromSupervisor) -> None:
        """Take what the supervisor says; most of it is nothing for this."""
        if isinstance(message, EngineDied):
            self._deaths[message.engine_id] = message.detected_ns
            self._died(message.engine_id, message.incarnation, message.cause, message.message, message.detected_ns)
        elif isinstance(message, EngineLife):
            self._lived(message)
        elif isinstance(message, Phase):
            before, self._phase = self._phase, message.kind
            if before is not None and before is not message.kind:
                self.note("phase", f"the platform is {message.kind.value}", tone="warn")

    def _unix(self, at_ns: int) -> float:
        return self._wall() - (self._clock_ns() - at_ns) / 1e9

    def _died(self, engine_id: str, incarnation: int, cause: ExitCause, message: str, at_ns: int) -> None:
        bad = cause is not ExitCause.CLEAN
        self.note(
            "died" if bad else "stopped",
            f"{cause.value.replace('_', ' ')}: {message}" if bad else message or "ended as it was asked to",
            tone="bad" if bad else "plain",
            subject=f"{engine_id} #{incarnation}",
            at=self._unix(at_ns),
        )

    def _lived(self, life: EngineLife) -> None:
        began_ns = life.phases[0].start_ns if life.phases else self._clock_ns()
        key = (life.engine_id, life.incarnation, began_ns)
        if key in self._told:
            return
        self._told.append(key)
        ended_ns = life.phases[-1].end_ns if life.phases else began_ns
        if life.cause is not None and not life.asked and self._deaths.get(life.engine_id, -1) < began_ns:
            self._died(life.engine_id, life.incarnation - 1, life.cause, life.message, began_ns)
        took_s = (ended_ns - began_ns) / 1e9
        if life.end in _BACK:
            kind, tone, text = _came_back(life, took_s)
        elif life.end is EngineStatus.PARKED:
            kind, tone, text = "parked", "bad", "parked after too many restarts: it is tried again now and then"
        else:
            kind, tone, text = "stopped", "plain", "stopped, until it is restarted"
        self.note(
            kind,
            text,
            tone=tone,
            subject=f"{life.engine_id} #{life.incarnation}",
            at=self._unix(ended_ns),
            phases=_merged((phase.name, (phase.end_ns - phase.start_ns) / 1e9) for phase in life.phases),
        )

    # ---- what is seen ----

    def looked(self, status: Mapping[str, Any]) -> None:
        """Note what a status tells that nobody told."""
        if self._silent:
            self._silent = False
            self.note("silence", "the supervisor answers again", tone="good")
        for child in _services(status):
            self._exited(child)

    def silence(self, problem: str) -> None:
        """Note that the supervisor does not answer; once."""
        if not self._silent:
            self._silent = True
            self.note("silence", problem, tone="bad")

    def brownout(self, model: str, level: int, ladder: tuple[str, ...]) -> None:
        """Note a change of the level."""
        before = self._levels.get(model, 0)
        self._levels[model] = level
        if level != before:
            step = ladder[level - 1] if 0 < level <= len(ladder) else ""
            text = f"brownout level {level}" + (f" ({step})" if step else "")
            self.note("brownout", text, tone="warn" if level > before else "good", subject=model)

    def _exited(self, child: Mapping[str, Any]) -> None:
        last: Mapping[str, Any] | None = child.get("last_exit")
        if last is None:
            return
        key = (int(last.get("incarnation", 0)), float(last.get("at", 0.0)))
        if self._exits.get(str(child["id"])) == key:
            return
        self._exits[str(child["id"])] = key
        bad = last.get("cause") != ExitCause.CLEAN
        self.note(
            "died" if bad else "stopped",
            f"{str(last.get('cause', '')).replace('_', ' ')}: {last.get('message', '')}",
            tone="bad" if bad else "plain",
            subject=f"{child['id']} #{last.get('incarnation', '?')}",
            at=key[1],
        )


def _services(status: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    for name in _SERVICES:
        found = status.get(name) or ()
        for child in [found] if isinstance(found, Mapping) else found:
            if "id" in child:
                yield child


def _came_back(life: EngineLife, took_s: float) -> tuple[str, str, str]:
    on_standby = " on standby" if life.end is EngineStatus.STANDBY else ""
    if life.cause is None:
        return "started", "good", f"ready{on_standby} {took_s:.2f} s after its start"
    if life.asked:
        return "returned", "good", f"ready{on_standby} again, {took_s:.2f} s after it was asked to restart"
    return "returned", "good", f"ready{on_standby} again, {took_s:.2f} s after it died"


def _merged(phases: Iterable[tuple[str, float]]) -> Iterable[tuple[str, float]]:
    """Add up phases of the same name: a start that failed has some of its own."""
    found: dict[str, float] = {}
    for name, seconds in phases:
        found[name] = found.get(name, 0.0) + seconds
    return tuple(found.items())
