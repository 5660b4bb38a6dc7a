"""Who computes what in a step: budget, order of importance, continuations. Worked examples."""

from types import ModuleType

import pytest

from spillway_engine.settings import StepPolicy

# ---- budget ----


def test_prompts_are_chunked_into_the_token_budget_and_batched(fake_steps: ModuleType) -> None:
    bench = fake_steps.Bench()
    bench.add("a", 10)
    bench.add("b", 10)
    assert bench.step() == [("a", 10), ("b", 6)]
    assert bench.step() == [("a", 1), ("b", 4)]
    assert bench.step() == [("a", 1), ("b", 1)]


def test_a_chunk_samples_only_where_the_known_tokens_end(fake_steps: ModuleType) -> None:
    bench = fake_steps.Bench()
    bench.add("a", 20)
    first, second = bench.schedule().plan, None
    assert first is not None
    assert [(row.start, row.num_tokens, row.samples) for row in first.rows] == [(0, 16, False)]
    bench.settle(first)
    second = bench.schedule().plan
    assert second is not None
    assert [(row.start, row.num_tokens, row.samples) for row in second.rows] == [(16, 4, True)]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (StepPolicy.DECODE_FIRST, [("a", 1), ("b", 15)]),
        (StepPolicy.PREFILL_FIRST, [("b", 16)]),
    ],
)
def test_the_policy_says_who_gets_the_budget_first(
    fake_steps: ModuleType, policy: StepPolicy, expected: list[tuple[str, int]]
) -> None:
    bench = fake_steps.Bench(step_policy=policy)
    bench.add("a", 4)
    bench.step()
    bench.add("b", 40)
    assert bench.step() == expected


def test_prefill_first_gives_decodes_what_is_left_and_lists_them_first(fake_steps: ModuleType) -> None:
    bench = fake_steps.Bench(step_policy=StepPolicy.PREFILL_FIRST)
    bench.add("a", 4)
    bench.step()
    bench.add("b", 10)
    assert bench.step() == [("a", 1), ("b", 10)]


def test_slots_bound_the_batch_and_come_back(fake_steps: ModuleType) -> None:
    bench = fake_steps.Bench(max_num_seqs=2)
    (a,) = bench.add("a", 2)
    (b,) = bench.add("b", 2)
    (c,) = bench.add("c", 2)
    assert bench.step() == [("a", 2), ("b", 2)]
    assert {a.slot, b.slot} == {0, 1}
    freed = a.slot
    bench.scheduler.end(a)
    assert a.slot is None
    plan = bench.schedule().plan
    assert plan is not None
    assert plan.joined == (c,)
    assert c.slot == freed


def test_a_slot_is_announced_until_a_step_with_it_was_run(fake_steps: ModuleType) -> None:
    bench = fake_steps.Bench()
    (a,) = bench.add("a", 2)
    first = bench.schedule().plan
    again = bench.schedule().plan  # the first could not be run
    assert first is not None
    assert again is not None
    assert first.joined == again.joined == (a,)
    assert first.rows == again.rows
    bench.settle(again)
    third = bench.schedule().plan
    assert third is not None
    assert third.joined == ()


def test_priority_goes_before_arrival(fake_steps: ModuleType) -> None:
    bench = fake_steps.Bench(max_num_seqs=1)
    bench.add("late class", 2, priority=5)
    bench.add("first", 2, priority=0)
    bench.add("second", 2, priority=0)
    order = []
    for _ in range(3):
        ((name, _),) = bench.step()
        order.append(name)
        bench.scheduler.end(next(s for s in bench.names if bench.names[s] == name))
    assert order == ["first", "second", "late class"]


def test_an_important_prompt_passes_an_unimportant_one_that_is_half_done(fake_steps: ModuleType) -> None:
    bench = fake_steps.Bench()
    bench.add("slow", 40, priority=1)
    assert bench.step() == [("slow", 16)]
    bench.add("urgent", 10, priority=0)
    assert bench.step() == [("urgent", 10), ("slow", 6)]


def test_a_large_head_is_not_overtaken_by_small_requests_behind_it(fake_steps: ModuleType) -> None:
    bench = fake_steps.Bench(num_blocks=8)
    (a,) = bench.add("a", 16)
    bench.step()
    bench.add("large", 24)
    bench.add("small", 1)
    assert bench.step() == [("a", 1)]
    bench.scheduler.end(a)
    assert bench.step() == [("large", 16)]


def test_who_joins_leaves_a_block_of_growth_for_everybody_who_runs(fake_steps: ModuleType) -> None:
    bench = fake_steps.Bench(num_blocks=8)
    (a,) = bench.add("a", 4)
    bench.step()
    bench.add("b", 28)  # seven blocks, and seven are free
    assert bench.step() == [("a", 1)]
    assert len(a.block_ids) == 2
    bench.scheduler.end(a)
    assert bench.step() == [("b", 16)]


# ---- continuations ----


def test_a_continuation_goes_first_and_takes_half_while_fresh_work_waits(fake_steps: ModuleType) -> None:
    bench = fake_steps.Bench()
    bench.add("fresh", 30)
    bench.add("resumed", 20, resumed=5)
    assert bench.step() == [("resumed", 8), ("fresh", 8)]
    assert bench.step() == [("resumed", 8), ("fresh", 8)]
    assert bench.step() == [("resumed", 8), ("fresh", 8)]
    assert bench.step() == [("resumed", 1), ("fresh", 6)]


def test_half_is_of_what_decodes_leave(fake_steps: ModuleType) -> None:
    bench = fake_steps.Bench()
    for name in "abcd":
        bench.add(name, 1)
    bench.step()
    bench.add("fresh", 30)
    bench.add("resumed", 20, resumed=5)
    assert bench.step()[4:] == [("resumed", 6), ("fresh", 6)]


def test_a_continuation_takes_all_when_nothing_fresh_waits(fake_steps: ModuleType) -> None:
    bench = fake_steps.Bench()
    bench.add("resumed", 20, resumed=5)
    assert bench.step() == [("resumed", 16)]


def test_several_continuations_share_the_half(fake_steps: ModuleType) -> None:
    bench = fake_steps.Bench()
    bench.add("one", 4, resumed=1)
    bench.add("two", 20, resumed=1)
    bench.add("three", 20, resumed=1)
    bench.add("fresh", 40)
    assert bench.step() == [("one", 5), ("two", 3), ("fresh", 8)]


def test_a_continuation_of_a_lower_class_goes_behind_a_higher_one(fake_steps: ModuleType) -> None:
    bench = fake_steps.Bench(max_num_seqs=1)
    bench.add("resumed", 4, resumed=1, priority=1)
    bench.add("urgent", 4, priority=0)
    assert bench.step() == [("urgent", 4)]
