"""The queue: lazy deletion does not pile up, and a step's work does not grow with what waits."""

import gc
import sys
from collections.abc import Callable
from types import FrameType

import pytest

from spillway_engine.plan import StepResult
from spillway_engine.request import Request, Sequence
from spillway_engine.scheduling.scheduler import Scheduler
from spillway_engine.scheduling.waiting import LazyHeap, WaitingQueue
from spillway_engine.settings import SchedulerSettings
from spillway_wire.sampling import SamplingParams


def sequence_of(arrival: int, *, deadline_ns: int | None = None, length: int = 4) -> Sequence:
    request = Request(
        key=("client", str(arrival), 1), prompt_token_ids=[arrival % 50] * length, arrival=arrival,
        params=SamplingParams(), deadline_ns=deadline_ns,
    )  # fmt: skip
    return Sequence(request, 0, max_output_tokens=999)


def count_calls(work: Callable[[], object]) -> int:
    """Calls of Python and C functions that `work` makes: a measure of cost that no busy machine disturbs."""
    calls = 0

    def count(_frame: FrameType, event: str, _arg: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    gc.collect()
    gc.disable()  # a collection calls back whoever watches for it, in the midst of the work
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
        gc.enable()
    return calls


def calls_of_steps(num_waiting: int) -> int:
    settings = SchedulerSettings(max_num_seqs=4, max_num_batched_tokens=64, num_blocks=4096)
    scheduler = Scheduler(settings)
    for arrival in range(4 + num_waiting):
        scheduler.add([sequence_of(arrival, deadline_ns=10**12 + arrival)])

    def steps() -> None:
        for _ in range(20):
            plan = scheduler.schedule(0).plan
            assert plan is not None
            scheduler.settle(plan, StepResult([1] * len(plan.rows)))

    steps()
    return count_calls(steps)


def test_ten_thousand_waiting_cost_a_step_no_more_than_ten() -> None:
    assert calls_of_steps(10_000) == calls_of_steps(10)


def test_one_that_does_not_fit_is_not_looked_up_again_until_something_is_freed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scheduler = Scheduler(SchedulerSettings(max_num_seqs=4, max_num_batched_tokens=64, block_size=4, num_blocks=25))
    leaves, stays, large = sequence_of(1), sequence_of(2), sequence_of(3, length=72)

    def step() -> set[Sequence]:
        plan = scheduler.schedule(0).plan
        assert plan is not None
        scheduler.settle(plan, StepResult([1 if row.samples else None for row in plan.rows]))
        return {row.sequence for row in plan.rows}

    scheduler.add([leaves])
    scheduler.add([stays])
    for _ in range(6):
        step()
    scheduler.add([large])
    lookups: list[Sequence] = []
    place = scheduler.blocks.place

    def spy(sequence: Sequence, *, headroom: int) -> bool:
        lookups.append(sequence)
        return place(sequence, headroom=headroom)

    monkeypatch.setattr(scheduler.blocks, "place", spy)
    for _ in range(10):
        assert step() == {leaves, stays}
    assert lookups == [large]
    scheduler.end(leaves)
    assert step() == {stays, large}


def test_dropped_entries_are_swept_out() -> None:
    heap = LazyHeap()
    for number in range(10_000):
        sequence = sequence_of(number)
        heap.push((number,), sequence)
        heap.discard(sequence)
        assert heap.num_entries <= 2 * len(heap) + 65
    assert len(heap) == 0
    assert heap.first() is None


def test_many_requests_with_far_deadlines_leave_nothing_behind() -> None:
    queue = WaitingQueue()
    for number in range(2_000):
        sequence = sequence_of(number, deadline_ns=10**18)
        queue.push(sequence)
        assert queue.head() is sequence
        queue.discard(sequence)
    assert (len(queue), queue.num_tokens, queue.next_deadline_ns) == (0, 0, None)
    assert queue._deadlines.num_entries <= 65


def test_a_sequence_that_comes_back_takes_its_old_place() -> None:
    queue = WaitingQueue()
    first, second = sequence_of(1), sequence_of(2)
    queue.push(first)
    queue.push(second)
    queue.discard(first)
    assert queue.head() is second
    queue.push(first)
    assert queue.head() is first
    assert len(queue) == 2
