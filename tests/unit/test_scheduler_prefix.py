"""Prefixes in the scheduler's hands: what is shared, and what is not. Worked examples; block size 4."""

from types import ModuleType
from typing import Any

import pytest

from spillway_engine.scheduling.scheduler import Scheduler

# ---- prefixes ----


def test_full_blocks_are_shared_and_the_last_known_token_is_always_computed(fake_steps: ModuleType) -> None:
    scheduler = fake_steps.scheduler_of(16)
    first, same = (
        fake_steps.sequence_of(1, fake_steps.distinct(1, 8)),
        fake_steps.sequence_of(2, fake_steps.distinct(1, 8)),
    )
    scheduler.add([first])
    fake_steps.step(scheduler)
    scheduler.add([same])
    plan = fake_steps.step(scheduler)
    assert fake_steps.rows(plan)[-1] == (same, 4, 4)
    assert same.block_ids[0] == first.block_ids[0]
    assert same.block_ids[1] != first.block_ids[1]
    assert same.cached_tokens == 4
    assert (scheduler.blocks.prefix_queries, scheduler.blocks.prefix_hits) == (16, 4)


def test_output_tokens_are_found_by_the_next_turn_of_a_conversation(fake_steps: ModuleType) -> None:
    scheduler = fake_steps.scheduler_of(16)
    first = fake_steps.sequence_of(1, fake_steps.distinct(1, 6))
    scheduler.add([first])
    for _ in range(4):
        fake_steps.step(scheduler)
    turn = first.tokens[:8]
    scheduler.end(first)
    second = fake_steps.sequence_of(2, [*turn, 7, 7])
    scheduler.add([second])
    assert fake_steps.rows(fake_steps.step(scheduler)) == [(second, 8, 2)]


def test_a_block_is_found_only_once_it_is_computed(fake_steps: ModuleType) -> None:
    scheduler = fake_steps.scheduler_of(32, tokens=8)
    first, same = (
        fake_steps.sequence_of(1, fake_steps.distinct(1, 12)),
        fake_steps.sequence_of(2, fake_steps.distinct(1, 12)),
    )
    scheduler.add([first])
    scheduler.add([same])
    fake_steps.step(scheduler)
    plan = fake_steps.step(scheduler)  # the last four of the first, then the other finds eight computed
    assert fake_steps.rows(plan) == [(first, 8, 4), (same, 8, 4)]
    for _ in range(2):
        fake_steps.step(scheduler)
    third = fake_steps.sequence_of(3, fake_steps.distinct(1, 14))
    scheduler.add([third])
    fake_steps.step(scheduler)
    assert third.block_ids[:3] == first.block_ids[:3]  # of two equal blocks the first registered one is shared


def test_two_who_compute_the_same_block_at_once_both_keep_their_own(fake_steps: ModuleType) -> None:
    scheduler = fake_steps.scheduler_of(32)
    first, same = (
        fake_steps.sequence_of(1, fake_steps.distinct(1, 8)),
        fake_steps.sequence_of(2, fake_steps.distinct(1, 8)),
    )
    scheduler.add([first])
    scheduler.add([same])
    assert fake_steps.rows(fake_steps.step(scheduler)) == [(first, 0, 8), (same, 0, 8)]
    assert set(first.block_ids).isdisjoint(same.block_ids)
    scheduler.end(first)
    scheduler.end(same)
    scheduler.check_integrity()
    assert scheduler.blocks.pool.statistics().cached == 2


@pytest.mark.parametrize(
    ("rest", "prefix_caching"), [({"salt": "other"}, True), ({"prompt_logprobs": 0}, True), ({}, False)]
)
def test_nothing_is_found(fake_steps: ModuleType, rest: dict[str, Any], *, prefix_caching: bool) -> None:
    scheduler = fake_steps.scheduler_of(16, prefix_caching=prefix_caching)
    scheduler.add([fake_steps.sequence_of(1, fake_steps.distinct(1, 8))])
    fake_steps.step(scheduler)
    other = fake_steps.sequence_of(2, fake_steps.distinct(1, 8), **rest)
    scheduler.add([other])
    assert fake_steps.rows(fake_steps.step(scheduler))[-1] == (other, 0, 8)
    assert scheduler.blocks.prefix_hits == 0


def test_a_found_block_that_was_free_counts_as_taken(fake_steps: ModuleType) -> None:
    scheduler = fake_steps.scheduler_of(8)
    first = fake_steps.sequence_of(1, fake_steps.distinct(1, 16))
    scheduler.add([first])
    fake_steps.step(scheduler)
    scheduler.end(first)  # four blocks are cached, four blank
    runs = fake_steps.sequence_of(2, fake_steps.distinct(2, 8))
    scheduler.add([runs])
    fake_steps.step(scheduler)
    longer = fake_steps.sequence_of(3, [*fake_steps.distinct(1, 16), 7, 7, 7, 7, 7, 7, 7, 7])
    scheduler.add([longer])  # finds four and lacks two: six, of six free, and one is the other's to grow into
    assert [row.sequence for row in fake_steps.step(scheduler).rows] == [runs]
    scheduler.end(runs)
    assert fake_steps.rows(fake_steps.step(scheduler)) == [(longer, 16, 8)]


def test_the_head_of_a_prefix_survives_its_tail(fake_steps: ModuleType) -> None:
    scheduler = fake_steps.scheduler_of(6)
    first = fake_steps.sequence_of(1, fake_steps.distinct(1, 13))
    scheduler.add([first])
    fake_steps.step(scheduler)
    scheduler.end(first)
    filler = fake_steps.sequence_of(
        2, fake_steps.distinct(2, 16)
    )  # four blocks: the three blank ones, and one that was cached
    scheduler.add([filler])
    fake_steps.step(scheduler)
    scheduler.end(filler)
    again = fake_steps.sequence_of(3, fake_steps.distinct(1, 13))
    scheduler.add([again])
    assert fake_steps.rows(fake_steps.step(scheduler)) == [(again, 8, 5)]


def test_choices_wait_for_the_first_ones_prompt_and_share_it(fake_steps: ModuleType) -> None:
    scheduler = fake_steps.scheduler_of(32, tokens=8)
    choices = fake_steps.sequences_of(1, fake_steps.distinct(1, 12), choices=3)
    scheduler.add(choices)
    assert fake_steps.rows(fake_steps.step(scheduler)) == [(choices[0], 0, 8)]
    assert fake_steps.rows(fake_steps.step(scheduler)) == [(choices[0], 8, 4)]
    plan = fake_steps.step(scheduler)
    assert fake_steps.rows(plan)[:2] == [(choices[0], 12, 1), (choices[1], 8, 4)]
    assert choices[1].block_ids[:2] == choices[0].block_ids[:2]


def test_choices_do_not_wait_for_a_prompt_that_nobody_could_share(fake_steps: ModuleType) -> None:
    cases: tuple[tuple[Scheduler, dict[str, Any], int], ...] = (
        (fake_steps.scheduler_of(32), {}, 3),
        (fake_steps.scheduler_of(32), {"prompt_logprobs": 1}, 12),
        (fake_steps.scheduler_of(32, prefix_caching=False), {}, 12),
    )
    for scheduler, rest, length in cases:
        choices = fake_steps.sequences_of(1, fake_steps.distinct(1, length), choices=3, **rest)
        scheduler.add(choices)
        assert [row.sequence for row in fake_steps.step(scheduler).rows] == choices


def test_when_the_first_choice_ends_early_the_others_go_on(fake_steps: ModuleType) -> None:
    scheduler = fake_steps.scheduler_of(32, tokens=8)
    choices = fake_steps.sequences_of(1, fake_steps.distinct(1, 12), choices=3)
    scheduler.add(choices)
    fake_steps.step(scheduler)
    scheduler.end(choices[0])
    assert fake_steps.step(scheduler).rows[0].sequence is choices[1]
    scheduler.end(choices[2])
    scheduler.end(choices[1])
    scheduler.check_integrity()
    assert (scheduler.num_running, scheduler.num_waiting) == (0, 0)
