"""What a request sees of the pool while all is well, and every way in which it ends otherwise."""

from types import ModuleType

import pytest

from spillway.pool.journal import JournalError
from spillway_wire.messages import (
    Abort,
    Choice,
    Delta,
    Finish,
    Submit,
    Usage,
)
from spillway_wire.outcomes import Outcome
from spillway_wire.sampling import SamplingParams


def test_a_request_is_sent_at_once_and_read_to_its_end(pool_world: ModuleType) -> None:
    world = pool_world.World()
    engine = world.start()
    reader = world.submit([4, 2], num_choices=2, max_tokens=6)
    world.run(engine)
    reader.read().check()
    assert reader.completed
    assert reader.ticket.engine_ids == ("e0",)
    assert {finish.outcome for finish in reader.finishes.values()} == {Outcome.COMPLETED}
    assert world.core.snapshot().num_open == 0


def test_the_engine_is_told_all_that_the_work_says(pool_world: ModuleType) -> None:
    world = pool_world.World()
    engine = world.start()
    world.submit([7], num_choices=2, priority=-1, cache_salt="tenant", deadline=world.now + 30, request_id="x")
    engine.take_in()
    (message,) = engine.submits
    assert message == Submit(
        request_id="x",
        prompt_token_ids=[7],
        params=SamplingParams(max_tokens=5, ignore_eos=True),
        choices=(Choice(index=0), Choice(index=1)),
        priority=1999,
        timeout_s=30.0,
        cache_salt="tenant",
    )


def test_a_second_request_of_the_same_id_is_a_mistake(pool_world: ModuleType) -> None:
    world = pool_world.World()
    world.start()
    world.submit(request_id="x")
    with pytest.raises(JournalError, match="in flight already"):
        world.submit(request_id="x")


def test_a_reader_that_lags_gets_several_steps_in_one_piece(pool_world: ModuleType) -> None:
    world = pool_world.World()
    engine = world.start()
    reader = world.submit(max_tokens=9)
    engine.take_in()
    engine.step()
    reader.read()
    engine.step(3)
    engine.step(2)
    reader.read()
    assert [len(piece.token_ids) for piece in reader.pieces] == [1, 5]


def test_an_abort_reaches_the_engine_and_ends_the_request(pool_world: ModuleType) -> None:
    world = pool_world.World()
    engine = world.start()
    reader = world.submit(max_tokens=9)
    engine.take_in()
    engine.step()
    reader.ticket.abort(Outcome.SLOW_READER)
    reader.ticket.abort()
    assert engine.inbox == [Abort(request_id=reader.name, attempt=1)]
    reader.read()
    assert reader.pieces == [], "what was not handed out when its client left is not handed out any more"
    assert reader.refused.outcome is Outcome.SLOW_READER


def test_a_choice_that_its_reader_ends_is_ended_in_the_engine_and_not_resumed(pool_world: ModuleType) -> None:
    world = pool_world.World()
    first, second = world.start("e0"), world.start("e1")
    reader = world.submit([4, 2], num_choices=2, max_tokens=6)
    on, other = (first, second) if reader.ticket.engine_ids == ("e0",) else (second, first)
    on.take_in()
    on.step()
    reader.read()
    reader.ticket.end_choice(0)
    reader.ticket.end_choice(0)
    assert [message for message in on.inbox if isinstance(message, Abort)] == [
        Abort(request_id=reader.entry.request_id, attempt=1, choice=0)
    ]
    world.kill(on)
    other.take_in()
    assert [choice.index for choice in other.submits[0].choices] == [1]
    world.run(other)
    reader.read()
    assert (reader.completed, set(reader.finishes)) == (True, {1})
    world.core.check_integrity()


def test_what_was_not_read_of_the_other_choices_is_there_when_the_last_is_ended(pool_world: ModuleType) -> None:
    world = pool_world.World()
    engine = world.start()
    reader = world.submit([4, 2], num_choices=2, max_tokens=3, request_id="x")
    engine.take_in()
    _, outputs = engine.running["x", 1]
    kept = outputs.pop(1)
    engine.step(3)  # choice 0 ends, and nobody has read it
    outputs[1] = kept
    reader.ticket.end_choice(1)
    assert reader.entry.is_over
    reader.read()
    assert (reader.completed, set(reader.finishes)) == (True, {0})
    engine.take_in()
    assert not any(outputs for _, outputs in engine.running.values())
    world.core.check_integrity()


@pytest.mark.parametrize("outcome", [Outcome.INVALID, Outcome.TOO_LARGE, Outcome.INTERNAL])
def test_what_an_engine_will_never_serve_ends_with_its_outcome(pool_world: ModuleType, outcome: Outcome) -> None:
    world = pool_world.World()
    engine = world.start()
    reader = world.submit()
    (message,) = engine.inbox
    engine.reject(message, outcome, "because")
    reader.read()
    assert (reader.refused.outcome, reader.refused.message) == (outcome, "because")


def test_one_choice_that_fails_fails_the_request_after_what_had_come(pool_world: ModuleType) -> None:
    world = pool_world.World()
    engine = world.start()
    reader = world.submit([1], num_choices=2, max_tokens=9)
    engine.take_in()
    engine.step(2)
    usage = Usage(prompt_tokens=1, cached_tokens=0, output_tokens=2)
    finish = Finish(outcome=Outcome.EXPIRED, reason=None, usage=usage, message="too late")
    name = reader.name
    engine.say_step([Delta(request_id=name, attempt=1, choice=1, position=2, finish=finish)])
    reader.read().check()
    assert {index: len(tokens) for index, tokens in reader.tokens.items()} == {0: 2, 1: 2}
    assert reader.refused.outcome is Outcome.EXPIRED
    engine.take_in()
    assert not engine.running, "the other choice is aborted"


def test_a_message_that_fits_into_no_frame_is_too_large(pool_world: ModuleType) -> None:
    world = pool_world.World()
    world.start()
    world.wires.too_large = True
    assert world.refused().outcome is Outcome.TOO_LARGE
    world.wires.too_large = False
    world.submit()
    world.core.check_integrity()


def test_the_end_of_the_gateway_ends_everything_with_draining(pool_world: ModuleType) -> None:
    world = pool_world.World()
    engine = world.start(credit=1)
    readers = [world.submit(), world.submit()]
    engine.take_in()
    world.core.close()
    world.core.close()
    for reader in readers:
        refusal = reader.read().refused
        assert (refusal.outcome, refusal.measured) == (Outcome.DRAINING, "phase=ending")
    assert world.refused().outcome is Outcome.DRAINING
    world.core.check_integrity()


def test_integrity_tells_of_a_request_that_is_nowhere(pool_world: ModuleType) -> None:
    world = pool_world.World()
    world.start()
    reader = world.submit()
    reader.entry.place.entries.clear()
    with pytest.raises(JournalError, match="1 requests are open, 0 on engines and 0 waiting"):
        world.core.check_integrity()
