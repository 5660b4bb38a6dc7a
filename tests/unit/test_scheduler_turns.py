"""Who has to wait although there is room: for company, for its turn alone; and until when."""

from types import ModuleType

import pytest

SECOND = 1_000_000_000


# ---- the batch wait ----


def test_a_lone_arrival_waits_for_company(fake_steps: ModuleType) -> None:
    bench = fake_steps.Bench(batch_wait_s=2.0)
    bench.add("a", 2)
    assert bench.step(10.0) == []
    assert bench.scheduler.next_wakeup_ns == 12 * SECOND
    bench.add("b", 2)
    assert bench.step(11.9) == []
    assert bench.step(12.0) == [("a", 2), ("b", 2)]


def test_a_wait_that_is_over_wakes_nobody(fake_steps: ModuleType) -> None:
    bench = fake_steps.Bench(batch_wait_s=2.0)
    bench.add("a", 2)
    bench.schedule(0.0)
    bench.scheduler.blocks.pool.hold_back(64)  # the wait ends, but there is no room
    assert bench.schedule(2.0).plan is None
    assert bench.scheduler.next_wakeup_ns is None
    bench.scheduler.blocks.pool.hold_back(0)
    assert bench.step(2.5) == [("a", 2)]


def test_nobody_waits_for_company_while_something_runs(fake_steps: ModuleType) -> None:
    bench = fake_steps.Bench(batch_wait_s=2.0)
    bench.add("a", 2)
    bench.step(0.0)
    bench.step(2.0)
    bench.add("b", 2)
    assert bench.step(2.1) == [("a", 1), ("b", 2)]


@pytest.mark.parametrize("length", [2, 16])
def test_a_full_batch_does_not_wait(fake_steps: ModuleType, length: int) -> None:
    bench = fake_steps.Bench(batch_wait_s=2.0, max_num_seqs=2)
    bench.add("a", length)
    if length == 2:
        assert bench.step() == []
        bench.add("b", length)
    assert bench.step() != []


def test_a_continuation_does_not_wait_for_company(fake_steps: ModuleType) -> None:
    bench = fake_steps.Bench(batch_wait_s=2.0)
    bench.add("a", 2, resumed=1)
    assert bench.step() == [("a", 3)]


def test_each_wait_starts_anew(fake_steps: ModuleType) -> None:
    bench = fake_steps.Bench(batch_wait_s=2.0)
    (a,) = bench.add("a", 2)
    bench.step(0.0)
    assert bench.step(2.0) == [("a", 2)]
    bench.scheduler.end(a)
    assert bench.step(3.0) == []
    bench.add("b", 2)
    assert bench.step(10.0) == []
    assert bench.step(12.0) == [("b", 2)]


# ---- alone ----


def test_steps_alternate_between_the_one_alone_and_everybody_else(fake_steps: ModuleType) -> None:
    bench = fake_steps.Bench()
    bench.add("a", 2)
    bench.add("b", 2)
    bench.step()
    bench.add("poison", 20, alone=True)
    assert bench.step() == [("a", 1), ("b", 1)]  # it gets its slot and blocks here
    assert bench.step() == [("poison", 16)]
    assert bench.step() == [("a", 1), ("b", 1)]
    assert bench.step() == [("poison", 4)]
    bench.add("c", 2)
    assert bench.step() == [("a", 1), ("b", 1), ("c", 2)]
    assert bench.step() == [("poison", 1)]


def test_the_one_alone_goes_on_without_pause_when_nobody_else_is_there(fake_steps: ModuleType) -> None:
    bench = fake_steps.Bench()
    bench.add("poison", 20, alone=True)
    assert [bench.step() for _ in range(4)] == [[("poison", 16)], [("poison", 4)], [("poison", 1)], [("poison", 1)]]


def test_the_one_alone_is_announced_with_its_first_row_not_when_it_gets_its_slot(fake_steps: ModuleType) -> None:
    bench = fake_steps.Bench()
    (a,) = bench.add("a", 2)
    (poison,) = bench.add("poison", 2, alone=True)
    (b,) = bench.add("b", 2)
    joined = []
    for _ in range(3):
        plan = bench.schedule().plan
        assert plan is not None
        joined.append(plan.joined)
        bench.settle(plan)
    assert poison.slot is not None
    assert joined == [(a, b), (poison,), ()]


def test_a_second_one_alone_waits_for_the_first_and_blocks_nobody(fake_steps: ModuleType) -> None:
    bench = fake_steps.Bench()
    (first,) = bench.add("first", 2, alone=True)
    bench.add("second", 2, alone=True)
    bench.add("a", 2)
    assert bench.step() == [("a", 2)]
    assert bench.step() == [("first", 2)]
    bench.scheduler.end(first)
    assert bench.step() == [("a", 1)]
    assert bench.step() == [("second", 2)]


# ---- deadlines ----


def test_what_expires_while_it_waits_ends_and_what_runs_goes_on(fake_steps: ModuleType) -> None:
    bench = fake_steps.Bench(max_num_seqs=1)
    (a,) = bench.add("a", 2, deadline_s=5)
    bench.add("b", 2, deadline_s=7)
    bench.add("c", 2)
    assert bench.step(1.0) == [("a", 2)]
    assert bench.scheduler.next_wakeup_ns == 7 * SECOND
    assert bench.schedule(6.9).expired == ()
    expired = bench.schedule(7.0).expired
    assert [bench.names[sequence] for sequence in expired] == ["b"]
    assert bench.scheduler.num_waiting == 1
    bench.scheduler.end(a)
    assert bench.step(8.0) == [("c", 2)]


def test_a_preempted_sequence_can_expire(fake_steps: ModuleType) -> None:
    bench = fake_steps.Bench(num_blocks=4)
    bench.add("a", 4)
    bench.add("b", 4, deadline_s=5)
    while bench.scheduler.num_preemptions == 0:
        bench.step(1.0)
    assert [bench.names[s] for s in bench.schedule(5.0).expired] == ["b"]
    bench.scheduler.check_integrity()


def test_all_choices_of_a_request_expire_also_those_that_wait_for_the_first(fake_steps: ModuleType) -> None:
    bench = fake_steps.Bench(max_num_seqs=1)
    bench.add("a", 2)
    bench.step()
    bench.add("b", 8, deadline_s=1, choices=3)
    assert [bench.names[s] for s in bench.schedule(2.0).expired] == ["b0", "b1", "b2"]
    assert bench.scheduler.num_waiting == 0
