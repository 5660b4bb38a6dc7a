"""What waits in the pool: for what, in which order, how long, and what a refused client is told."""

from types import ModuleType

from spillway.pool.lifecycle import State
from spillway_wire.messages import (
    Submit,
)
from spillway_wire.outcomes import Outcome
from spillway_wire.plane import ServedModel


def test_fresh_work_waits_for_credits_in_the_order_of_importance(pool_world: ModuleType) -> None:
    world = pool_world.World()
    engine = world.start(credit=0)
    for name, priority in (("late", 1), ("first", 0), ("second", 0), ("urgent", -1)):
        world.submit(request_id=name, priority=priority)
    assert engine.inbox == []
    world.flush()
    engine.take_in()
    assert engine.backlog.waiting == 4
    engine.grant(3)
    assert [message.request_id for message in engine.inbox] == ["urgent", "first", "second"]
    world.flush()
    engine.take_in()
    assert engine.backlog.waiting == 4, "each submit takes one from it: the engine knows that one is left"
    world.core.abort(world.core.journal.get("late"), Outcome.CLIENT_GONE)
    world.flush()
    engine.take_in()
    assert engine.backlog.waiting == 0


def test_credits_that_nobody_needs_go_back(pool_world: ModuleType) -> None:
    world = pool_world.World()
    engine = world.start(credit=30)
    world.submit()
    world.flush()
    engine.take_in()
    assert engine.backlog.returned == 30 - 1 - 8
    (snapshot,) = world.core.snapshot().engines
    assert snapshot.credits == 8


def test_a_continuation_goes_before_fresh_work_and_needs_no_credit(pool_world: ModuleType) -> None:
    world = pool_world.World()
    first, second = world.start("e0", credit=1), world.start("e1", credit=0)
    running = world.submit(max_tokens=9)
    first.take_in()
    first.step(3)
    world.submit(request_id="fresh", priority=-5)
    world.kill(first)
    (message,) = [message for message in second.inbox if isinstance(message, Submit)]
    assert (message.request_id, message.attempt) == (running.name, 2)
    assert message.choices[0].output_token_ids == tuple(running.expected(0)[0][:3])


def test_the_queue_is_bounded_and_says_when_to_come_back(pool_world: ModuleType) -> None:
    world = pool_world.World(max_queued_requests=3)
    engine = world.start(credit=10)
    for _ in range(10):
        world.submit()
        world.run(engine)
    for _ in range(3):
        world.submit()
    refusal = world.refused()
    assert refusal.outcome is Outcome.OVERLOADED
    assert (refusal.limit, refusal.measured) == ("max_queued_requests=3", "3")
    assert refusal.retry_after_s == 3.0, "3 wait, and 10 left in a window of 10 s"


def test_what_expires_while_it_waits_ends_so(pool_world: ModuleType) -> None:
    world = pool_world.World()
    world.start(credit=0)
    reader, other = world.submit(deadline=world.now + 3), world.submit()
    world.pass_time(2.9)
    assert not reader.entry.is_over
    world.pass_time(0.2)
    assert reader.read().refused.outcome is Outcome.EXPIRED
    assert not other.entry.is_over
    assert world.refused(deadline=world.now).outcome is Outcome.EXPIRED


def test_coming_back_helps_soon_where_nothing_waits_and_else_at_the_queues_pace(pool_world: ModuleType) -> None:
    world = pool_world.World()
    world.start(credit=1)
    world.submit()
    world.pass_time(60)
    assert world.core.retry_after_s() == 1.0
    waiting = world.submit(deadline=world.now + 3)
    assert world.core.retry_after_s() == 120.0, "nothing was sent of late"
    world.pass_time(3)
    assert waiting.read().refused.retry_after_s == 120.0


def test_a_model_without_an_engine_is_waited_for_so_long(pool_world: ModuleType) -> None:
    world = pool_world.World(engine_wait_s=10.0)
    early = world.submit()
    world.pass_time(6.0)
    late = world.submit()
    world.pass_time(5.0)
    assert early.read().refused.outcome is Outcome.NO_ENGINE
    assert early.refused.limit == "engine_wait_s=10"
    assert late.entry.state is State.QUEUED
    engine = world.start()
    world.run(engine)
    assert late.read().completed


def test_the_wait_begins_anew_when_an_engine_was_there_meanwhile(pool_world: ModuleType) -> None:
    world = pool_world.World(engine_wait_s=10.0)
    engine = world.start(credit=0)
    reader = world.submit()
    world.pass_time(8.0)
    world.kill(engine)
    world.pass_time(9.0)
    assert reader.entry.state is State.QUEUED
    world.pass_time(2.0)
    assert reader.read().refused.outcome is Outcome.NO_ENGINE


def test_a_hopeless_model_is_not_waited_for(pool_world: ModuleType) -> None:
    world = pool_world.World()
    waiting = world.submit()
    world.models["m"] = ServedModel(name="m", path="", hopeless=True)
    world.publish()
    assert waiting.read().refused.outcome is Outcome.NO_ENGINE
    assert world.refused().outcome is Outcome.NO_ENGINE
    assert world.refused().retry_after_s is None


def test_a_hopeless_model_is_worth_asking_for_again_when_its_parked_engine_was_tried(pool_world: ModuleType) -> None:
    world = pool_world.World()
    waiting = world.submit()
    world.models["m"] = ServedModel(name="m", path="", hopeless=True, retry_s=60.0)
    world.publish()
    for refusal in (waiting.read().refused, world.refused()):
        assert refusal.retry_after_s == 60.0
        assert refusal.message.endswith("one is tried again after at most 60 s")


def test_models_do_not_wait_for_each_other(pool_world: ModuleType) -> None:
    world = pool_world.World(models=("m", "other"))
    engine = world.start("e1", model="other")
    world.submit()
    reader = world.submit(model="other")
    world.run(engine)
    assert reader.read().completed
    assert world.refused(model="unheard").outcome is Outcome.UNKNOWN_MODEL
