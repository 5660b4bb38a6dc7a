"""How a request goes on after a loss: from its last token, with nothing twice and nothing missing."""

from types import ModuleType

import pytest

from spillway.pool.lifecycle import State
from spillway_wire.links import Ending
from spillway_wire.messages import (
    Abort,
    Delta,
    Finish,
    Moment,
    MomentKind,
    PositionLogprobs,
    Submit,
    TokenLogprob,
    Usage,
)
from spillway_wire.outcomes import FinishReason, Outcome
from spillway_wire.sampling import SamplingParams


def logprobs(token: int) -> tuple[PositionLogprobs, ...]:
    return (PositionLogprobs(chosen=TokenLogprob(token_id=token, logprob=-1.0, rank=1)),)


def test_only_open_choices_go_on(pool_world: ModuleType) -> None:
    world = pool_world.World()
    first = world.start("e0")
    reader = world.submit([1], num_choices=3, max_tokens=50, ignore_eos=False)
    first.take_in()
    whole = {index: len(reader.expected(index)[0]) for index in range(3)}
    first.step(min(whole.values()))
    done = {index for index, length in whole.items() if length == min(whole.values())}
    second = world.start("e1")
    world.kill(first)
    (message,) = [message for message in second.inbox if isinstance(message, Submit)]
    assert {choice.index for choice in message.choices} == {0, 1, 2} - done
    world.run(second)
    reader.read().check()
    assert reader.completed


@pytest.mark.parametrize(
    ("tokens", "params", "reason"),
    [
        ((5, 6, 7), SamplingParams(max_tokens=3), FinishReason.LENGTH),
        ((5, 0), SamplingParams(max_tokens=9), FinishReason.STOP),
        ((5, 6), SamplingParams(max_tokens=9, stop_token_ids=(6,)), FinishReason.STOP),
        ((5, 0), SamplingParams(max_tokens=9, ignore_eos=True), None),
        ((0,), SamplingParams(max_tokens=9, min_tokens=1), None),
        (tuple(range(1, 62)), SamplingParams(), FinishReason.LENGTH),
        ((5, 6), SamplingParams(max_tokens=3), None),
        ((), SamplingParams(max_tokens=3), None),
    ],
)
def test_what_lost_only_word_of_its_end_ends_here(
    pool_world: ModuleType, tokens: tuple[int, ...], params: SamplingParams, reason: FinishReason | None
) -> None:
    world = pool_world.World()
    engine = world.start()
    reader = world.submit([1, 2, 3], params=params)
    name = reader.name
    moment = Moment(kind=MomentKind.SCHEDULED, at_ns=0, value=2)
    engine.say_step([Delta(request_id=name, attempt=1, choice=0, position=0, token_ids=tokens, moments=(moment,))])
    world.kill(engine)
    if reason is None:
        assert reader.entry.state is State.RECOVERING
        return
    reader.read()
    assert reader.completed
    finish = reader.finishes[0]
    assert finish.reason is reason
    assert finish.usage == Usage(prompt_tokens=3, cached_tokens=2, output_tokens=len(tokens))


def test_usage_tells_the_first_attempts_cache_hit(pool_world: ModuleType) -> None:
    world = pool_world.World()
    first = world.start("e0")
    reader = world.submit(max_tokens=9)
    first.take_in()
    first.step(2)
    second = world.start("e1")
    world.kill(first)
    world.run(second)
    reader.read()
    assert reader.finishes[0].usage == Usage(prompt_tokens=3, cached_tokens=1, output_tokens=9)


def test_prompt_logprobs_come_once(pool_world: ModuleType) -> None:
    world = pool_world.World()
    first = world.start("e0")
    reader = world.submit(max_tokens=9)
    name = reader.name

    def delta(attempt: int, position: int, token: int) -> Delta:
        return Delta(
            request_id=name, attempt=attempt, choice=0, position=position, token_ids=(token,),
            logprobs=logprobs(token), prompt_logprobs=logprobs(99),
        )  # fmt: skip

    first.take_in()
    first.say_step([delta(1, 0, 5)])
    world.start("e1")
    world.kill(first)
    second = world.engines["e1", 1]
    second.take_in()
    second.say_step([delta(2, 0, 5)])
    second.say_step([delta(2, 1, 6)])
    reader.read()
    assert [piece.prompt_logprobs for piece in reader.pieces] == [logprobs(99)]
    assert [p.chosen.token_id for piece in reader.pieces for p in piece.logprobs] == [5, 6]


def test_a_gap_in_the_positions_is_a_new_attempt(pool_world: ModuleType) -> None:
    world = pool_world.World()
    engine = world.start()
    reader = world.submit(max_tokens=9)
    engine.take_in()
    engine.step()
    name = reader.name
    engine.say_step([Delta(request_id=name, attempt=1, choice=0, position=4, token_ids=(1,))])
    assert isinstance(engine.inbox[0], Abort)
    world.run(engine)
    reader.read().check()
    assert reader.completed
    assert [attempt.end for attempt in reader.entry.attempts] == ["output was lost", "completed"]


def test_late_word_of_an_old_attempt_changes_nothing(pool_world: ModuleType) -> None:
    world = pool_world.World()
    engine = world.start()
    reader = world.submit(max_tokens=9)
    engine.take_in()
    engine.step()
    old = engine.connection
    world.cut(engine, Ending.FRAMES_LOST)
    world.connect(engine)
    engine.take_in()
    name = reader.name
    usage = Usage(prompt_tokens=3, cached_tokens=0, output_tokens=1)
    failed = Finish(outcome=Outcome.ENGINE_FAILED, reason=None, usage=usage)
    late = Delta(request_id=name, attempt=1, choice=0, position=1, finish=failed)
    engine.say_step([late])
    engine.connection, current = old, engine.connection
    engine.say_step([late])
    engine.connection = current
    assert reader.entry.state is State.RUNNING
