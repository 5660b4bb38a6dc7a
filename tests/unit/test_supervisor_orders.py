"""Orders to the engines: drains that take too long, rolling restarts, faults, and what is refused."""

import asyncio
from types import ModuleType
from typing import Any

import msgspec
import pytest

from spillway.supervisor.engines import ALONE_DRAIN_S
from spillway.supervisor.lifecycle import State
from spillway.supervisor.run import Asked
from spillway_wire.plane import ExitCause, Order, OrderKind, OrderReply


def test_a_drain_that_takes_too_long_ends_by_force(fake_runs: ModuleType) -> None:
    pool = fake_runs.Pool().ready()
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
    pool = fake_runs.Pool().ready()
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
    pool = fake_runs.Pool().ready()
    pool.engines.restart("engine-0")
    pool.engines.places["engine-0"].end(Asked.STOP)  # the whole platform ends
    pool.time.pass_s(30.1)
    pool.run(0).end(-9)
    assert pool.states == ["stopped", "ready"]


def test_the_force_does_not_meet_the_next_incarnation(fake_runs: ModuleType) -> None:
    pool = fake_runs.Pool().ready()
    pool.engines.restart("engine-0")
    pool.run(0).end(0)
    pool.run(0).signs.ready()
    pool.engines.restart("engine-0")
    pool.time.pass_s(29.9)
    assert pool.run(0).asked == [Asked.DRAIN]


def test_a_rolling_restart_goes_on_when_the_one_before_is_ready(fake_runs: ModuleType) -> None:
    async def main() -> None:
        pool = fake_runs.Pool().ready()
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
        pool = fake_runs.Pool(engines=1, standby=standby).ready()
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
        pool = fake_runs.Pool().ready()
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
    pool = fake_runs.Pool().ready()
    assert pool.order(OrderKind.DRAIN_ENGINE, "engine-0").accepted
    assert pool.states == ["draining", "ready"]
    assert pool.order(OrderKind.RESTART_ENGINE, "engine-1").accepted
    assert pool.states == ["draining", "draining"]
    assert pool.order(OrderKind.SHUT_DOWN).accepted
    assert pool.logged[-1] == "asked"


@pytest.mark.parametrize("kind", [OrderKind.DRAIN_ENGINE, OrderKind.RESTART_ENGINE, OrderKind.INJECT])
def test_an_order_for_nobody_is_refused_with_the_names_there_are(fake_runs: ModuleType, kind: OrderKind) -> None:
    reply = fake_runs.Pool(chaos=True).ready().order(kind, "engine-7")
    assert (reply.accepted, reply.message) == (False, "there is no engine 'engine-7'; there are engine-0, engine-1")


def test_faults_are_refused_without_chaos(fake_runs: ModuleType) -> None:
    reply = fake_runs.Pool().ready().order(OrderKind.INJECT, "engine-0", fault="crash")
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
        pool = fake_runs.Pool(chaos=True).ready()
        replied: asyncio.Future[msgspec.Struct] = asyncio.get_running_loop().create_future()
        pool.orders.give(Order(token=1, kind=OrderKind.INJECT, target="engine-0", options=options), replied.set_result)
        reply = await replied
        assert isinstance(reply, OrderReply)
        assert not reply.accepted
        assert said in reply.message

    asyncio.run(main())


def test_one_rolling_restart_at_a_time(fake_runs: ModuleType) -> None:
    async def main() -> None:
        pool = fake_runs.Pool().ready()
        assert pool.order(OrderKind.ROLLING_RESTART).accepted
        assert not pool.order(OrderKind.ROLLING_RESTART).accepted
        pool.orders.close()

    asyncio.run(main())
