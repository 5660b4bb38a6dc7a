"""Engines' steps in a gateway's books: counted exactly, sampled now and then, and forgotten in time."""

from typing import Any

import pytest

from spillway.telemetry.tracing.engine_spans import build_step
from spillway.telemetry.tracing.facts import StepNotes
from spillway.telemetry.tracing.steps import COARSE, EVERY, FINE, StepBook, StepBooks, StepSample
from spillway_wire import trace_names as names
from spillway_wire.messages import Load, StepOutput

MS = 1_000_000


def output(step: int, *, took_ms: int = 1, rows: int = 4) -> StepOutput:
    load = Load(running=rows, waiting=1, free_blocks=9, waiting_prefill_tokens=0)
    began_ns = step * 10 * MS
    return StepOutput(
        sequence=step,
        step=step,
        started_ns=began_ns,
        ended_ns=began_ns + took_ms * MS,
        load=load,
        deltas=(),
        prefill_tokens=3,
        decode_rows=rows,
    )


def filled(steps: int) -> StepBook:
    book = StepBook()
    for step in range(1, steps + 1):
        book.note(step * 10, step * 10 + 5, step, 2)
    return book


def between(book: StepBook, start_ns: int, end_ns: int) -> tuple[int, int] | None:
    sums = {at_ns: found for at_ns in (start_ns, end_ns) if (found := book.sums(at_ns)) is not None}
    return StepNotes(sums=sums).between(start_ns, end_ns)


def test_steps_between_two_moments_are_counted_exactly() -> None:
    book = filled(100)
    assert between(book, 0, 1_005) == (100, 200)
    assert between(book, 15, 35) == (2, 4)
    assert between(book, 16, 24) == (0, 0)
    assert book.end_of(20) == 25
    assert book.end_of(21) is None
    assert book.last_end(24) == 15
    assert book.last_end(3) is None


def test_a_step_in_several_frames_counts_once() -> None:
    book = filled(3)
    book.note(30, 35, 3, 2)
    assert between(book, 0, 100) == (3, 6)


def test_long_decodes_are_counted_by_the_coarse_ring() -> None:
    steps = 4 * FINE
    book = filled(steps)
    counted = between(book, 10_000, steps * 10 + 5)
    assert counted is not None
    assert counted[0] == pytest.approx(steps - 1_000, abs=EVERY)
    assert counted[1] == 2 * counted[0]
    assert len(book._fine.ends) <= 2 * FINE
    assert len(book._coarse.ends) <= 2 * COARSE


def test_every_hundredth_step_and_every_slow_one_is_sampled() -> None:
    samples: list[StepSample] = []
    books = StepBooks(samples.append)
    for step in range(1, 301):
        books.note("engine-0", 1, output(step, took_ms=9 if step == 150 else 1))
    assert [(sample.output.step, sample.slow) for sample in samples] == [
        (100, False), (150, True), (200, False), (300, False),
    ]  # fmt: skip


def test_steps_that_become_slow_for_good_are_soon_normal() -> None:
    book = StepBook()
    slow = [book.note(step, step + (100 if step < 200 else 1_000), step, 1) for step in range(1, 1_000)]
    assert not any(slow[:199])
    assert slow[199]
    assert not any(slow[-100:])


def test_books_of_the_dead_are_forgotten_when_many_came_after() -> None:
    books = StepBooks(lambda _: None, most=3)
    for incarnation in range(1, 6):
        books.note("engine-0", incarnation, output(1))
    assert books.get("engine-0", 1) is None
    assert books.get("engine-0", 5) is not None


def test_a_steps_span_links_the_requests_in_it() -> None:
    sample = StepSample(engine_id="engine-0", incarnation=2, slow=False, output=output(100))
    links = [(bytes([n]) * 16, bytes([n]) * 8) for n in range(1, 256)]
    about: dict[str, Any] = {"model": "demo", "wall_offset_ns": 7}
    (span,) = build_step(sample, links, gateway="gateway-0", **about).spans
    assert len(span.links) == 255
    assert (span.start_ns, span.end_ns) == (1_000 * MS + 7, 1_001 * MS + 7)
    assert span.attributes[names.STEP_DECODES] == 4
    assert span.attributes[names.STEP_FREE_BLOCKS] == 9
    (other,) = build_step(sample, links[:1], gateway="gateway-1", **about).spans
    assert other.trace_id == span.trace_id
    assert other.span_id != span.span_id
