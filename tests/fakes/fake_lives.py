"""Requests' lives made up at random, likely and unlikely ones, for what makes timelines and spans of them."""

from typing import Any

import msgspec
from hypothesis import strategies as st

from spillway.telemetry.tracing.context import Parent
from spillway.telemetry.tracing.facts import AttemptFacts, Life, RequestFacts, Strand
from spillway.telemetry.tracing.gathering import notes_of
from spillway.telemetry.tracing.steps import StepBook
from spillway_wire.messages import Moment, MomentKind
from spillway_wire.outcomes import Outcome

MS = 1_000_000
BEGAN_NS = 5_000 * MS
LOST = ("exit by signal 9", "made no progress", "output was lost")


def book_of(ends: list[int]) -> StepBook:
    """A book of steps, one after another, that ended then."""
    book = StepBook()
    at_ns = 0
    for step, end_ns in enumerate(sorted(ends), 1):
        book.note(at_ns, end_ns, step, 1 + step % 3)
        at_ns = end_ns
    return book


times = st.integers(0, 12_000).map(lambda ms: ms * MS // 2)
moments = st.builds(
    lambda choice, kind, at_ns, value: (choice, Moment(kind=kind, at_ns=at_ns, value=value)),
    st.integers(0, 2),
    st.sampled_from(MomentKind),
    times,
    st.integers(0, 64),
)


@st.composite
def attempts(draw: Any, number: int, life_ended_ns: int) -> AttemptFacts:
    """Anything: moments in any order, ends before starts, engines that nobody remembers."""
    end = draw(st.sampled_from([*LOST, "turned away", *Outcome]))
    ends = draw(st.one_of(st.none(), st.lists(times, max_size=6)))
    tried = AttemptFacts(
        number=number,
        engine_id=f"engine-{draw(st.integers(0, 1))}",
        incarnation=draw(st.integers(1, 3)),
        started_ns=draw(times),
        ended_ns=draw(st.one_of(st.none(), times)),
        end=str(end),
        lost=end in LOST,
        returned=end == "turned away",
        moments=tuple(draw(st.lists(moments, max_size=12))),
    )
    if ends is None:
        return tried
    bounds = (tried.started_ns, tried.until_ns(life_ended_ns), life_ended_ns)
    return msgspec.structs.replace(tried, steps=notes_of(book_of(ends), tried.moments, bounds, lost=tried.lost))


@st.composite
def strands(draw: Any, life_ended_ns: int) -> Strand:
    count = draw(st.integers(0, 3))
    return Strand(
        queued_ns=draw(times),
        attempts=tuple(draw(attempts(number, life_ended_ns)) for number in range(1, count + 1)),
        num_choices=draw(st.integers(1, 3)),
        tokens=draw(st.one_of(st.none(), st.integers(0, 100))),
    )


@st.composite
def lives(draw: Any) -> Life:
    ended_ns = draw(times)
    return Life(
        arrived_ns=draw(times),
        ended_ns=ended_ns,
        strands=tuple(draw(st.lists(strands(ended_ns), max_size=3))),
        blocked=tuple(draw(st.lists(st.tuples(times, times), max_size=4))),
    )


@st.composite
def requests(draw: Any) -> RequestFacts:
    """A request with such a life."""
    parent = Parent(b"\x0a" * 16, b"\x0b" * 8, sampled=True, state="vendor=1")
    return RequestFacts(
        trace_id=b"\x0a" * 16,
        span_id=b"\x01" * 8,
        parent=draw(st.sampled_from([None, parent])),
        request_id="r1",
        endpoint=draw(st.sampled_from(["chat", "completions", "generate", "generate_batch"])),
        life=draw(lives()),
        wall_offset_ns=draw(st.sampled_from([1_700_000_000_000_000_000, 0])),
        outcome=draw(st.sampled_from(Outcome)),
        kept_for="ratio",
        model=draw(st.sampled_from(["", "demo"])),
        first_token_ns=draw(st.one_of(st.none(), times)),
    )


def told(*pairs: tuple[MomentKind, int], choice: int = 0, value: int = 0) -> list[tuple[int, Moment]]:
    """Moments of one choice at milliseconds."""
    return [(choice, Moment(kind=kind, at_ns=at_ms * MS, value=value)) for kind, at_ms in pairs]
