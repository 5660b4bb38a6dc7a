"""What the pool does when an engine, or the connection to it, is gone: what is held, and what goes on when."""

from types import ModuleType

import pytest

from spillway.pool.lifecycle import State
from spillway_wire.links import Ending
from spillway_wire.messages import (
    Backlog,
    Submit,
)
from spillway_wire.outcomes import Outcome
from spillway_wire.plane import EngineStatus


def test_a_death_moves_everything_at_once_the_most_important_first(pool_world: ModuleType) -> None:
    world = pool_world.World()
    first = world.start("e0")
    readers = [world.submit([n], priority=-n, max_tokens=9) for n in (1, 2, 3)]
    first.take_in()
    first.step(2)
    second = world.start("e1")
    world.kill(first)
    assert [message.request_id for message in second.inbox if isinstance(message, Submit)] == [
        reader.name for reader in reversed(readers)
    ]
    world.run(second)
    for reader in readers:
        reader.read().check()
        assert reader.completed
        assert reader.ticket.engine_ids == ("e0", "e1")
    assert {(event.from_engine, event.to_engine, event.attempt) for event in world.recovered} == {("e0", "e1", 2)}
    assert world.core.snapshot().num_recoveries == 3


@pytest.mark.parametrize("most", [0, 2])
def test_a_request_goes_on_as_often_as_the_settings_allow(pool_world: ModuleType, most: int) -> None:
    world = pool_world.World(max_recoveries=most)
    reader = world.submit(max_tokens=9)
    for _ in range(most + 1):
        assert reader.entry.state is not State.FINISHED
        engine = world.start("e0")
        engine.take_in()
        engine.step()
        world.kill(engine)
    refused = reader.read().refused
    assert (refused.outcome, refused.limit) == (Outcome.ENGINE_FAILED, f"max_recoveries={most}")


def test_a_cut_connection_waits_for_the_verdict_and_then_goes_on_without(pool_world: ModuleType) -> None:
    world = pool_world.World()
    first = world.start("e0")
    reader = world.submit(max_tokens=9)
    first.take_in()
    second = world.start("e1")
    world.cut(first)
    assert reader.entry.state is State.RECOVERING
    assert second.inbox == []
    world.pass_time(1.9)
    assert second.inbox == []
    world.pass_time(0.2)
    assert [type(message) for message in second.inbox] == [Submit, Backlog]
    assert first.key in world.wires.wanted, "membership still has it: it is connected again"
    world.connect(first)
    world.run(second)
    assert reader.read().completed


@pytest.mark.parametrize("ending", [Ending.FRAMES_LOST, Ending.GOODBYE])
def test_an_engine_that_is_known_to_live_is_connected_again_at_once(pool_world: ModuleType, ending: Ending) -> None:
    world = pool_world.World()
    engine = world.start()
    reader = world.submit(max_tokens=9)
    engine.take_in()
    engine.step(2)
    world.cut(engine, ending)
    assert reader.entry.state is State.RECOVERING
    world.connect(engine)
    world.run(engine)
    reader.read().check()
    assert reader.completed


def test_hung_engines_requests_wait_for_the_verdict(pool_world: ModuleType) -> None:
    world = pool_world.World()
    first, reader = world.start("e0"), world.submit(max_tokens=9)
    first.take_in()
    second = world.start("e1")
    aboard = first.aboard()
    world.status(first, EngineStatus.HUNG)
    assert (reader.entry.state, second.inbox) == (State.RECOVERING, [])
    world.kill(first, aboard=aboard)
    assert reader.entry.state is State.RUNNING
    assert reader.entry.strikes == 1


def test_an_engine_that_does_not_read_loses_its_connection_and_no_request(pool_world: ModuleType) -> None:
    world = pool_world.World()
    engine = world.start()
    world.wires.unread = True
    reader = world.submit()
    world.wires.unread = False
    assert reader.entry.state is State.RECOVERING
    world.connect(engine)
    world.run(engine)
    assert reader.read().completed


def test_an_old_membership_does_not_revive_the_dead(pool_world: ModuleType) -> None:
    world = pool_world.World()
    engine = world.start()
    world.kill(engine)
    engine.alive = True
    world.publish()
    assert world.wires.wanted == {}
    assert world.core.model_state("m").num_ready == 0
