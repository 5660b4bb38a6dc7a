"""The pool's decisions, one at a time: who is sent where, what waits and until when, what a crash costs whom."""

from types import ModuleType
from typing import Any

import pytest

from spillway.pool.contract import Refused
from spillway.pool.journal import JournalError
from spillway.pool.lifecycle import State
from spillway_wire.links import Ending
from spillway_wire.messages import (
    Abort,
    Backlog,
    Choice,
    Delta,
    Finish,
    Load,
    Moment,
    MomentKind,
    PositionLogprobs,
    Submit,
    TokenLogprob,
    Usage,
)
from spillway_wire.outcomes import FinishReason, Outcome
from spillway_wire.plane import EngineStatus, ServedModel
from spillway_wire.sampling import SamplingParams


def refused(world: Any, **fields: Any) -> Refused:
    with pytest.raises(Refused) as raised:
        world.submit(**fields)
    return raised.value


def run(*engines: Any) -> None:
    """Let engines read and compute until they have nothing left."""
    for _ in range(60):
        for engine in engines:
            if engine.connection is not None:
                engine.take_in()
                engine.step()


def logprobs(token: int) -> tuple[PositionLogprobs, ...]:
    return (PositionLogprobs(chosen=TokenLogprob(token_id=token, logprob=-1.0, rank=1)),)


# ---- serving ----


def test_a_request_is_sent_at_once_and_read_to_its_end(pool_world: ModuleType) -> None:
    world = pool_world.World()
    engine = world.start()
    reader = world.submit([4, 2], num_choices=2, max_tokens=6)
    run(engine)
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
        priority=-1,
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
    assert engine.inbox == [Abort(request_id=reader.work.request_id, attempt=1)]
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
    run(other)
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
    name = reader.work.request_id
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
    assert refused(world).outcome is Outcome.TOO_LARGE
    world.wires.too_large = False
    world.submit()
    world.core.check_integrity()


# ---- waiting ----


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
    assert (message.request_id, message.attempt) == (running.work.request_id, 2)
    assert message.choices[0].output_token_ids == tuple(pool_world.expected(running.work, 0)[0][:3])


def test_the_queue_is_bounded_and_says_when_to_come_back(pool_world: ModuleType) -> None:
    world = pool_world.World(max_queued_requests=3)
    engine = world.start(credit=10)
    for _ in range(10):
        world.submit()
    run(engine)
    for _ in range(3):
        world.submit()
    refusal = refused(world)
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
    assert refused(world, deadline=world.now).outcome is Outcome.EXPIRED


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
    run(engine)
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
    assert refused(world).outcome is Outcome.NO_ENGINE
    assert refused(world).retry_after_s is None


def test_a_hopeless_model_is_worth_asking_for_again_when_its_parked_engine_was_tried(pool_world: ModuleType) -> None:
    world = pool_world.World()
    waiting = world.submit()
    world.models["m"] = ServedModel(name="m", path="", hopeless=True, retry_s=60.0)
    world.publish()
    for refusal in (waiting.read().refused, refused(world)):
        assert refusal.retry_after_s == 60.0
        assert refusal.message.endswith("one is tried again after at most 60 s")


def test_models_do_not_wait_for_each_other(pool_world: ModuleType) -> None:
    world = pool_world.World(models=("m", "other"))
    engine = world.start("e1", model="other")
    world.submit()
    reader = world.submit(model="other")
    run(engine)
    assert reader.read().completed
    assert refused(world, model="unheard").outcome is Outcome.UNKNOWN_MODEL


# ---- engines that end in good order ----


def test_a_draining_engine_gets_nothing_new_and_finishes_what_it_has(pool_world: ModuleType) -> None:
    world = pool_world.World()
    engine = world.start()
    reader = world.submit()
    world.status(engine, EngineStatus.DRAINING)
    late = world.submit()
    run(engine)
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
    run(second)
    reader.read().check()
    assert reader.completed
    assert reader.ticket.engine_ids == ("e0", "e1")
    assert world.recovered == []
    assert world.submit().ticket.engine_ids == ("e1",), "the first one is not asked again"


# ---- deaths ----


def test_a_death_moves_everything_at_once_the_most_important_first(pool_world: ModuleType) -> None:
    world = pool_world.World()
    first = world.start("e0")
    readers = [world.submit([n], priority=-n, max_tokens=9) for n in (1, 2, 3)]
    first.take_in()
    first.step(2)
    second = world.start("e1")
    world.kill(first)
    assert [message.request_id for message in second.inbox if isinstance(message, Submit)] == [
        reader.work.request_id for reader in reversed(readers)
    ]
    run(second)
    for reader in readers:
        reader.read().check()
        assert reader.completed
        assert reader.ticket.engine_ids == ("e0", "e1")
    assert {(event.from_engine, event.to_engine, event.attempt) for event in world.recovered} == {("e0", "e1", 2)}
    assert world.core.snapshot().num_recoveries == 3


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
    run(second)
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
    run(engine)
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


def test_only_open_choices_go_on(pool_world: ModuleType) -> None:
    world = pool_world.World()
    first = world.start("e0")
    reader = world.submit([1], num_choices=3, max_tokens=50, ignore_eos=False)
    first.take_in()
    whole = {index: len(pool_world.expected(reader.work, index)[0]) for index in range(3)}
    first.step(min(whole.values()))
    done = {index for index, length in whole.items() if length == min(whole.values())}
    second = world.start("e1")
    world.kill(first)
    (message,) = [message for message in second.inbox if isinstance(message, Submit)]
    assert {choice.index for choice in message.choices} == {0, 1, 2} - done
    run(second)
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
    name = reader.work.request_id
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
    run(second)
    reader.read()
    assert reader.finishes[0].usage == Usage(prompt_tokens=3, cached_tokens=1, output_tokens=9)


def test_prompt_logprobs_come_once(pool_world: ModuleType) -> None:
    world = pool_world.World()
    first = world.start("e0")
    reader = world.submit(max_tokens=9)
    name = reader.work.request_id

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
    name = reader.work.request_id
    engine.say_step([Delta(request_id=name, attempt=1, choice=0, position=4, token_ids=(1,))])
    assert isinstance(engine.inbox[0], Abort)
    run(engine)
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
    name = reader.work.request_id
    usage = Usage(prompt_tokens=3, cached_tokens=0, output_tokens=1)
    failed = Finish(outcome=Outcome.ENGINE_FAILED, reason=None, usage=usage)
    late = Delta(request_id=name, attempt=1, choice=0, position=1, finish=failed)
    engine.say_step([late])
    engine.connection, current = old, engine.connection
    engine.say_step([late])
    engine.connection = current
    assert reader.entry.state is State.RUNNING


def test_an_engine_that_does_not_read_loses_its_connection_and_no_request(pool_world: ModuleType) -> None:
    world = pool_world.World()
    engine = world.start()
    world.wires.unread = True
    reader = world.submit()
    world.wires.unread = False
    assert reader.entry.state is State.RECOVERING
    world.connect(engine)
    run(engine)
    assert reader.read().completed


def test_an_old_membership_does_not_revive_the_dead(pool_world: ModuleType) -> None:
    world = pool_world.World()
    engine = world.start()
    world.kill(engine)
    engine.alive = True
    world.publish()
    assert world.wires.wanted == {}
    assert world.core.model_state("m").num_ready == 0


# ---- suspects ----


def crash(world: Any, name: str, *readers: Any) -> Any:
    """An engine starts, takes everything in, and dies in a step that has only `readers` aboard."""
    engine = world.start(name)
    engine.take_in()
    names = {reader.work.request_id for reader in readers}
    world.kill(engine, aboard=tuple(entry for entry in engine.aboard() if entry[1] in names))
    return engine


def test_a_second_crash_aboard_without_a_token_is_resumed_alone(pool_world: ModuleType) -> None:
    world = pool_world.World()
    pill, innocent = world.submit([1]), world.submit([2])
    crash(world, "e0", pill, innocent)
    crash(world, "e0", pill)
    engine = world.start("e0")
    alone = {message.request_id: message.alone for message in engine.inbox if isinstance(message, Submit)}
    assert alone == {pill.work.request_id: True, innocent.work.request_id: False}
    run(engine)
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
    run(world.start("e0"))
    assert reader.read().completed


def test_what_kills_engines_alone_is_quarantined_and_innocents_go_on(pool_world: ModuleType) -> None:
    world = pool_world.World()
    pill, innocent = world.submit([1]), world.submit([2])
    for _ in range(4):
        crash(world, "e0", pill)
    refusal = pill.read().refused
    run(world.start("e0"))
    assert innocent.read().completed

    again = refused(world, prompt=[1])
    for each in (refusal, again):
        assert (each.outcome, each.should_retry) == (Outcome.ENGINE_FAILED, False)
        assert (each.limit, each.measured) == ("quarantine_s=600", "4 crashes")
    assert world.submit([2]).entry.state is State.RUNNING
    world.pass_time(601)
    assert world.submit([1]).entry.state is State.RUNNING


def test_one_request_runs_alone_at_a_time(pool_world: ModuleType) -> None:
    world = pool_world.World()
    suspects = [world.submit([1]), world.submit([2])]
    for _ in range(2):
        crash(world, "e0", *suspects)
    engines = [world.start("e0"), world.start("e1")]
    sent = [message for engine in engines for message in engine.inbox if isinstance(message, Submit)]
    assert [(message.request_id, message.alone) for message in sent] == [(suspects[0].work.request_id, True)]
    run(*engines)
    assert suspects[0].read().completed
    assert suspects[1].read().completed


def test_crashes_of_other_gateways_requests_accuse_nobody_here(pool_world: ModuleType) -> None:
    world = pool_world.World()
    reader = world.submit()
    name = reader.work.request_id
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
    run(other)
    assert reader.read().completed


# ---- routing and books ----


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
    assert refused(world).outcome is Outcome.DRAINING
    world.core.check_integrity()


def test_integrity_tells_of_a_request_that_is_nowhere(pool_world: ModuleType) -> None:
    world = pool_world.World()
    world.start()
    reader = world.submit()
    reader.entry.place.entries.clear()
    with pytest.raises(JournalError, match="1 requests are open, 0 on engines and 0 waiting"):
        world.core.check_integrity()
