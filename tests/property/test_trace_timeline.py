"""Timelines tile: whatever a request's life was, its phases add up to it, and its spans are one whole tree."""

from itertools import pairwise
from types import ModuleType
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spillway.telemetry.tracing.facts import AttemptFacts, Life, Strand
from spillway.telemetry.tracing.gathering import notes_of
from spillway.telemetry.tracing.span import Span, SpanKind
from spillway.telemetry.tracing.spans import build, summarize
from spillway.telemetry.tracing.timeline import tile, tile_strand, totals
from spillway.telemetry.tracing.trace import Record, unfold
from spillway_wire import trace_names as names

WITH_FIXTURE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)


@given(data=st.data())
@WITH_FIXTURE
def test_segments_tile_the_whole_of_any_life(fake_lives: ModuleType, data: Any) -> None:
    life = data.draw(fake_lives.lives())
    whole = max(0, life.ended_ns - life.arrived_ns)
    tilings = [tile(life), *(tile_strand(life, strand) for strand in life.strands)]
    for segments in tilings:
        assert segments[0].start_ns == life.arrived_ns
        assert all(segment.duration_ns >= 0 for segment in segments)
        assert all(before.end_ns == after.start_ns for before, after in pairwise(segments))
        assert sum(totals(segments).values()) == whole


@given(data=st.data())
@WITH_FIXTURE
def test_spans_are_one_tree_without_orphans_or_negative_times(fake_lives: ModuleType, data: Any) -> None:
    facts = data.draw(fake_lives.requests())
    spans = build(facts)
    root, known = spans[0], {span.span_id: span for span in spans}
    assert len(known) == len(spans)
    assert root.kind is SpanKind.SERVER
    for span in spans[1:]:
        assert span.parent_id in known
        parent = known[span.parent_id]
        assert parent.start_ns <= span.start_ns <= span.end_ns <= parent.end_ns
        assert span.trace_id == root.trace_id
        for link in span.links:
            assert link.span_id in known
    tried = sum(len(strand.attempts) for strand in facts.life.strands)
    assert sum(span.name == names.ATTEMPT for span in spans) == tried


@given(data=st.data())
@WITH_FIXTURE
def test_children_of_a_request_with_one_prompt_tile_their_parents(fake_lives: ModuleType, data: Any) -> None:
    facts = data.draw(fake_lives.requests().filter(lambda facts: len(facts.life.strands) == 1))
    spans = build(facts)
    assert covered(spans, spans[0]) == spans[0].end_ns - spans[0].start_ns
    for span in spans:
        if span.name == names.ATTEMPT:
            assert covered(spans, span) == span.end_ns - span.start_ns


@given(data=st.data())
@WITH_FIXTURE
def test_times_in_attributes_add_up(fake_lives: ModuleType, data: Any) -> None:
    root = build(data.draw(fake_lives.requests()))[0]
    spent = [value for key, value in root.attributes.items() if key.startswith(names.TIME_IN)]
    assert sum(value for value in spent if isinstance(value, float)) == pytest.approx(root.duration_s, abs=1e-6)


@given(data=st.data())
@WITH_FIXTURE
def test_a_record_gives_the_same_spans_whenever_it_is_read(fake_lives: ModuleType, data: Any) -> None:
    facts = data.draw(fake_lives.requests())
    record: Record = msgspec.msgpack.decode(msgspec.msgpack.encode(facts), type=Record)
    assert record == facts
    assert unfold(record) == build(facts)
    summary, root = summarize(facts), build(facts)[0]
    assert (summary.started_ns, summary.duration_s, summary.name) == (root.start_ns, root.duration_s, root.name)


@given(data=st.data())
@WITH_FIXTURE
def test_notes_answer_as_the_book_of_steps_would(fake_lives: ModuleType, data: Any) -> None:
    book = fake_lives.book_of(data.draw(st.lists(fake_lives.times, max_size=12)))
    began_ns, ended_ns = sorted((data.draw(fake_lives.times), data.draw(fake_lives.times)))
    moments = tuple(sorted(data.draw(st.lists(fake_lives.moments, max_size=12)), key=lambda pair: pair[1].at_ns))
    lost = data.draw(st.booleans())
    tried = AttemptFacts(
        number=1,
        engine_id="engine-0",
        incarnation=1,
        started_ns=began_ns,
        ended_ns=ended_ns,
        end="exit by signal 9",
        lost=lost,
        moments=moments,
        steps=notes_of(book, moments, (began_ns, ended_ns, ended_ns), lost=lost),
    )
    life = Life(arrived_ns=began_ns, ended_ns=ended_ns, strands=(Strand(queued_ns=began_ns, attempts=(tried,)),))
    for segment in tile(life):
        if segment.attempt is not None:
            after, before = book.sums(segment.end_ns), book.sums(segment.start_ns)
            assert tried.steps is not None
            assert tried.steps.between(segment.start_ns, segment.end_ns) == (after[0] - before[0], after[1] - before[1])


def covered(spans: tuple[Span, ...], parent: Span) -> int:
    """The sum of its children; none of them overlaps another."""
    children = sorted((span.start_ns, span.end_ns) for span in spans if span.parent_id == parent.span_id)
    assert all(before[1] <= after[0] for before, after in pairwise(children))
    return sum(end - start for start, end in children)
