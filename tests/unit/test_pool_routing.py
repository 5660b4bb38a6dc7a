"""Which engine the pool asks: the spread, the load of others, and those that end in good order."""

from types import ModuleType

import pytest

from spillway.pool.lifecycle import State
from spillway_wire.messages import (
    Load,
)
from spillway_wire.outcomes import Outcome
from spillway_wire.plane import EngineStatus


def test_requests_spread_over_engines_and_prefixes_stay_together(pool_world: ModuleType) -> None:
    world = pool_world.World()
    world.start("e0")
    world.start("e1")
    prompt = list(range(48))
    first = world.submit(prompt).ticket.engine_ids
    other = world.submit([n + 100 for n in prompt]).ticket.engine_ids
    assert {*first, *other} == {"e0", "e1"}
    assert world.submit([*prompt, 7]).ticket.engine_ids == first
    assert world.submit([*prompt, 7], cache_salt="tenant").ticket.engine_ids != first


def test_the_load_of_others_counts(pool_world: ModuleType) -> None:
    world = pool_world.World()
    busy, idle = world.start("e0"), world.start("e1")
    busy.load = lambda: Load(running=3, waiting=2, free_blocks=3, waiting_prefill_tokens=400)
    busy.say_step([])
    for _ in range(3):
        assert world.submit().ticket.engine_ids == ("e1",)
    assert idle.connection is not None


def test_a_draining_engine_gets_nothing_new_and_finishes_what_it_has(pool_world: ModuleType) -> None:
    world = pool_world.World()
    engine = world.start()
    reader = world.submit()
    world.status(engine, EngineStatus.DRAINING)
    late = world.submit()
    world.run(engine)
    assert reader.read().completed
    assert late.entry.state is State.QUEUED


@pytest.mark.parametrize("way", ["rejected", "handed back"])
def test_what_an_ending_engine_turns_away_goes_on_elsewhere_and_counts_for_nothing(
    pool_world: ModuleType, way: str
) -> None:
    world = pool_world.World()
    first = world.start("e0")
    reader = world.submit(max_tokens=9)
    second = world.start("e1")
    first.draining = way == "rejected"
    first.take_in()
    if way == "handed back":
        first.step(2)
        first.end_all(Outcome.DRAINING)
    world.run(second)
    reader.read().check()
    assert reader.completed
    assert reader.ticket.engine_ids == ("e0", "e1")
    assert world.recovered == []
    assert world.submit().ticket.engine_ids == ("e1",), "the first one is not asked again"
