"""What the core says: moments, log-probabilities, load, snapshot; and that it keeps nothing."""

from dataclasses import asdict
from types import ModuleType

import msgspec

from spillway_engine.request import Request, Sequence
from spillway_wire.messages import Choice, Load, MomentKind, Submit
from spillway_wire.sampling import SamplingParams

# ---- what is said ----


def test_moments_tell_a_requests_way_in_order(fake_core: ModuleType) -> None:
    desk = fake_core.Desk()
    desk.submit(prompt=12)
    deltas = desk.run()
    moments = [moment for delta in deltas for moment in delta.moments]
    assert [(moment.kind, moment.value) for moment in moments] == [
        (MomentKind.QUEUED, 0),
        (MomentKind.SCHEDULED, 0),
        (MomentKind.PREFILL_CHUNK, 8),
        (MomentKind.PREFILL_CHUNK, 4),
        (MomentKind.FIRST_TOKEN, 0),
        (MomentKind.LAST_TOKEN, 0),
    ]
    assert [moment.at_ns for moment in moments] == sorted(moment.at_ns for moment in moments)
    assert len(deltas[0].moments) == 5


def test_what_was_found_in_the_cache_is_said(fake_core: ModuleType) -> None:
    desk = fake_core.Desk()
    desk.submit("one", prompt=9)
    desk.run()
    desk.submit("two", prompt=9)
    deltas = [delta for delta in desk.run() if delta.request_id == "two"]
    assert next(m.value for m in deltas[0].moments if m.kind is MomentKind.SCHEDULED) == 8
    assert deltas[-1].finish is not None
    assert deltas[-1].finish.usage.cached_tokens == 8


def test_prompt_logprobs_of_all_chunks_come_with_the_first_token(fake_core: ModuleType) -> None:
    desk = fake_core.Desk()
    desk.submit(prompt=12, params=SamplingParams(max_tokens=2, prompt_logprobs=0, logprobs=0))
    first, second = desk.run()
    assert [entry.chosen.token_id for entry in first.prompt_logprobs] == list(range(11, 22))
    assert second.prompt_logprobs == ()
    assert [delta.logprobs[0].chosen.token_id for delta in (first, second)] == [1, 2]


def test_prompt_logprobs_of_a_prompt_that_was_computed_twice_are_sent_once(fake_core: ModuleType) -> None:
    desk = fake_core.Desk()
    desk.submit("one", prompt=2, params=SamplingParams(max_tokens=9, prompt_logprobs=0))
    desk.submit("two", prompt=12, params=SamplingParams(max_tokens=2, prompt_logprobs=0))
    desk.step()
    fake_core.raise_once(desk.runner, MemoryError("full"))
    desk.step()  # preempts the second, which has a chunk behind it
    assert desk.core.snapshot().preemptions == 1
    deltas = [delta for delta in desk.run() if delta.request_id == "two"]
    assert [entry.chosen.token_id for entry in deltas[0].prompt_logprobs] == list(range(11, 22))


def test_prompt_logprobs_are_not_repeated_by_a_continuation(fake_core: ModuleType) -> None:
    desk = fake_core.Desk()
    desk.submit(params=SamplingParams(max_tokens=3, prompt_logprobs=0), choices=(Choice(output_token_ids=(1,)),))
    assert all(delta.prompt_logprobs == () for delta in desk.run())


def test_prompt_logprobs_are_wanted_until_the_first_token_and_not_by_a_continuation() -> None:
    def sequence(prompt_logprobs: int | None, *output: int) -> Sequence:
        params = SamplingParams(prompt_logprobs=prompt_logprobs)
        request = Request(key=("c", "r", 1), prompt_token_ids=[1, 2, 3], params=params, arrival=1)
        return Sequence(request, 0, max_output_tokens=9, resumed_tokens=output)

    assert sequence(0).wants_prompt_logprobs
    assert not sequence(None).wants_prompt_logprobs
    assert not sequence(0, 4).wants_prompt_logprobs
    preempted = sequence(0)
    preempted.reported += 1
    assert not preempted.wants_prompt_logprobs


def test_nothing_is_kept_of_a_prompt_whose_request_is_aborted(fake_core: ModuleType) -> None:
    desk = fake_core.Desk()
    desk.submit(prompt=12, params=SamplingParams(prompt_logprobs=0))
    desk.step()
    desk.core.abort("c", "r", 1)
    desk.core.check_integrity()
    assert desk.core._delivery._prompt_logprobs == {}


def test_load_and_snapshot_say_what_is_there(fake_core: ModuleType) -> None:
    desk = fake_core.Desk(max_num_seqs=1)
    desk.submit("one", prompt=12)
    desk.submit("two", prompt=6)
    desk.step()
    assert desk.core.load() == Load(running=1, waiting=1, free_blocks=13, waiting_prefill_tokens=4 + 6)
    desk.run()
    snapshot = asdict(desk.core.snapshot())
    assert snapshot.pop("blocks") == {"total": 16, "used": 0, "free": 16, "cached": 4, "held": 0, "dirty": 0}
    assert snapshot == {
        "steps": 7, "received": 2, "live": 0, "finished": {"completed": 2}, "refused": {}, "running": 0, "waiting": 0,
        "waiting_prefill_tokens": 0, "prompt_tokens": 18, "prefill_tokens": 14, "output_tokens": 6,
        "prefix_queries": 18, "prefix_hits": 4, "preemptions": 0, "expired": 0, "failed_logits": 0, "out_of_memory": 0,
    }  # fmt: skip
    msgspec.msgpack.encode(snapshot)
    totals = desk.core.totals()._asdict()
    assert totals.items() <= snapshot.items()
    assert totals["prefix_hits"] == 4


def test_a_report_counts_what_the_step_did(fake_core: ModuleType) -> None:
    desk = fake_core.Desk()
    desk.submit("one")
    desk.step()
    desk.submit("two")
    report = desk.step()
    assert report is not None
    assert (report.step, report.num_tokens, report.num_decodes) == (2, 5, 1)
    assert report.started_ns < report.ended_ns


def test_thousands_of_requests_leave_nothing_behind(fake_core: ModuleType) -> None:
    desk = fake_core.Desk()
    for number in range(3_000):
        desk.core.submit("c", Submit(
            request_id=str(number), prompt_token_ids=[number % 90, number % 7, 3, 4, 5],
            params=SamplingParams(max_tokens=2, prompt_logprobs=0 if number % 3 else None), timeout_s=600.0,
        ))  # fmt: skip
        if number % 5 == 0:
            desk.core.abort("c", str(number), 1)
        while desk.core.has_work:
            desk.core.step()
    desk.core.check_integrity()
    scheduler = desk.core._scheduler
    assert len(scheduler.blocks._index) <= 16
    assert scheduler._waiting._deadlines.num_entries <= 65
    assert all(line.num_entries <= 65 for line in scheduler._waiting._lines.values())
    assert not scheduler._running._unseen
    assert desk.core.snapshot().finished == {"completed": 2_400, "client_gone": 600}
