"""All engine places: who of them is in rotation, what gateways are told of it, and the orders that concern them.

An engine that can take work goes into rotation if its model lacks one there, else on standby; so a standby takes over
at once, and the one it replaced comes back as the next standby. A death is told before the membership that shows it.
"""

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from spillway.runtime import RuntimeFolder
from spillway.settings import Settings
from spillway.supervisor.blame import TOGETHER_S, Blame, EngineDeath
from spillway.supervisor.chronicle import Chronicle, Watched
from spillway.supervisor.engine_run import EngineRun, EngineSpec
from spillway.supervisor.lifecycle import State
from spillway.supervisor.membership import Seat, membership, to_promote
from spillway.supervisor.place import Death, Place
from spillway.supervisor.plan import ModelPlan
from spillway.supervisor.restart import PoolIntensity
from spillway.supervisor.run import Asked, Run, Signs
from spillway.supervisor.world import Timer, World
from spillway_wire.messages import Inject, Injected
from spillway_wire.plane import EngineDied, ExitCause, Membership

ALONE_DRAIN_S = 1.0
"""How long an engine may finish its work in a rolling restart if its model has no other.

New requests meet no engine from then on, so it must not take long; those that it has lose nothing: they go on, token
for token, on its next incarnation."""
_NOBODY: tuple[frozenset[str], int] = (frozenset(), 0)
LaunchEngine = Callable[[EngineSpec, int, Signs], Run]


class Engines:
    """The witness of all engine places."""

    def __init__(
        self,
        models: Sequence[ModelPlan],
        settings: Settings,
        runtime: RuntimeFolder,
        *,
        launch: LaunchEngine,
        world: World,
        publish: Callable[[msgspec.Struct], None],
        notify: Callable[[Place], None],
        log: Callable[..., None],
    ) -> None:
        """`publish` tells all children; `notify` is called after every change of a place."""
        self.models = tuple(models)
        self._settings, self._runtime, self._world = settings, runtime, world
        self._publish, self._notify, self._log = publish, notify, log
        self._intensity = PoolIntensity(settings.restart)
        self._blame = Blame()
        self.chronicle = Chronicle(publish)
        self._hurries: dict[str, Timer] = {}
        """Of the last order to each engine to drain."""
        self._to_forgive = _NOBODY
        """Engines whose deaths since then were no fault of theirs; done when the last of them is seen as dead."""
        self.specs = {spec.engine_id: spec for model in models for spec in model.engines}
        self.places = {
            spec.engine_id: Place(
                spec.engine_id,
                _bind(launch, spec),
                policy=settings.restart,
                world=world,
                witness=self,
            )
            for spec in self.specs.values()
        }
        self.membership = self._described(1)

    def start(self) -> None:
        """Start all at once."""
        for place in self.places.values():
            place.start()

    def apply(self, settings: Settings) -> None:
        """Take over other settings for what is still to come."""
        self._settings = settings
        self._intensity.policy = settings.restart
        for place in self.places.values():
            place.policy = settings.restart

    def watch(self, now_ns: int) -> None:
        """End those that hang."""
        for place in self.places.values():
            place.watch(now_ns)

    def _seats(self) -> list[Seat]:
        return [
            Seat(place.id, self.specs[place.id].model, place.incarnation, place.state) for place in self.places.values()
        ]

    def _described(self, version: int) -> Membership:
        return membership(
            version,
            self._seats(),
            self.models,
            self._runtime,
            retry_parked_s=self._settings.restart.retry_parked_s,
        )

    def num_ready(self, model: ModelPlan) -> int:
        """Engines of a model in rotation."""
        return sum(self.places[spec.engine_id].state is State.READY for spec in model.engines)

    # ---- what places tell (see `place.Witness`) ----

    def changed(self, place: Place) -> None:
        """Fill what the change left vacant, then tell everybody."""
        (innocent, since_ns), self._to_forgive = self._to_forgive, _NOBODY
        for engine_id in innocent:
            self.places[engine_id].forgive(since_ns)
        for model in self.models:
            for engine_id in to_promote(model, self._seats()):
                self._log("promoted", engine=engine_id, model=model.name)
                self.places[engine_id].promote()  # comes back here, and goes on from what is true then
                return self.changed(place)
        fresh = self._described(self.membership.version + 1)
        if (fresh.members, fresh.models) != (self.membership.members, self.membership.models):
            self.membership = fresh
            self._publish(fresh)
        self.chronicle.changed(
            place.id, self.specs[place.id].model, place.incarnation, place.state, self._world.clock_ns()
        )
        self._notify(place)
        return None

    def loaded(self, place: Place) -> bool:
        """Whether the model lacks an engine in rotation."""
        model = self._model_of(place)
        return self.num_ready(model) < model.num_active

    def died(self, place: Place, death: Death) -> bool:
        """Tell of a death, and find out whether a request is to blame."""
        run: object = place.run  # of one that hangs; of one that ended it is gone already
        self.chronicle.died(place.id, death, run.last_sign_ns() if isinstance(run, Watched) else None)
        self._publish(
            EngineDied(
                engine_id=place.id,
                incarnation=death.incarnation,
                cause=death.exit.cause,
                message=death.exit.message,
                aboard=death.aboard,
                detected_ns=death.at_ns,
            )
        )
        self._log(
            "engine_ended",
            engine=place.id,
            incarnation=death.incarnation,
            cause=death.exit.cause,
            message=death.exit.message,
            asked=death.asked,
            aboard=len(death.aboard),
        )
        if death.asked or death.exit.cause is ExitCause.CLEAN:
            return False
        witness = EngineDeath(
            at=death.at_ns / 1e9, engine_id=place.id, model=self.specs[place.id].model, aboard=death.aboard
        )
        innocent = self._blame.add(witness, self._model_of(place).num_active)
        self._to_forgive = (innocent - {place.id}, death.at_ns - int(TOGETHER_S * 1e9))
        return place.id in innocent

    def delay(self, place: Place, wait_s: float) -> float:
        """Spread the restarts of the pool."""
        allowed_s = self._intensity.book(self._world.clock_ns() / 1e9, wait_s)
        self._log("restart_in", engine=place.id, state=place.state, seconds=round(allowed_s, 3))
        return allowed_s

    def _model_of(self, place: Place) -> ModelPlan:
        name = self.specs[place.id].model
        return next(model for model in self.models if model.name == name)

    # ---- orders ----

    def drain(self, engine_id: str) -> None:
        """Let an engine finish, then stay stopped."""
        self._end(engine_id, again=False, patience_s=self._settings.drain.timeout_s)

    def restart(self, engine_id: str) -> None:
        """Let an engine finish, then start it anew; without a process, at once."""
        self._end(engine_id, again=True, patience_s=self._settings.drain.timeout_s)

    def _end(self, engine_id: str, *, again: bool, patience_s: float) -> None:
        place = self.places[engine_id]
        earlier = self._hurries.pop(engine_id, None)
        if earlier is not None:
            earlier.cancel()
        place.end(Asked.DRAIN, again=again)
        if place.state is not State.DRAINING:
            return
        incarnation = place.incarnation

        def hurry() -> None:
            # What is left goes on elsewhere: its engine's death says so to gateways. An order to stop would end it.
            if place.incarnation == incarnation and place.state is State.DRAINING:
                self._log("drain_timeout", engine=engine_id, incarnation=incarnation)
                place.hurry()

        self._hurries[engine_id] = self._world.call_later(patience_s, hurry)

    async def roll(self, moved: Callable[[], Awaitable[None]]) -> None:
        """Restart the engines that can take work one after another; stop at one that does not come back.

        `moved` waits for the next change of any place. See `ALONE_DRAIN_S` for a model with one engine.
        """
        self._log("rolling_restart", engines=len(self.places))
        for place in [place for place in self.places.values() if place.state in (State.READY, State.STANDBY)]:
            incarnation = place.incarnation
            patience_s = self._settings.drain.timeout_s
            if self._is_alone(place):
                patience_s = min(patience_s, ALONE_DRAIN_S)
            self._end(place.id, again=True, patience_s=patience_s)
            while place.incarnation == incarnation or place.state not in (State.READY, State.STANDBY):
                if place.state in (State.PARKED, State.STOPPED):
                    self._log("rolling_restart_stopped", engine=place.id, state=place.state)
                    return
                await moved()
        self._log("rolling_restart_done")

    def _is_alone(self, place: Place) -> bool:
        """Whether no other engine of its model could take work in its stead."""
        siblings = [self.places[spec.engine_id] for spec in self._model_of(place).engines]
        return not any(other.state in (State.READY, State.STANDBY) for other in siblings if other is not place)

    async def inject(self, engine_id: str, message: Inject) -> Injected:
        """Arm a fault in an engine. Raises ConnectionError if it cannot be reached."""
        run = self.places[engine_id].run
        if not isinstance(run, EngineRun):
            raise ConnectionError(f"{engine_id} has no process that can be told")
        return await run.inject(message)


def _bind(launch: LaunchEngine, spec: EngineSpec) -> Callable[[int, Signs], Run]:
    return lambda incarnation, signs: launch(spec, incarnation, signs)
