"""The pool's pure parts, each by itself: lifecycle, line, drain rate, affinity, books, quarantine, retries."""

import asyncio
import itertools
from typing import Any

import pytest

from spillway.pool.capacity import EngineBook, Estimate
from spillway.pool.contract import Work
from spillway.pool.journal import Entry, Journal, JournalError
from spillway.pool.lifecycle import TRANSITIONS, Event, State, follow
from spillway.pool.members import Roster
from spillway.pool.policies import POLICIES, PoolPolicies, connecting
from spillway.pool.prefix import BLOCK_TOKENS, MAX_BLOCKS, PrefixMemory, prefix_of
from spillway.pool.queue import DrainRate, Line, WaitingQueue
from spillway.pool.router import SHARE_TOKENS, Candidate, Need, choose, score
from spillway.pool.suspects import Judgement, Quarantine, fingerprint, strike
from spillway_wire.links import LinkError
from spillway_wire.messages import Capacity, Delta, Exactness, Load, Welcome
from spillway_wire.plane import EngineStatus, Member, Membership, ServedModel
from spillway_wire.sampling import SamplingParams
from spillway_wire.states import IllegalTransitionError

CAPACITY = Capacity(max_num_seqs=4, max_num_batched_tokens=64, max_model_len=128, num_blocks=10, block_size=16)


def work(name: str = "x", **fields: Any) -> Work:
    given: dict[str, Any] = {"model": "m", "prompt_token_ids": [1, 2], "params": SamplingParams()} | fields
    return Work(request_id=name, **given)


def entry(name: str, arrival: int = 0, **fields: Any) -> Entry:
    return Entry(work(name, **fields), arrival, 0.0, ())


# ---- lifecycle ----


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_what_the_table_does_not_allow_raises_and_changes_nothing(state: State, event: Event) -> None:
    request = entry("x")
    request.state = state
    if (state, event) in TRANSITIONS:
        request.follow_event(event)
        assert request.state is follow(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(IllegalTransitionError, match=f"{event.name.lower()} is not allowed"):
            request.follow_event(event)
        assert request.state is state


def test_every_state_but_the_last_has_a_way_out_and_can_be_reached() -> None:
    assert {state for state, _ in TRANSITIONS} == set(State) - {State.FINISHED}
    assert {*TRANSITIONS.values(), State.QUEUED} == set(State)
    assert all((state, Event.FINISH) in TRANSITIONS for state in State if state is not State.FINISHED)


def test_a_request_cannot_be_closed_twice() -> None:
    journal = Journal()
    request = journal.open(work(), 0.0, ())
    journal.close(request, 1.0, "completed")
    with pytest.raises(IllegalTransitionError):
        journal.close(request, 2.0, "completed")
    with pytest.raises(JournalError, match="ask for at least one"):
        journal.open(work(num_choices=0), 0.0, ())


# ---- waiting ----


def test_a_line_does_not_keep_what_was_dropped() -> None:
    line: Line[Entry] = Line()
    entries = [entry(str(number), number) for number in range(1000)]
    for number, request in enumerate(entries):
        line.push((0, number), request)
    for request in entries[:999]:
        assert line.discard(request)
        assert not line.discard(request)
    assert line.first() is entries[999]
    assert (len(line), len(line._heap)) == (1, 1)


def test_an_entry_that_comes_back_stands_at_its_new_place() -> None:
    line: Line[Entry] = Line()
    moved, other = entry("moved"), entry("other")
    line.push((0, 1), moved)
    line.push((0, 2), other)
    line.discard(moved)
    line.push((0, 3), moved)
    assert line.first() is other


def test_a_queue_whose_count_is_wrong_says_so() -> None:
    queue = WaitingQueue()
    queue.push(entry("x"))
    queue.check_integrity()
    queue.num_fresh = 2
    with pytest.raises(JournalError, match="2 fresh requests are counted, 1 wait"):
        queue.check_integrity()


def test_what_is_held_counts_for_its_deadline_only() -> None:
    queue = WaitingQueue()
    held = entry("held", deadline=7.0)
    queue.hold(held)
    assert (queue.num_fresh, len(queue), queue.next_deadline) == (0, 1, 7.0)
    assert queue.is_held(held)
    assert (queue.expired(6.9), queue.expired(7.0)) == ([], [held])
    assert queue.discard(held)
    assert (len(queue), queue.next_deadline) == (0, None)
    assert not queue.discard(held)


def test_the_drain_rate_forgets_what_is_older_than_its_window() -> None:
    rate = DrainRate(10.0, (1.0, 120.0))
    assert rate.retry_after_s(5, 0.0) == 120.0
    for second in range(20):
        for _ in range(4):
            rate.count(float(second))
    assert rate.per_second(19.0) == pytest.approx(4.0, rel=0.1)
    assert rate.retry_after_s(2, 19.0) == 1.0
    assert rate.retry_after_s(40, 19.0) == pytest.approx(10.0, rel=0.1)
    assert rate.retry_after_s(10_000, 19.0) == 120.0
    assert rate.retry_after_s(1, 40.0) == 120.0


# ---- affinity ----


def test_a_prefix_is_known_as_far_as_its_full_blocks_agree() -> None:
    memory = PrefixMemory(100)
    prompt = list(range(70))
    memory.remember(prefix_of(prompt))
    assert memory.match(prefix_of(prompt)) == 64
    assert memory.match(prefix_of([*prompt[:40], 999, *prompt[41:]])) == 32
    assert memory.match(prefix_of([999, *prompt[1:]])) == 0
    assert memory.match(prefix_of(prompt, "tenant")) == 0
    assert prefix_of(prompt[:15]) == ()
    assert len(prefix_of([0] * BLOCK_TOKENS * (MAX_BLOCKS + 5))) == MAX_BLOCKS


def test_memory_is_bounded_and_forgets_the_end_of_a_prefix_before_its_front() -> None:
    memory = PrefixMemory(3)
    prefix = prefix_of(list(range(5 * BLOCK_TOKENS)))
    memory.remember(prefix)
    assert len(memory) == 3
    assert memory.match(prefix) == 3 * BLOCK_TOKENS


# ---- books ----


def test_what_was_sent_is_debited_until_the_load_includes_it() -> None:
    book = EngineBook(CAPACITY)
    assert book.estimate() == Estimate(0, 10, 0)
    book.debit(fresh=True, sequences=2, prefill_tokens=20)
    book.debit(fresh=False, sequences=1, prefill_tokens=5)
    assert book.estimate() == Estimate(3, 7, 25)
    load = Load(running=2, waiting=0, free_blocks=8, waiting_prefill_tokens=4)
    book.hear(load, 1)
    assert book.estimate() == Estimate(3, 7, 9)
    book.hear(load, 2)
    assert book.estimate() == Estimate(2, 8, 4)
    book.hear(Load(running=0, waiting=0, free_blocks=10, waiting_prefill_tokens=0), 1)
    assert book.estimate() == Estimate(2, 8, 4), "a word that was overtaken"


def test_credits_are_a_running_total_and_only_fresh_work_takes_one() -> None:
    book = EngineBook(CAPACITY)
    assert book.grant(3)
    assert not book.grant(3)
    assert not book.grant(2)
    book.debit(fresh=True, sequences=1, prefill_tokens=1)
    book.debit(fresh=False, sequences=1, prefill_tokens=1)
    assert book.credits == 2


def test_a_backlog_is_told_once_and_spare_credits_go_back() -> None:
    book = EngineBook(CAPACITY)
    assert book.backlog(0) is None
    assert book.backlog(3) == (3, 0)
    assert book.backlog(3) is None
    book.grant(30)
    assert book.backlog(3) == (3, 22)
    book.debit(fresh=True, sequences=1, prefill_tokens=1)
    assert book.backlog(2) is None, "the engine has counted it down itself"
    assert book.backlog(0) == (0, 22)


# ---- the router ----


def candidate(name: str, **fields: Any) -> Candidate:
    given: dict[str, Any] = {"credits": 1, "capacity": CAPACITY, "estimate": Estimate(0, 10, 0)} | fields
    return Candidate(engine_id=name, **given)


def test_the_score_counts_what_lies_before_the_first_token() -> None:
    need = Need(num_tokens=48, num_sequences=1)
    assert score(candidate("a"), need) == 48
    assert score(candidate("a", matched_tokens=32), need) == 16
    assert score(candidate("a", matched_tokens=48), need) == 1, "the last token is always computed"
    assert score(candidate("a", estimate=Estimate(2, 10, 100)), need) == 48 + 100 + 2 * SHARE_TOKENS
    assert score(candidate("a", estimate=Estimate(4, 10, 0)), need) == 48 + 4 * SHARE_TOKENS + 64
    assert score(candidate("a", estimate=Estimate(0, 1, 0)), need) == 48 + 2 * 16


def test_equals_take_turns() -> None:
    need = Need(num_tokens=8, num_sequences=1)
    chosen = choose([candidate("a", last_chosen=5), candidate("b", last_chosen=3)], need)
    assert chosen is not None
    assert chosen.engine_id == "b"


# ---- suspects ----


def test_strikes_lead_to_running_alone_and_then_to_quarantine() -> None:
    request = entry("x")
    verdicts = [strike(request, POLICIES) for _ in range(4)]
    assert verdicts == [Judgement.RESUME, Judgement.RESUME_ALONE, Judgement.RESUME_ALONE, Judgement.QUARANTINE]


def test_a_token_after_the_third_strike_begins_anew() -> None:
    request = entry("x")
    for _ in range(3):
        strike(request, POLICIES)
    assert request.alone
    request.begin_attempt("engine-0", 1, 0.0)
    request.accept(Delta(request_id="x", attempt=1, choice=0, position=0, token_ids=(1,)))
    assert strike(request, POLICIES) is Judgement.RESUME
    assert (request.strikes, request.alone) == (1, False)


def test_the_same_request_is_known_again_whatever_its_seed_and_id() -> None:
    mark = fingerprint(work(params=SamplingParams(seed=1)))
    assert mark == fingerprint(work("another", params=SamplingParams(seed=2), priority=3))
    for other in (
        work(model="other"),
        work(prompt_token_ids=[1, 3]),
        work(params=SamplingParams(temperature=0.5)),
    ):
        assert fingerprint(other) != mark


def test_the_quarantine_is_bounded_and_ends() -> None:
    quarantine = Quarantine(PoolPolicies(max_quarantined=2), lambda: 10.0)
    first, second, third = (work(prompt_token_ids=[n]) for n in range(3))
    for number, request in enumerate((first, second, third)):
        quarantine.add(request, 4, float(number))
    assert quarantine.check(first, 5.0) is None
    for request, remaining_s in ((second, 6), (third, 7)):
        refusal = quarantine.check(request, 5.0)
        assert refusal is not None
        assert refusal.message.endswith(f"for {remaining_s} s")
        assert (refusal.limit, refusal.measured) == ("quarantine_s=10", "4 crashes")
    assert quarantine.check(third, 12.0) is None
    assert len(quarantine) == 0


# ---- members ----


def welcome(length: int, exactness: Exactness, *, num_blocks: int = 100) -> Welcome:
    return Welcome(
        engine_id="e", incarnation=1, model="m", vocab_size=5, eos_token_ids=(0,), exactness=exactness,
        capacity=Capacity(
            max_num_seqs=1, max_num_batched_tokens=1, max_model_len=length, num_blocks=num_blocks, block_size=1
        ),
        engine_version="0",
    )  # fmt: skip


def test_a_model_is_as_long_and_as_exact_as_its_weakest_engine() -> None:
    roster = Roster()
    members = tuple(
        Member(engine_id=name, incarnation=1, model="m", address="unix:/x", status=status)
        for name, status in (("a", EngineStatus.READY), ("b", EngineStatus.STANDBY), ("c", EngineStatus.LOADING))
    )
    models = (ServedModel(name="m", path="", num_engines=3),)
    changes = roster.update(Membership(version=1, members=members, models=models), 0.0)
    assert [view.member.engine_id for view in changes.new] == ["a", "b"]
    assert roster.update(Membership(version=1, members=(), models=()), 0.0).gone == ()
    roster.connected(("a", 1), "gw.1", welcome(9, Exactness.LOGICAL))
    roster.connected(("b", 1), "gw.2", welcome(7, Exactness.EXACT))
    state = roster.state("m")
    assert state is not None
    assert (state.num_ready, state.num_engines, state.max_model_len, state.exactness) == (1, 3, 7, "logical")
    assert roster.connected(("c", 1), "gw.3", welcome(1, Exactness.EXACT)) is None
    assert roster.state("unheard") is None


def test_what_does_not_fit_into_the_cache_does_not_fit() -> None:
    roster = Roster()
    member = Member(engine_id="a", incarnation=1, model="m", address="unix:/x", status=EngineStatus.READY)
    models = (ServedModel(name="m", path="", num_engines=1),)
    roster.update(Membership(version=1, members=(member,), models=models), 0.0)
    roster.connected(("a", 1), "gw.1", welcome(64, Exactness.EXACT, num_blocks=15))
    state = roster.state("m")
    assert state is not None
    assert state.max_model_len == 16, "the last token's keys and values are never computed"


# ---- retries ----


def test_connecting_is_tried_until_it_succeeds_or_nobody_wants_it() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def attempt(num_failures: int, wanted: int, error: Exception) -> int:
        tries: list[int] = []
        async for attempt in connecting(POLICIES, over=lambda: len(tries) > wanted, sleep=sleep):
            with attempt:
                tries.append(1)
                if len(tries) <= num_failures:
                    raise error
        return len(tries)

    assert asyncio.run(attempt(9, 100, FileNotFoundError())) == 10
    assert all(before <= after + 0.02 for before, after in itertools.pairwise(slept))
    assert 0.0 < slept[0] < 0.1
    assert 0.4 < slept[-1] <= 0.52
    assert asyncio.run(attempt(1, 100, LinkError("not yet"))) == 2
    with pytest.raises(ConnectionRefusedError):
        asyncio.run(attempt(100, 3, ConnectionRefusedError()))
    with pytest.raises(ZeroDivisionError):
        asyncio.run(attempt(1, 100, ZeroDivisionError()))
