"""The core when clients leave, deadlines pass, steps fail and memory runs out."""

from types import ModuleType

import pytest

from spillway_engine.memory.blocks import IntegrityError
from spillway_wire.messages import Choice, Load
from spillway_wire.outcomes import Outcome

SECOND = 1_000_000_000


class OutOfMemoryError(RuntimeError):
    """Named as torch's is, which the core knows by name."""


class DeviceFullError(OutOfMemoryError):
    """A library's own kind of it."""


# ---- aborts and stops ----


def test_an_abort_frees_at_once_and_nothing_more_is_said(fake_core: ModuleType) -> None:
    desk = fake_core.Desk()
    desk.submit("running", prompt=8)
    desk.submit("waiting", prompt=8)
    desk.step()
    before = len(desk.deltas)
    assert desk.core.load().free_blocks < 16
    assert desk.core.abort("c", "running", 1)
    assert desk.core.abort("c", "waiting", 1)
    assert not desk.core.abort("c", "running", 1)
    assert not desk.core.abort("c", "unknown", 1)
    assert desk.core.load() == Load(running=0, waiting=0, free_blocks=16, waiting_prefill_tokens=0)
    assert desk.run() == [delta for _, delta in desk.deltas[:before]]
    assert desk.core.snapshot().finished == {"client_gone": 2}


def test_an_abort_also_drops_the_end_of_a_choice_that_was_not_sent_yet(fake_core: ModuleType) -> None:
    desk = fake_core.Desk()
    desk.submit(choices=(Choice(index=0, output_token_ids=(1, 2, 3)), Choice(index=1)))
    assert desk.core.abort("c", "r", 1)
    assert desk.run() == []


def test_a_choice_that_is_ended_frees_what_it_holds_and_its_siblings_go_on(fake_core: ModuleType) -> None:
    desk = fake_core.Desk()
    desk.submit(prompt=8, choices=(Choice(index=0), Choice(index=1)))
    desk.step()
    held = desk.core.load().free_blocks
    assert desk.core.end_choice("c", "r", 1, 0)
    desk.core.check_integrity()
    load = desk.core.load()
    assert (load.running + load.waiting, load.free_blocks > held) == (1, True)
    assert not desk.core.end_choice("c", "r", 1, 0)
    assert not desk.core.end_choice("c", "r", 1, 7)
    assert not desk.core.end_choice("c", "unknown", 1, 0)
    before = len(desk.deltas)
    desk.run()
    assert {delta.choice for _, delta in desk.deltas[before:]} == {1}
    assert desk.core.snapshot().finished == {"completed": 1}
    assert desk.core.load().free_blocks == 16


def test_ending_every_choice_ends_the_request_and_drops_what_was_not_sent_yet(fake_core: ModuleType) -> None:
    desk = fake_core.Desk()
    desk.submit(choices=(Choice(index=0, output_token_ids=(1, 2, 3)), Choice(index=1), Choice(index=2)))
    assert desk.core.end_choice("c", "r", 1, 1)
    assert desk.core.end_choice("c", "r", 1, 2)
    assert [(delta.choice, delta.finish is not None) for delta in desk.run()] == [(0, True)]
    assert desk.core.snapshot().finished == {"completed": 1}


def test_a_lost_client_takes_all_its_requests_along_and_no_one_elses(fake_core: ModuleType) -> None:
    desk = fake_core.Desk()
    for name in ("one", "two"):
        desk.submit(name, client="gone")
    desk.submit("three", client="here")
    desk.step()
    assert desk.core.abort_client("gone", Outcome.SLOW_READER) == 2
    assert desk.core.abort_client("gone") == 0
    desk.deltas.clear()
    desk.run()
    assert {client for client, _ in desk.deltas} == {"here"}
    assert desk.core.snapshot().finished == {"slow_reader": 2, "completed": 1}


def test_a_stop_ends_everything_and_says_so(fake_core: ModuleType) -> None:
    desk = fake_core.Desk(max_num_seqs=1)
    desk.submit("running")
    desk.submit("waiting", choices=(Choice(index=0), Choice(index=1)))
    desk.step()
    deltas = desk.core.end_all(Outcome.DRAINING, "the engine stops")
    assert [(client, delta.request_id, delta.choice) for client, delta in deltas] == [
        ("c", "running", 0), ("c", "waiting", 0), ("c", "waiting", 1),
    ]  # fmt: skip
    for _, delta in deltas:
        assert delta.finish is not None
        assert (delta.finish.outcome, delta.finish.reason) == (Outcome.DRAINING, None)
        assert delta.finish.message == "the engine stops"
    assert not desk.core.has_work
    desk.core.check_integrity()


def test_a_deadline_ends_what_waits(fake_core: ModuleType) -> None:
    desk = fake_core.Desk(max_num_seqs=1)
    desk.submit("running")
    desk.submit("late", timeout_s=1.0)
    desk.step()
    assert desk.core.next_wakeup_ns is not None
    desk.now_ns += SECOND
    report = desk.step()
    assert report is not None
    late = next(delta for _, delta in report.deltas if delta.request_id == "late")
    assert late.finish is not None
    assert late.finish.outcome is Outcome.EXPIRED
    assert desk.core.snapshot().expired == 1
    desk.run()


# ---- failures ----


def test_logits_that_are_no_numbers_end_that_request_alone(fake_core: ModuleType) -> None:
    desk = fake_core.Desk()
    desk.submit("good")
    desk.submit("bad")
    desk.runner.fault = lambda plan: frozenset(
        i for i, row in enumerate(plan.rows) if row.sequence.request.key[1] == "bad"
    )
    deltas = desk.run()
    assert fake_core.tokens_of(delta for delta in deltas if delta.request_id == "good") == [1, 2, 3]
    (bad,) = (delta for delta in deltas if delta.request_id == "bad")
    assert bad.finish is not None
    assert (bad.finish.outcome, bad.finish.message) == (Outcome.ENGINE_FAILED, "logits held NaN or Inf")
    snapshot = desk.core.snapshot()
    assert snapshot.failed_logits == 1
    assert snapshot.finished == {"completed": 1, "engine_failed": 1}
    assert desk.runner.plans[1].scrub != ()  # the good one grew into the block of the bad one


@pytest.mark.parametrize("error", [MemoryError("full"), OutOfMemoryError("full"), DeviceFullError()])
def test_a_step_that_does_not_fit_into_memory_goes_on_in_smaller_steps(fake_core: ModuleType, error: Exception) -> None:
    desk = fake_core.Desk()
    desk.submit("one")
    desk.submit("two")
    fake_core.raise_once(desk.runner, error)
    report = desk.step()
    assert report is not None
    assert (report.out_of_memory, report.num_tokens, report.num_preempted, report.deltas) == (True, 0, 1, [])
    deltas = desk.run()
    for name in ("one", "two"):
        assert fake_core.tokens_of(delta for delta in deltas if delta.request_id == name) == [1, 2, 3]
    assert desk.core.snapshot().out_of_memory == 1
    assert len(desk.runner.plans[1].rows) == 1


def test_a_request_that_does_not_fit_into_memory_alone_fails(fake_core: ModuleType) -> None:
    desk = fake_core.Desk()
    desk.submit()
    fake_core.raise_once(desk.runner, MemoryError("full"))
    (delta,) = desk.run()
    assert delta.finish is not None
    assert delta.finish.outcome is Outcome.ENGINE_FAILED
    assert "full" in delta.finish.message


def test_any_other_exception_is_passed_on_and_changes_nothing(fake_core: ModuleType) -> None:
    desk = fake_core.Desk(max_num_seqs=1)
    desk.submit("one")
    desk.submit("late", timeout_s=1.0)
    desk.step()
    desk.now_ns += SECOND
    fake_core.raise_once(desk.runner, ZeroDivisionError("a defect"))
    with pytest.raises(ZeroDivisionError):
        desk.core.step()
    desk.core.check_integrity()
    deltas = desk.run()
    assert fake_core.tokens_of(deltas) == [1, 2, 3]
    assert [d.finish.outcome for d in deltas if d.finish is not None] == [Outcome.EXPIRED, Outcome.COMPLETED]


def test_a_leak_is_found_as_soon_as_the_engine_is_idle(fake_core: ModuleType) -> None:
    desk = fake_core.Desk()
    desk.submit()
    while desk.core.has_work:
        desk.core.step()
    desk.core._scheduler.blocks.pool.allocate(1)
    with pytest.raises(IntegrityError, match="1 references; 0 sequences name it"):
        desk.core.step()


def test_a_leak_is_found_after_an_abort_without_a_step_and_only_once_something_happened(fake_core: ModuleType) -> None:
    desk = fake_core.Desk()
    desk.core._scheduler.blocks.pool.allocate(1)
    desk.core.check_if_idle()
    desk.submit()
    desk.core.check_if_idle()
    desk.core.abort("c", "r", 1)
    with pytest.raises(IntegrityError, match="1 references; 0 sequences name it"):
        desk.core.check_if_idle()


def test_an_exhausted_cache_stalls_and_goes_on(fake_core: ModuleType) -> None:
    desk = fake_core.Desk()
    desk.submit()
    desk.core.hold_back(16)
    assert desk.core.step() is None
    assert desk.core.has_work
    desk.core.hold_back(0)
    assert fake_core.tokens_of(desk.run()) == [1, 2, 3]
