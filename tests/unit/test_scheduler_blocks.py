"""Blocks in the scheduler's hands: preemption, displacement, memory. Worked examples; block size 4."""

from types import ModuleType

import pytest

from spillway_engine.lifecycle import Status
from spillway_engine.memory.blocks import BlockPool, BlocksExhaustedError, IntegrityError
from spillway_engine.plan import StepResult
from spillway_wire.messages import MomentKind
from spillway_wire.states import IllegalTransitionError

# ---- preemption ----


def test_the_latest_of_the_least_important_is_preempted_and_computes_again(fake_steps: ModuleType) -> None:
    scheduler = fake_steps.scheduler_of(6)
    urgent, old, late = (
        fake_steps.sequence_of(n, fake_steps.distinct(n, 4), priority=p) for n, p in ((3, 0), (1, 1), (2, 1))
    )
    for sequence in (old, late, urgent):
        scheduler.add([sequence])
    fake_steps.step(scheduler)
    for _ in range(3):
        fake_steps.step(scheduler)
    assert scheduler.blocks.pool.num_free == 0
    assert scheduler.num_preemptions == 0
    fake_steps.step(scheduler)
    plan = fake_steps.step(scheduler)  # each would need a third block soon; at position 8 the first of them does
    while scheduler.num_preemptions == 0:
        plan = fake_steps.step(scheduler)
    assert late.status is Status.PREEMPTED
    assert late.slot is None
    assert late.block_ids == []
    assert {row.sequence for row in plan.rows} == {urgent, old}
    known = list(late.tokens)
    scheduler.end(urgent)
    scheduler.end(old)
    plan = fake_steps.step(scheduler)
    ((again, start, count),) = fake_steps.rows(plan)
    assert again is late
    assert start + count == len(known)
    assert late.tokens[:-1] == known
    kinds = [moment.kind for moment in late.moments]
    assert kinds == [MomentKind.SCHEDULED, MomentKind.PREEMPTED, MomentKind.RESUMED]


def test_the_least_important_sits_a_step_out_rather_than_take_from_its_betters(fake_steps: ModuleType) -> None:
    scheduler = fake_steps.scheduler_of(4)
    first, second = (
        fake_steps.sequence_of(1, fake_steps.distinct(1, 5)),
        fake_steps.sequence_of(2, fake_steps.distinct(2, 4)),
    )
    scheduler.add([first])
    scheduler.add([second])
    fake_steps.step(scheduler)
    scheduler.blocks.pool.hold_back(1)
    plan = fake_steps.step(scheduler)  # the second would need its second block now
    assert [row.sequence for row in plan.rows] == [first]
    assert second.status is Status.RUNNING
    assert scheduler.num_preemptions == 0
    scheduler.blocks.pool.hold_back(0)
    assert {row.sequence for row in fake_steps.step(scheduler).rows} == {first, second}


def test_an_important_arrival_displaces_a_less_important_class_but_not_its_own(fake_steps: ModuleType) -> None:
    scheduler = fake_steps.scheduler_of(6, max_num_seqs=2)
    one, two = (
        fake_steps.sequence_of(1, fake_steps.distinct(1, 4), priority=1),
        fake_steps.sequence_of(2, fake_steps.distinct(2, 4), priority=1),
    )
    peer, urgent = (
        fake_steps.sequence_of(3, fake_steps.distinct(3, 4), priority=1),
        fake_steps.sequence_of(4, fake_steps.distinct(4, 4), priority=0),
    )
    for sequence in (one, two, peer):
        scheduler.add([sequence])
    fake_steps.step(scheduler)
    assert peer.status is Status.WAITING
    scheduler.add([urgent])
    plan = fake_steps.step(scheduler)
    assert fake_steps.rows(plan)[1:] == [(urgent, 0, 4)]
    assert (one.status, two.status) == (Status.RUNNING, Status.PREEMPTED)
    scheduler.end(one)
    assert fake_steps.step(scheduler).rows[-1].sequence is two  # back at its old place, before its peer
    assert peer.status is Status.WAITING


def test_what_was_taken_from_a_sequence_does_not_go_to_a_less_important_one(fake_steps: ModuleType) -> None:
    scheduler = fake_steps.scheduler_of(128, tokens=8)
    decodes, prefills = (
        fake_steps.sequence_of(1, fake_steps.distinct(1, 4)),
        fake_steps.sequence_of(2, fake_steps.distinct(2, 199), resumed=(1,)),
    )
    victim, behind = (
        fake_steps.sequence_of(3, fake_steps.distinct(9, 3), priority=1, resumed=(1,)),
        fake_steps.sequence_of(4, [1], priority=1),
    )
    scheduler.add([victim])
    fake_steps.step(scheduler)
    for sequence in (decodes, prefills):
        scheduler.add([sequence])
    fake_steps.step(scheduler)
    while len(decodes.block_ids) * 4 > decodes.num_computed:
        fake_steps.step(scheduler)
    while len(victim.block_ids) < 5:
        scheduler.blocks.grow(victim)
    scheduler.blocks.pool.hold_back(scheduler.blocks.pool.num_free)
    scheduler.add([behind])
    fake_steps.step(scheduler)  # continuations have had their half, so the head of the fresh line is asked
    assert victim.status is Status.PREEMPTED
    assert scheduler.blocks.pool.num_free >= 3  # one for it, and one each for two who run
    assert behind.status is Status.WAITING


def test_nobody_is_displaced_in_vain(fake_steps: ModuleType) -> None:
    scheduler = fake_steps.scheduler_of(6)
    keeper, small = (
        fake_steps.sequence_of(1, fake_steps.distinct(1, 12), priority=0),
        fake_steps.sequence_of(2, fake_steps.distinct(2, 4), priority=2),
    )
    scheduler.add([keeper])
    scheduler.add([small])
    fake_steps.step(scheduler)
    scheduler.add(
        [fake_steps.sequence_of(3, fake_steps.distinct(3, 16), priority=1)]
    )  # four blocks; all of `small`'s would not do
    fake_steps.step(scheduler)
    assert small.status is Status.RUNNING
    assert scheduler.num_preemptions == 0


def test_after_memory_ran_out_steps_are_halved_and_grow_again(fake_steps: ModuleType) -> None:
    scheduler = fake_steps.scheduler_of(64, max_num_seqs=4, tokens=32)
    sequences = [fake_steps.sequence_of(n, fake_steps.distinct(n, 4)) for n in range(4)]
    for sequence in sequences:
        scheduler.add([sequence])
    plan = scheduler.schedule(0).plan
    assert plan is not None
    assert scheduler.back_off(plan, 0) == 2
    scheduler.check_integrity()
    assert [sequence.status for sequence in sequences[2:]] == [Status.PREEMPTED] * 2
    plan = fake_steps.step(scheduler)
    assert fake_steps.rows(plan) == [(sequences[0], 0, 4), (sequences[1], 0, 4)]
    assert set(plan.joined) == set(sequences[:2])
    for _ in range(15):
        assert len(fake_steps.step(scheduler).rows) == 2
    assert len(fake_steps.step(scheduler).rows) == 4


def test_after_memory_ran_out_prompts_are_computed_in_smaller_chunks(fake_steps: ModuleType) -> None:
    scheduler = fake_steps.scheduler_of(64, max_num_seqs=4, tokens=32)
    first, second = (fake_steps.sequence_of(n, fake_steps.distinct(n, 40)) for n in range(2))
    scheduler.add([first])
    scheduler.add([second])
    assert fake_steps.step(scheduler).num_tokens == 32
    plan = scheduler.schedule(0).plan
    assert plan is not None
    assert [row.num_tokens for row in plan.rows] == [8, 24]
    scheduler.back_off(plan, 0)
    assert [fake_steps.step(scheduler).num_tokens for _ in range(2)] == [8, 1]
    scheduler.end(first)
    assert fake_steps.rows(fake_steps.step(scheduler)) == [(second, 0, 16)]


def test_a_sequence_ends_once(fake_steps: ModuleType) -> None:
    scheduler = fake_steps.scheduler_of(8)
    sequence = fake_steps.sequence_of(1, fake_steps.distinct(1, 4))
    scheduler.add([sequence])
    scheduler.end(sequence)
    with pytest.raises(IllegalTransitionError):
        scheduler.end(sequence)
    scheduler.check_integrity()


def test_a_runner_that_forgets_a_token_is_caught(fake_steps: ModuleType) -> None:
    scheduler = fake_steps.scheduler_of(8)
    scheduler.add([fake_steps.sequence_of(1, fake_steps.distinct(1, 4))])
    plan = scheduler.schedule(0).plan
    assert plan is not None
    with pytest.raises(IntegrityError, match="no token"):
        scheduler.settle(plan, StepResult([None]))


# ---- spoiled blocks ----


def test_what_a_failed_sequence_wrote_is_never_found_and_zeroed_before_its_next_use(fake_steps: ModuleType) -> None:
    scheduler = fake_steps.scheduler_of(3)
    bad = fake_steps.sequence_of(1, fake_steps.distinct(1, 8))
    scheduler.add([bad])
    fake_steps.step(scheduler)
    spoiled = set(bad.block_ids)
    scheduler.end(bad, spoiled=True)
    scheduler.check_integrity()
    assert scheduler.blocks.pool.statistics().dirty == len(spoiled)
    again = fake_steps.sequence_of(2, fake_steps.distinct(1, 8))
    scheduler.add([again])
    plan = scheduler.schedule(0).plan
    assert plan is not None
    assert fake_steps.rows(plan) == [(again, 0, 8)]
    assert set(plan.scrub) == spoiled.intersection(again.block_ids) != set()
    repeated = scheduler.schedule(0).plan  # the first was not run, so nothing is zeroed yet
    assert repeated is not None
    assert repeated.scrub == plan.scrub
    scheduler.settle(repeated, StepResult([1]))
    assert fake_steps.step(scheduler).scrub == ()


# ---- the pool alone ----


def test_asking_for_too_much_changes_nothing() -> None:
    pool = BlockPool(4, 16)
    pool.allocate(3)
    with pytest.raises(BlocksExhaustedError, match="2 blocks wanted, 1 free"):
        pool.allocate(2)
    assert pool.num_free == 1


def test_held_blocks_are_out_of_reach_also_those_freed_later() -> None:
    pool = BlockPool(4, 16)
    blocks = pool.allocate(3)
    pool.hold_back(2)
    assert pool.num_free == 0
    pool.free(blocks)
    assert pool.num_free == 2
    assert pool.statistics().held == 2
    pool.hold_back(0)
    assert pool.num_free == 4


@pytest.mark.parametrize("damage", ["leak", "double", "stranger"])
def test_integrity_finds(fake_steps: ModuleType, damage: str) -> None:
    scheduler = fake_steps.scheduler_of(8)
    sequence = fake_steps.sequence_of(1, fake_steps.distinct(1, 8))
    scheduler.add([sequence])
    fake_steps.step(scheduler)
    if damage == "leak":
        sequence.block_ids.pop()
    elif damage == "double":
        sequence.block_ids[1] = sequence.block_ids[0]
    else:
        sequence.block_ids.append(7)
    with pytest.raises(IntegrityError):
        scheduler.check_integrity()
