"""All engine places together: rotation and standby, the order of what gateways hear, shared fate, and orders."""

import asyncio
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from spillway.runtime import RuntimeFolder
from spillway.settings import DrainSettings, ModelSettings, RestartSettings, Settings
from spillway.supervisor.devices import Machine
from spillway.supervisor.engine_run import EngineSpec
from spillway.supervisor.engines import ALONE_DRAIN_S, Engines
from spillway.supervisor.lifecycle import Event, State
from spillway.supervisor.orders import Orders
from spillway.supervisor.place import Place
from spillway.supervisor.plan import plan
from spillway.supervisor.run import Asked, Run, Signs
from spillway_wire.plane import EngineDied, ExitCause, Membership, Order, OrderKind, OrderReply

POISON = (("gateway-0", "poison", 1, 0),)


class Pool:
    """Engines on paper, and everything that was published."""

    def __init__(self, fakes: ModuleType, *, engines: int = 2, standby: int = 0, chaos: bool = False) -> None:
        settings = Settings(
            models=(ModelSettings(name="demo", model="demo"),),
            engines=engines,
            standby=standby,
            chaos=chaos,
            drain=DrainSettings(timeout_s=30),
            restart=RestartSettings(),
        )
        self.time = fakes.FakeTime()
        self.launches = {f"engine-{number}": fakes.FakeLaunch() for number in range(engines + standby)}
        self.published: list[Any] = []
        self.logged: list[str] = []
        self.waiting: list[asyncio.Future[None]] = []
        self.engines = Engines(
            plan(settings, {"demo": Path("/models/demo")}, Machine(2)),
            settings,
            RuntimeFolder(Path("/run/s")),
            launch=self._launch,
            world=self.time.world(),
            publish=self.published.append,
            notify=self._notify,
            log=lambda event, **_: self.logged.append(event),
        )
        self.orders = Orders(self.engines, chaos=chaos, shut_down=lambda: self.logged.append("asked"), moved=self.moved)

    def _launch(self, spec: EngineSpec, incarnation: int, signs: Signs) -> Run:
        run: Run = self.launches[spec.engine_id](incarnation, signs)
        return run

    def _notify(self, _: Place) -> None:
        for future in self.waiting:
            if not future.done():
                future.set_result(None)

    def moved(self) -> "asyncio.Future[None]":
        self.waiting.append(asyncio.get_running_loop().create_future())
        return self.waiting[-1]

    def run(self, number: int) -> Any:
        return self.launches[f"engine-{number}"].last

    def ready(self) -> "Pool":
        self.engines.start()
        for number in range(len(self.launches)):
            self.run(number).signs.ready()
        self.published.clear()
        return self

    @property
    def states(self) -> list[str]:
        return [place.state.value for place in self.engines.places.values()]

    def order(self, kind: OrderKind, target: str = "", **options: Any) -> OrderReply:
        replies: list[Any] = []
        self.orders.give(Order(token=7, kind=kind, target=target, options=options), replies.append)
        (reply,) = replies
        assert isinstance(reply, OrderReply)
        assert reply.token == 7
        return reply


def shown(membership: Membership) -> list[tuple[str, int, str]]:
    return [(member.engine_id, member.incarnation, member.status.value) for member in membership.members]


def test_a_death_is_told_before_the_membership_that_shows_it(fake_runs: ModuleType) -> None:
    pool = Pool(fake_runs).ready()
    version = pool.engines.membership.version
    pool.run(0).step = POISON
    pool.run(0).end(-9)
    died, membership = pool.published
    assert isinstance(died, EngineDied)
    assert (died.engine_id, died.incarnation, died.cause, died.aboard) == ("engine-0", 1, ExitCause.SIGNAL, POISON)
    assert died.detected_ns == pool.time.now_ns
    assert shown(membership) == [("engine-0", 1, "backoff"), ("engine-1", 1, "ready")]
    assert membership.version == version + 1


def test_members_have_an_address_of_their_incarnation(fake_runs: ModuleType) -> None:
    pool = Pool(fake_runs).ready()
    pool.run(1).end(-9)
    pool.time.pass_s(1)
    assert [member.address for member in pool.engines.membership.members] == [
        "unix:/run/s/engine-0.1.sock",
        "unix:/run/s/engine-1.2.sock",
    ]


def test_what_changes_nothing_for_gateways_is_not_told_to_them(fake_runs: ModuleType) -> None:
    pool = Pool(fake_runs)
    pool.engines.start()
    pool.run(0).signs.moved(Event.LOAD, "weights 10%")
    before = len(pool.published)
    pool.run(0).signs.moved(Event.LOAD, "weights 20%")
    assert len(pool.published) == before


def test_the_last_to_load_stands_by_and_takes_over_in_the_same_breath(fake_runs: ModuleType) -> None:
    pool = Pool(fake_runs, engines=2, standby=1).ready()
    assert pool.states == ["ready", "ready", "standby"]
    pool.run(0).end(-9)
    died, membership = pool.published
    assert isinstance(died, EngineDied)
    assert shown(membership) == [("engine-0", 1, "backoff"), ("engine-1", 1, "ready"), ("engine-2", 1, "ready")]
    pool.time.pass_s(1)
    pool.run(0).signs.ready()
    assert pool.states == ["standby", "ready", "ready"]


def test_a_draining_engine_is_replaced_by_the_standby(fake_runs: ModuleType) -> None:
    pool = Pool(fake_runs, engines=1, standby=1).ready()
    pool.engines.restart("engine-0")
    assert pool.states == ["draining", "ready"]


def test_a_restart_of_one_that_waits_for_its_turn_never_says_that_nobody_comes(fake_runs: ModuleType) -> None:
    pool = Pool(fake_runs, engines=1).ready()
    pool.run(0).end(-9)
    pool.published.clear()
    pool.engines.restart("engine-0")
    (told,) = pool.published  # gateways would end all that waits for a model without hope
    assert shown(told) == [("engine-0", 2, "spawning")]
    assert not told.models[0].hopeless


def test_a_parked_engine_is_told_with_when_it_is_tried_again(fake_runs: ModuleType) -> None:
    pool = Pool(fake_runs, engines=1)
    pool.engines.start()
    for _ in range(6):
        pool.run(0).end(1)
        if pool.engines.places["engine-0"].state is State.BACKOFF:
            pool.time.pass_s(pool.time.next_due_s)
    (model,) = pool.engines.membership.models
    assert (pool.states, model.hopeless, model.retry_s) == (["parked"], True, 60.0)
    pool.engines.drain("engine-0")
    (model,) = pool.engines.membership.models
    assert (pool.states, model.hopeless, model.retry_s) == (["stopped"], True, None)


def test_a_model_without_hope_says_so(fake_runs: ModuleType) -> None:
    pool = Pool(fake_runs, engines=2).ready()
    assert not pool.engines.membership.models[0].hopeless
    pool.engines.drain("engine-0")
    pool.run(0).end(0)
    assert not pool.engines.membership.models[0].hopeless
    pool.engines.drain("engine-1")
    pool.run(1).end(0)
    assert pool.engines.membership.models[0].hopeless


def test_a_request_that_kills_engine_after_engine_parks_none(fake_runs: ModuleType) -> None:
    pool = Pool(fake_runs).ready()
    for number in (0, 1) * 10:
        pool.run(number).step = POISON
        pool.run(number).end(-9)
        assert pool.engines.places[f"engine-{number}"].state is State.BACKOFF
        pool.time.pass_s(3)
        pool.run(number).signs.ready()
    assert pool.engines.places["engine-1"].history.deaths == ()
    assert len(pool.engines.places["engine-0"].history.deaths) == 1


def test_engines_that_die_together_are_forgiven_together(fake_runs: ModuleType) -> None:
    pool = Pool(fake_runs).ready()
    pool.run(0).step = pool.run(1).step = POISON
    pool.run(0).end(-9)
    assert len(pool.engines.places["engine-0"].history.deaths) == 1
    pool.time.pass_s(0.05)
    pool.run(1).end(-9)
    assert [place.history.deaths for place in pool.engines.places.values()] == [(), ()]
    kinds = [type(message).__name__ for message in pool.published]
    assert kinds == ["EngineDied", "Membership", "EngineDied", "Membership"]


def test_a_drain_that_takes_too_long_ends_by_force(fake_runs: ModuleType) -> None:
    pool = Pool(fake_runs).ready()
    pool.engines.restart("engine-0")
    pool.time.pass_s(29.9)
    assert pool.run(0).asked == [Asked.DRAIN]
    pool.time.pass_s(0.2)
    assert pool.run(0).asked == [Asked.DRAIN, Asked.KILL]
    pool.run(0).end(-9)
    assert pool.published[-2].cause is ExitCause.CLEAN
    assert pool.states == ["spawning", "ready"]


@pytest.mark.parametrize("again", [False, True])
def test_the_last_order_decides_what_follows_a_drain_that_takes_too_long(fake_runs: ModuleType, *, again: bool) -> None:
    pool = Pool(fake_runs).ready()
    orders = [pool.engines.restart, pool.engines.drain]
    for order in orders[:: -1 if again else 1]:
        order("engine-0")
        pool.time.pass_s(20)
    assert Asked.KILL not in pool.run(0).asked  # each order has its own patience
    pool.time.pass_s(10.1)
    assert pool.run(0).asked[-1] is Asked.KILL
    pool.run(0).end(-9)
    assert pool.states == ["spawning" if again else "stopped", "ready"]


def test_force_does_not_undo_an_order_to_stop_for_good(fake_runs: ModuleType) -> None:
    pool = Pool(fake_runs).ready()
    pool.engines.restart("engine-0")
    pool.engines.places["engine-0"].end(Asked.STOP)  # the whole platform ends
    pool.time.pass_s(30.1)
    pool.run(0).end(-9)
    assert pool.states == ["stopped", "ready"]


def test_the_force_does_not_meet_the_next_incarnation(fake_runs: ModuleType) -> None:
    pool = Pool(fake_runs).ready()
    pool.engines.restart("engine-0")
    pool.run(0).end(0)
    pool.run(0).signs.ready()
    pool.engines.restart("engine-0")
    pool.time.pass_s(29.9)
    assert pool.run(0).asked == [Asked.DRAIN]


def test_a_rolling_restart_goes_on_when_the_one_before_is_ready(fake_runs: ModuleType) -> None:
    async def main() -> None:
        pool = Pool(fake_runs).ready()
        rolling = asyncio.create_task(pool.engines.roll(pool.moved))
        await asyncio.sleep(0)
        assert pool.states == ["draining", "ready"]
        pool.run(0).end(0)
        await asyncio.sleep(0)
        assert pool.states == ["spawning", "ready"]
        pool.run(0).end(-9)  # it may need more than one try
        pool.time.pass_s(1)
        await asyncio.sleep(0)
        assert pool.states == ["spawning", "ready"]
        pool.run(0).signs.ready()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert pool.states == ["ready", "draining"]
        pool.run(1).end(0)
        pool.run(1).signs.ready()
        await rolling
        assert pool.states == ["ready", "ready"]
        assert pool.logged[-1] == "rolling_restart_done"

    asyncio.run(main())


@pytest.mark.parametrize(("standby", "patience_s"), [(0, ALONE_DRAIN_S), (1, 30.0)])
def test_a_rolling_restart_does_not_leave_a_model_without_an_engine_for_long(
    fake_runs: ModuleType, standby: int, patience_s: float
) -> None:
    async def main() -> None:
        pool = Pool(fake_runs, engines=1, standby=standby).ready()
        pool.order(OrderKind.ROLLING_RESTART)
        await asyncio.sleep(0)
        pool.time.pass_s(patience_s - 0.1)
        assert pool.run(0).asked == [Asked.DRAIN]
        pool.time.pass_s(0.2)
        assert pool.run(0).asked == [Asked.DRAIN, Asked.KILL]
        pool.run(0).end(-9)
        assert pool.states[0] == "spawning"
        pool.orders.close()

    asyncio.run(main())


def test_a_rolling_restart_stops_at_an_engine_that_does_not_come_back(fake_runs: ModuleType) -> None:
    async def main() -> None:
        pool = Pool(fake_runs).ready()
        rolling = asyncio.create_task(pool.engines.roll(pool.moved))
        await asyncio.sleep(0)
        pool.run(0).end(0)
        for _ in range(6):
            pool.run(0).end(1)
            if pool.engines.places["engine-0"].state is State.BACKOFF:
                pool.time.pass_s(pool.time.next_due_s)
        await rolling
        assert pool.states == ["parked", "ready"]
        assert pool.logged[-1] == "rolling_restart_stopped"

    asyncio.run(main())


def test_orders_are_answered_when_they_are_begun(fake_runs: ModuleType) -> None:
    pool = Pool(fake_runs).ready()
    assert pool.order(OrderKind.DRAIN_ENGINE, "engine-0").accepted
    assert pool.states == ["draining", "ready"]
    assert pool.order(OrderKind.RESTART_ENGINE, "engine-1").accepted
    assert pool.states == ["draining", "draining"]
    assert pool.order(OrderKind.SHUT_DOWN).accepted
    assert pool.logged[-1] == "asked"


@pytest.mark.parametrize("kind", [OrderKind.DRAIN_ENGINE, OrderKind.RESTART_ENGINE, OrderKind.INJECT])
def test_an_order_for_nobody_is_refused_with_the_names_there_are(fake_runs: ModuleType, kind: OrderKind) -> None:
    reply = Pool(fake_runs, chaos=True).ready().order(kind, "engine-7")
    assert (reply.accepted, reply.message) == (False, "there is no engine 'engine-7'; there are engine-0, engine-1")


def test_faults_are_refused_without_chaos(fake_runs: ModuleType) -> None:
    reply = Pool(fake_runs).ready().order(OrderKind.INJECT, "engine-0", fault="crash")
    assert not reply.accepted
    assert "--chaos" in reply.message


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "fault"),
        ({"fault": "crash", "when": 3}, "when"),
        ({"fault": 3}, "fault"),
        ({"fault": "crash"}, "has no process that can be told"),
    ],
)
def test_a_fault_that_cannot_be_armed_says_why(fake_runs: ModuleType, options: dict[str, Any], said: str) -> None:
    async def main() -> None:
        pool = Pool(fake_runs, chaos=True).ready()
        replied: asyncio.Future[msgspec.Struct] = asyncio.get_running_loop().create_future()
        pool.orders.give(Order(token=1, kind=OrderKind.INJECT, target="engine-0", options=options), replied.set_result)
        reply = await replied
        assert isinstance(reply, OrderReply)
        assert not reply.accepted
        assert said in reply.message

    asyncio.run(main())


def test_one_rolling_restart_at_a_time(fake_runs: ModuleType) -> None:
    async def main() -> None:
        pool = Pool(fake_runs).ready()
        assert pool.order(OrderKind.ROLLING_RESTART).accepted
        assert not pool.order(OrderKind.ROLLING_RESTART).accepted
        pool.orders.close()

    asyncio.run(main())
