"""A request that ends in the pool while it waits to run alone, or does: whoever runs alone next is not kept waiting.

The first of two suspects holds the one place in the pool. Its end frees the place, wherever it ends; the end of one
that only waits frees nothing.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from spillway.pool.lifecycle import State
from spillway_wire.messages import Abort
from spillway_wire.outcomes import Outcome

Way = Callable[[Any, Any], Outcome]


@pytest.fixture
def world(pool_world: ModuleType) -> Any:
    return pool_world.World()


def suspects(world: Any, number: int, leaving: int) -> list[Any]:
    """Requests that have to run alone, in the order in which they will; the one that is to leave has a deadline."""
    readers = [
        world.submit([n + 1], deadline=world.now + 1 if n == leaving else None, max_tokens=9) for n in range(number)
    ]
    for _ in range(2):
        world.crash("e0", *readers)
    assert all(reader.entry.alone for reader in readers)
    return readers


def test_waiting_to_run_alone_behind_another(world: Any, pool_checks: ModuleType, pool_ending: Way) -> None:
    first, leaving, other = suspects(world, 3, leaving=1)
    engine, idle = world.start("e1"), world.start("e2")
    engine, idle = (engine, idle) if first.ticket.engine_ids[-1] == "e1" else (idle, engine)
    assert world.core.snapshot().alone == first.name
    num_sent = len(pool_checks.submits(world, leaving))

    pool_checks.is_gone(world, leaving, pool_ending(world, leaving))
    assert world.core.snapshot().alone == first.name
    assert other.entry.state is State.RECOVERING
    pool_checks.is_served(world, first, engine)
    assert pool_checks.submits(world, other)[-1][1:] == (3, True)
    pool_checks.is_served(world, other, idle, engine)
    assert len(pool_checks.submits(world, leaving)) == num_sent
    assert pool_checks.aborts(world) == []
    pool_checks.is_idle(world)


def test_waiting_to_run_alone_with_no_engine_ready(world: Any, pool_checks: ModuleType, pool_ending: Way) -> None:
    leaving, other = suspects(world, 2, leaving=0)
    assert world.core.snapshot().alone is None

    pool_checks.is_gone(world, leaving, pool_ending(world, leaving))
    engine = world.start("e1", credit=0)
    assert (world.core.snapshot().alone, pool_checks.submits(world, other)[-1]) == (other.name, (engine.key, 3, True))
    pool_checks.is_served(world, other, engine)
    assert len(pool_checks.submits(world, leaving)) == 2
    assert pool_checks.aborts(world) == []
    pool_checks.is_idle(world)


@pytest.mark.parametrize("num_steps", [0, 2], ids=["in prefill", "in decode"])
def test_running_alone(world: Any, pool_checks: ModuleType, pool_leaving: Way, num_steps: int) -> None:
    leaving, other = suspects(world, 2, leaving=0)
    engine = world.start("e1")
    assert world.core.snapshot().alone == leaving.name
    engine.take_in()
    for _ in range(num_steps):
        engine.step()

    pool_checks.is_gone(world, leaving, pool_leaving(world, leaving))
    assert pool_checks.aborts(world) == [(engine.key, Abort(request_id=leaving.name, attempt=3))]
    assert (world.core.snapshot().alone, pool_checks.submits(world, other)[-1]) == (other.name, (engine.key, 3, True))
    assert [type(message) for message in engine.inbox].index(Abort) == 0, "the place is free before it is taken"
    pool_checks.is_served(world, other, engine)
    assert len(pool_checks.aborts(world)) == 1
    pool_checks.is_idle(world)


@pytest.mark.parametrize("dead", [True, False], ids=["dead", "alive"])
def test_held_for_the_verdict_after_running_alone(
    world: Any, pool_checks: ModuleType, pool_ending: Way, dead: bool
) -> None:
    leaving, other = suspects(world, 2, leaving=0)
    first = world.start("e1")
    first.take_in()
    second = world.start("e2")
    aboard = first.aboard()
    world.cut(first)
    assert (world.core.queue.is_held(leaving.entry), world.core.snapshot().alone) == (True, leaving.name)

    pool_checks.is_gone(world, leaving, pool_ending(world, leaving))
    assert (world.core.snapshot().alone, pool_checks.submits(world, other)[-1]) == (other.name, (second.key, 3, True))
    if dead:
        world.kill(first, aboard=aboard)
    else:
        world.pass_time(world.core._policies.verdict_s)
        world.connect(first)
    assert leaving.entry.strikes == 2, "what has ended is not judged any more"
    pool_checks.is_served(world, other, second)
    assert world.submit([1]).entry.state is State.RUNNING, "nor is one like it kept out"
    world.run(*(engine for engine in (first, second) if engine.alive))
    assert pool_checks.aborts(world) == []
    pool_checks.is_idle(world)
