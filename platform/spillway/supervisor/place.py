"""A place: one process that is always wanted. It follows the table `lifecycle` by what its runs report.

All that happens comes in through a method and is over when that returns; there are no tasks here. Time, chance and
processes are passed in, so that a test drives a place through years in a second. ::

    a run ends, and ...
        nobody had asked                 declared dead at once; started again by the policy (see `restart`)
        it was asked to, for good        stays stopped, until `start` or `restart`
        it was asked to, for a restart   started again at once
"""

from collections import Counter
from dataclasses import dataclass
from typing import Protocol

from spillway.settings import RestartSettings
from spillway.supervisor import restart, watchdog
from spillway.supervisor.exits import Evidence, Exit, explain
from spillway.supervisor.lifecycle import ALIVE, LISTENING, STARTING, Event, State, allows, follow
from spillway.supervisor.run import Asked, Ended, Launch, Run
from spillway.supervisor.world import Timer, World
from spillway_wire.page import Aboard
from spillway_wire.plane import ExitCause


@dataclass(frozen=True, slots=True)
class LastExit:
    """How and when (time of day) the last process ended."""

    exit: Exit
    incarnation: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """The end of one incarnation, as it is told to others."""

    incarnation: int
    exit: Exit
    asked: bool
    aboard: tuple[Aboard, ...]
    """Sequences of the step that ran; empty if it ended between steps or was asked to."""
    at_ns: int


class Witness(Protocol):
    """Who is told what happens in a place."""

    def changed(self, place: "Place") -> None:
        """Its state is another now."""

    def loaded(self, place: "Place") -> bool:
        """It can take work: say whether it is to be in rotation."""

    def died(self, place: "Place", death: Death) -> bool:
        """An incarnation is dead; said once, before its state changes. Say whether the place is not to blame."""

    def delay(self, place: "Place", wait_s: float) -> float:
        """It would be started again after `wait_s`: say after how long it may."""


class Place:
    """See the module. `state` moves by the table alone."""

    def __init__(
        self,
        place_id: str,
        launch: Launch,
        *,
        policy: RestartSettings,
        world: World,
        witness: Witness,
        start_timeout_s: float | None = None,
    ) -> None:
        """`start_timeout_s` stands in for the policy's, which may change while everything runs."""
        self.id = place_id
        self._launch = launch
        self.policy = policy
        self._world = world
        self._witness = witness
        self._own_start_timeout_s = start_timeout_s
        self.state = State.STOPPED
        self.incarnation = 0
        self.run: Run | None = None
        self.progress = ""
        """What a starting one says of itself."""
        self.history = restart.History()
        self.restarts: Counter[ExitCause] = Counter()
        """How often it was started again, by the cause of the end before."""
        self.last_exit: LastExit | None = None
        self.failed_starts = 0
        """In a row."""
        self.ever_ready = False
        self._asked: Asked | None = None
        self._again = False
        """Whether a run that was asked to end is followed by another."""
        self._hung: str | None = None
        self._declared = False
        self._exempt = False
        self._spawned_ns = 0
        self._ready_ns: int | None = None
        self._timer: Timer | None = None

    def __repr__(self) -> str:
        return f"<Place {self.id}.{self.incarnation} {self.state}>"

    @property
    def pid(self) -> int | None:
        """Of the process, if there is one."""
        return None if self.run is None else self.run.pid

    # ---- orders ----

    def start(self) -> None:
        """Start a stopped one; a resting one is tried at once."""
        if self.state is State.STOPPED:
            self._spawn(Event.START)
        elif allows(self.state, Event.RETRY):
            self._spawn(Event.RETRY)

    def end(self, asked: Asked, *, again: bool = False) -> None:
        """Ask the run to end, and start another afterwards if `again`; without a run, do at once what follows."""
        if self.run is None:
            self._unschedule()
            if again:
                self.start()  # and nothing before: gateways must not hear that nobody comes, a moment before one does
            elif self.state is not State.STOPPED:
                self._move(Event.STOP)
            return
        self._again = again
        if self._asked is None or asked.value >= self._asked.value:
            self._asked = asked
            if allows(self.state, Event.DRAIN):
                self._move(Event.DRAIN)
            self.run.ask(asked)

    def hurry(self) -> None:
        """Kill a run that was asked to end and has not; what the last order wants after it still follows."""
        if self._asked is not None:
            self.end(Asked.KILL, again=self._again)

    def promote(self) -> None:
        """Put one on standby into rotation."""
        self._move(Event.PROMOTE)

    def forgive(self, since_ns: int) -> None:
        """Take back the deaths counted from then on; a parked one is tried at once."""
        was_parked = self.history.parked
        self.history = self.history.forgive(since_ns / 1e9)
        if was_parked and self.state is State.PARKED:
            self._spawn(Event.RETRY)

    def watch(self, now_ns: int) -> None:
        """Look whether the run hangs, and end it if it does."""
        if self.run is None or self.state is State.HUNG:
            return
        if self._ready_ns is None:
            own_s = self._own_start_timeout_s
            allowed_s = self.policy.start_timeout_s if own_s is None else own_s
            late = watchdog.late_start(self._spawned_ns, now_ns, allowed_s)
        else:
            late = self.run.late(now_ns)
        if late is not None:
            self._hang(late)

    def _hang(self, late: str) -> None:
        assert self.run is not None  # noqa: S101 - only a run hangs
        aboard = self.run.aboard()
        self.run.ask(Asked.KILL)  # it is fenced before anybody is told to take its work
        self._hung = late
        self._declare(explain(Evidence(status=0, was_ready=self._ready_ns is not None, hung=late)), aboard)
        self._move(Event.HANG)

    # ---- what a run reports ----

    def _moved(self, event: Event, detail: str) -> None:
        self.progress = detail
        if allows(self.state, event):
            self._move(event)
        elif self.state in STARTING:
            self._witness.changed(self)

    def _ready(self) -> None:
        if self.state not in STARTING:
            return  # asked to end, or hung, in the meantime
        self._ready_ns = self._world.clock_ns()
        self.progress = ""
        self.failed_starts = 0
        self.ever_ready = True
        self._move(Event.SERVE if self._witness.loaded(self) else Event.HOLD)

    def _ended(self, ended: Ended) -> None:
        run, self.run = self.run, None
        asked = self._asked is not None
        was_ready = self._ready_ns is not None
        evidence = Evidence(
            status=ended.status,
            was_ready=was_ready,
            asked=asked,
            hung=self._hung,
            words=ended.words,
            last_error=ended.last_error,
            kernel_kills=ended.kernel_kills,
            killed=self._asked is Asked.KILL,
        )
        cause = explain(evidence)
        exempt = self._declare(cause, () if cause.cause is ExitCause.CLEAN else ended.aboard)
        if run is not None:
            run.close()
        if not was_ready and not asked:
            self.failed_starts += 1
        if asked:
            self._end_asked(cause)
        else:
            self._end_unasked(cause, served=ended.served, exempt=exempt)

    def _end_asked(self, cause: Exit) -> None:
        again, self._again, self._asked = self._again, False, None
        self._transit(Event.STOP)
        if again:
            self.restarts[cause.cause] += 1
            self._spawn(Event.START)
        else:
            self._witness.changed(self)

    def _end_unasked(self, cause: Exit, *, served: bool, exempt: bool) -> None:
        now_ns = self._world.clock_ns()
        self._transit(Event.DIE)
        death = restart.Death(
            at=now_ns / 1e9,
            ready_s=None if self._ready_ns is None else (now_ns - self._ready_ns) / 1e9,
            served=served,
            exempt=exempt,
        )
        verdict = restart.decide(self.policy, self.history, death, self._world.uniform)
        self.history = verdict.history
        self.restarts[cause.cause] += 1
        self._transit(Event.PARK if verdict.parked else Event.WAIT)
        self._timer = self._world.call_later(self._witness.delay(self, verdict.wait_s), self._retry)
        self._witness.changed(self)

    def _declare(self, cause: Exit, aboard: tuple[Aboard, ...]) -> bool:
        """Tell of a death, once for each incarnation; return whether it is not this place's fault."""
        if self._declared:
            return self._exempt
        self._declared = True
        self.last_exit = LastExit(cause, self.incarnation, self._world.wall_s())
        asked = self._asked is not None
        death = Death(
            incarnation=self.incarnation, exit=cause, asked=asked, aboard=aboard, at_ns=self._world.clock_ns()
        )
        self._exempt = self._witness.died(self, death)
        return self._exempt

    # ---- moving ----

    def _retry(self) -> None:
        self._timer = None
        self._spawn(Event.RETRY)

    def _spawn(self, event: Event) -> None:
        self._unschedule()
        self.incarnation += 1
        self._asked, self._hung, self._ready_ns = None, None, None
        self._declared = self._exempt = False
        self.progress = ""
        self._spawned_ns = self._world.clock_ns()
        self._transit(event)
        try:
            self.run = self._launch(self.incarnation, _Signs(self))
        except Exception as error:  # noqa: BLE001 - whatever it was: nobody else would ever start this place again
            self._ended(Ended(status=127, last_error=f"{type(error).__name__}: {error}"))
            return
        self._witness.changed(self)

    def _unschedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _move(self, event: Event) -> None:
        self._transit(event)
        self._witness.changed(self)

    def _transit(self, event: Event) -> None:
        self.state = follow(self.state, event)

    def check_integrity(self) -> None:
        """Raise AssertionError if state, run and timer do not fit together."""
        assert (self.run is not None) == (self.state in ALIVE), self  # noqa: S101
        assert (self._timer is not None) == (self.state in (State.BACKOFF, State.PARKED)), self  # noqa: S101
        assert self.state not in LISTENING - {State.DRAINING} or self._ready_ns is not None, self  # noqa: S101
        assert (self._hung is not None) == (self.state is State.HUNG) or self.run is None, self  # noqa: S101


class _Signs:
    """The ear of a place for one incarnation; deaf after its end."""

    def __init__(self, place: Place) -> None:
        self._place, self._incarnation = place, place.incarnation
        self._over = False

    @property
    def _is_heard(self) -> bool:
        return not self._over and self._place.incarnation == self._incarnation

    def moved(self, event: Event, detail: str = "") -> None:
        if self._is_heard:
            self._place._moved(event, detail)  # noqa: SLF001 - its other half

    def ready(self) -> None:
        if self._is_heard:
            self._place._ready()  # noqa: SLF001 - its other half

    def ended(self, ended: Ended) -> None:
        if self._is_heard:
            self._over = True
            self._place._ended(ended)  # noqa: SLF001 - its other half
