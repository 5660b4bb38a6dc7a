"""A request that ends in the pool before it is complete, in every phase of its life there: what it leaves is nothing.

::

    queued        waiting for a credit; for an engine; again, turned away by one that ends
    running       in the request channel, prefill, decode; after the last token
    recovering    held for the verdict; waiting for another engine

(`test_pool_alone` has those that run alone.) Its client leaves or does not read, or, where the pool is who watches the
time, its deadline passes. An engine that has it is told, once, and nobody else is; and the next in line moves.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from spillway.pool.lifecycle import State
from spillway_wire.links import Ending
from spillway_wire.messages import Abort
from spillway_wire.outcomes import Outcome
from spillway_wire.plane import EngineStatus

Way = Callable[[Any, Any], Outcome]


@pytest.fixture
def world(pool_world: ModuleType) -> Any:
    return pool_world.World(max_queued_requests=2)


# ---- waiting ----


def test_waiting_for_a_credit(world: Any, pool_checks: ModuleType, pool_ending: Way) -> None:
    engine = world.start(credit=0)
    leaving, other = world.submit(deadline=world.now + 1), world.submit()
    world.flush()
    engine.take_in()
    assert (leaving.entry.state, engine.backlog.waiting) == (State.QUEUED, 2)
    assert world.refused().outcome is Outcome.OVERLOADED

    pool_checks.is_gone(world, leaving, pool_ending(world, leaving))
    assert list(world.core.journal) == [other.entry]
    world.flush()
    engine.take_in()
    assert engine.backlog.waiting == 1
    last = world.submit()  # in its place
    engine.grant()
    assert pool_checks.submits(world, other) == [(engine.key, 1, False)]
    engine.grant()
    pool_checks.is_served(world, other, engine)
    pool_checks.is_served(world, last, engine)
    assert pool_checks.submits(world, leaving) == pool_checks.aborts(world) == []
    pool_checks.is_idle(world)


def test_queued_with_no_engine_ready(world: Any, pool_checks: ModuleType, pool_ending: Way) -> None:
    leaving, other = world.submit(deadline=world.now + 1), world.submit()
    assert leaving.entry.state is State.QUEUED

    pool_checks.is_gone(world, leaving, pool_ending(world, leaving))
    assert list(world.core.journal) == [other.entry]
    engine = world.start(credit=1)
    assert pool_checks.submits(world, other) == [(engine.key, 1, False)]
    pool_checks.is_served(world, other, engine)
    assert pool_checks.submits(world, leaving) == pool_checks.aborts(world) == []
    pool_checks.is_idle(world)


def test_queued_again_after_an_engine_turned_it_away(world: Any, pool_checks: ModuleType, pool_ending: Way) -> None:
    first = world.start("e0")
    leaving, other = world.submit(deadline=world.now + 1), world.submit()
    first.draining = True
    first.take_in()
    assert (leaving.entry.state, leaving.entry.attempt) == (State.QUEUED, 1)

    pool_checks.is_gone(world, leaving, pool_ending(world, leaving))
    assert list(world.core.journal) == [other.entry]
    second = world.start("e1", credit=0)
    assert pool_checks.submits(world, leaving) == [(first.key, 1, False)]
    assert pool_checks.submits(world, other)[-1] == (second.key, 2, False)
    pool_checks.is_served(world, other, second)
    assert pool_checks.aborts(world) == []
    pool_checks.is_idle(world)


# ---- running ----


@pytest.mark.parametrize("taken_in", [False, True], ids=["in the request channel", "in prefill"])
def test_running_prefill(world: Any, pool_checks: ModuleType, pool_leaving: Way, taken_in: bool) -> None:
    engine, bystander = world.start("e0", credit=1), world.start("e1", credit=0)
    leaving, other = world.submit(list(range(40)), num_choices=2), world.submit()
    if taken_in:
        engine.take_in()
    assert (leaving.entry.state, other.entry.state) == (State.RUNNING, State.QUEUED)

    pool_checks.is_gone(world, leaving, pool_leaving(world, leaving))
    assert pool_checks.aborts(world) == [(engine.key, Abort(request_id=leaving.name, attempt=1))]
    assert (leaving.pieces, list(world.core.journal)) == ([], [other.entry])
    engine.take_in()
    assert engine.running == {}
    engine.grant()  # as an engine does that has room again
    pool_checks.is_served(world, other, engine)
    assert (len(pool_checks.aborts(world)), bystander.submits) == (1, [])
    pool_checks.is_idle(world)


def test_running_decode_of_two_choices(world: Any, pool_checks: ModuleType, pool_leaving: Way) -> None:
    engine = world.start()
    other, leaving = world.submit([5], max_tokens=9), world.submit([6], max_tokens=9, num_choices=2)
    engine.take_in()
    engine.step(2)
    leaving.read()
    engine.step()  # unread

    pool_checks.is_gone(world, leaving, pool_leaving(world, leaving))
    assert {choice: len(tokens) for choice, tokens in leaving.tokens.items()} == {0: 2, 1: 2}
    assert pool_checks.aborts(world) == [(engine.key, Abort(request_id=leaving.name, attempt=1))]
    engine.step()  # it has not read the abort: late word of what is over
    assert leaving.entry.num_tokens == 6
    pool_checks.is_served(world, other, engine)
    assert len(pool_checks.aborts(world)) == 1
    pool_checks.is_idle(world)


def test_running_decode_with_one_choice_over(world: Any, pool_checks: ModuleType, pool_leaving: Way) -> None:
    engine = world.start()
    leaving, other = world.submit([6], max_tokens=9, num_choices=2), world.submit([5])
    engine.take_in()
    engine.step()
    leaving.ticket.end_choice(0)

    pool_checks.is_gone(world, leaving, pool_leaving(world, leaving))
    assert pool_checks.aborts(world) == [
        (engine.key, Abort(request_id=leaving.name, attempt=1, choice=0)),
        (engine.key, Abort(request_id=leaving.name, attempt=1)),
    ]
    pool_checks.is_served(world, other, engine)
    pool_checks.is_idle(world)


def test_running_on_an_engine_that_does_not_read(world: Any, pool_checks: ModuleType, pool_leaving: Way) -> None:
    engine = world.start()
    leaving, other = world.submit([6]), world.submit([5])
    engine.take_in()
    engine.step()

    world.wires.unread = True
    outcome = pool_leaving(world, leaving)
    world.wires.unread = False
    pool_checks.is_gone(world, leaving, outcome)
    assert other.entry.state is State.RECOVERING  # the connection was given up, and ended everything aboard
    assert engine.running == {}
    world.connect(engine)
    assert pool_checks.submits(world, leaving) == [(engine.key, 1, False)]
    pool_checks.is_served(world, other, engine)
    assert pool_checks.aborts(world) == []
    pool_checks.is_idle(world)


def test_after_the_last_token(world: Any, pool_checks: ModuleType, pool_leaving: Way) -> None:
    engine = world.start(credit=1)
    leaving, other = world.submit([6], num_choices=2, max_tokens=3), world.submit([5])
    engine.take_in()
    engine.step(3)
    assert leaving.entry.is_over  # and nothing of it is read

    pool_leaving(world, leaving)
    pool_checks.is_gone(world, leaving, Outcome.COMPLETED)
    engine.grant()
    pool_checks.is_served(world, other, engine)
    assert pool_checks.aborts(world) == []
    pool_checks.is_idle(world)


def test_after_the_last_token_with_word_of_it_on_the_way(
    world: Any, pool_checks: ModuleType, pool_leaving: Way
) -> None:
    engine = world.start(credit=1)
    leaving, other = world.submit([6], num_choices=2, max_tokens=3), world.submit([5])
    engine.take_in()
    engine.step(2)

    pool_checks.is_gone(world, leaving, pool_leaving(world, leaving))
    engine.step()  # the end, as the engine saw it: the abort comes too late
    assert engine.running == {}
    pool_checks.is_gone(world, leaving, leaving.refused.outcome)
    assert pool_checks.aborts(world) == [(engine.key, Abort(request_id=leaving.name, attempt=1))]
    engine.grant()
    pool_checks.is_served(world, other, engine)
    pool_checks.is_idle(world)


# ---- recovering ----


def test_recovering_until_another_engine_is_ready(world: Any, pool_checks: ModuleType, pool_ending: Way) -> None:
    first = world.start("e0")
    leaving, other = world.submit([6], max_tokens=9, num_choices=2, deadline=world.now + 1), world.submit([5])
    first.take_in()
    first.step(2)
    world.kill(first)
    assert (leaving.entry.state, world.core.queue.is_held(leaving.entry)) == (State.RECOVERING, False)

    pool_checks.is_gone(world, leaving, pool_ending(world, leaving))
    assert list(world.core.journal) == [other.entry]
    second = world.start("e1", credit=0)
    assert pool_checks.submits(world, leaving) == [(first.key, 1, False)]
    assert pool_checks.submits(world, other) == [(first.key, 1, False), (second.key, 2, False)]
    pool_checks.is_served(world, other, second)
    assert [event.request_id for event in world.recovered] == [other.name]
    assert pool_checks.aborts(world) == []
    pool_checks.is_idle(world)


@pytest.mark.parametrize(
    ("sign", "verdict"),
    [("cut", "dead"), ("cut", "late"), ("cut", "none"), ("hung", "dead"), ("hung", "late")],  # who hangs never revives
)
def test_held_for_the_verdict(world: Any, pool_checks: ModuleType, pool_ending: Way, sign: str, verdict: str) -> None:
    first = world.start("e0")
    leaving, other = world.submit([6], max_tokens=9, num_choices=2, deadline=world.now + 1), world.submit([5])
    first.take_in()
    first.step(2)
    second = world.start("e1")
    aboard = first.aboard()
    if sign == "cut":
        world.cut(first)
    else:
        world.status(first, EngineStatus.HUNG)
    assert world.core.queue.is_held(leaving.entry)

    pool_checks.is_gone(world, leaving, pool_ending(world, leaving))
    assert list(world.core.journal) == [other.entry]
    assert other.entry.state is State.RECOVERING
    if verdict != "dead":
        world.pass_time(world.core._policies.verdict_s)
        assert pool_checks.submits(world, other)[1:] == [(second.key, 2, False)]
    if verdict == "none":
        world.connect(first)
    else:
        world.kill(first, aboard=aboard)
    assert (leaving.entry.strikes, other.entry.strikes) == (0, verdict != "none")
    assert pool_checks.submits(world, leaving) == [(first.key, 1, False)]
    pool_checks.is_served(world, other, second, first)
    assert [event.request_id for event in world.recovered] == [other.name]
    assert pool_checks.aborts(world) == []
    pool_checks.is_idle(world)


@pytest.mark.parametrize("ending", [Ending.FRAMES_LOST, Ending.GOODBYE])
def test_recovering_on_an_engine_that_is_known_to_live(
    world: Any, pool_checks: ModuleType, pool_ending: Way, ending: Ending
) -> None:
    engine = world.start()
    leaving, other = world.submit([6], max_tokens=9, deadline=world.now + 1), world.submit([5])
    engine.take_in()
    engine.step()
    world.cut(engine, ending)

    pool_checks.is_gone(world, leaving, pool_ending(world, leaving))
    world.connect(engine)
    assert pool_checks.submits(world, leaving) == [(engine.key, 1, False)]
    pool_checks.is_served(world, other, engine)
    assert pool_checks.aborts(world) == []
    pool_checks.is_idle(world)
