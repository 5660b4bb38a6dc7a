"""What crashes cost the requests that were aboard: alone, then quarantine; innocents go on."""

from types import ModuleType

from spillway.pool.lifecycle import State
from spillway_wire.messages import (
    Submit,
)
from spillway_wire.outcomes import Outcome


def test_a_second_crash_aboard_without_a_token_is_resumed_alone(pool_world: ModuleType) -> None:
    world = pool_world.World()
    pill, innocent = world.submit([1]), world.submit([2])
    world.crash("e0", pill, innocent)
    world.crash("e0", pill)
    engine = world.start("e0")
    alone = {message.request_id: message.alone for message in engine.inbox if isinstance(message, Submit)}
    assert alone == {pill.name: True, innocent.name: False}
    world.run(engine)
    assert pill.read().completed
    assert innocent.read().completed


def test_a_token_between_two_crashes_clears_a_suspect(pool_world: ModuleType) -> None:
    world = pool_world.World()
    reader = world.submit(max_tokens=9)
    for _ in range(5):
        engine = world.start("e0")
        engine.take_in()
        engine.step()
        world.kill(engine)
    assert not reader.entry.alone
    world.run(world.start("e0"))
    assert reader.read().completed


def test_what_kills_engines_alone_is_quarantined_and_innocents_go_on(pool_world: ModuleType) -> None:
    world = pool_world.World()
    pill, innocent = world.submit([1]), world.submit([2])
    for _ in range(4):
        world.crash("e0", pill)
    refusal = pill.read().refused
    world.run(world.start("e0"))
    assert innocent.read().completed

    again = world.refused(prompt=[1])
    for each in (refusal, again):
        assert (each.outcome, each.should_retry) == (Outcome.ENGINE_FAILED, False)
        assert (each.limit, each.measured) == ("quarantine_s=600", "4 crashes")
    assert world.submit([2]).entry.state is State.RUNNING
    world.pass_time(601)
    assert world.submit([1]).entry.state is State.RUNNING


def test_without_quarantine_what_killed_engines_may_kill_again(pool_world: ModuleType) -> None:
    world = pool_world.World(quarantine_s=0.0)
    pill = world.submit([1])
    for _ in range(4):
        world.crash("e0", pill)
    assert pill.read().refused.outcome is Outcome.ENGINE_FAILED
    world.start("e0")
    assert world.submit([1]).entry.state is State.RUNNING


def test_one_request_runs_alone_at_a_time(pool_world: ModuleType) -> None:
    world = pool_world.World()
    suspects = [world.submit([1]), world.submit([2])]
    for _ in range(2):
        world.crash("e0", *suspects)
    engines = [world.start("e0"), world.start("e1")]
    sent = [message for engine in engines for message in engine.inbox if isinstance(message, Submit)]
    assert [(message.request_id, message.alone) for message in sent] == [(suspects[0].name, True)]
    world.run(*engines)
    assert suspects[0].read().completed
    assert suspects[1].read().completed


def test_crashes_of_other_gateways_requests_accuse_nobody_here(pool_world: ModuleType) -> None:
    world = pool_world.World()
    reader = world.submit()
    name = reader.name
    for _ in range(6):
        engine = world.start("e0")
        engine.take_in()
        world.kill(engine, aboard=(("another gateway", name, 1, 0),))
    assert (reader.entry.strikes, reader.entry.alone) == (0, False)


def test_a_verdict_that_comes_late_still_counts(pool_world: ModuleType) -> None:
    world = pool_world.World()
    reader = world.submit(max_tokens=9)
    engine = world.start("e0")
    engine.take_in()
    aboard = engine.aboard()
    world.cut(engine)
    world.pass_time(2.1)
    other = world.start("e1")
    assert reader.entry.state is State.RUNNING
    world.kill(engine, aboard=aboard)
    assert reader.entry.strikes == 1
    world.run(other)
    assert reader.read().completed
