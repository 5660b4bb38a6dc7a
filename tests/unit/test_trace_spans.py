"""What the spans of some well-known lives look like, and what they say."""

from types import ModuleType
from typing import Any

import msgspec
import pytest

from spillway.telemetry.tracing.context import Parent
from spillway.telemetry.tracing.facts import AttemptFacts, Life, RequestFacts, Strand
from spillway.telemetry.tracing.gathering import notes_of
from spillway.telemetry.tracing.span import Span, StatusCode
from spillway.telemetry.tracing.steps import StepBook
from spillway.telemetry.tracing.trace import Trace
from spillway_wire import trace_names as names
from spillway_wire.messages import MomentKind
from spillway_wire.outcomes import Outcome
from spillway_wire.sampling import SamplingParams

MS = 1_000_000
TRACE, ROOT = b"\x0a" * 16, b"\x01" * 8
K = MomentKind


def attempt(moments: Any, **changes: Any) -> AttemptFacts:
    facts: dict[str, Any] = {
        "number": 1,
        "engine_id": "engine-0",
        "incarnation": 1,
        "started_ns": 20 * MS,
        "ended_ns": 105 * MS,
        "end": "completed",
        "lost": False,
        "moments": moments,
    }
    book: StepBook | None = changes.pop("steps", None)
    made = AttemptFacts(**facts | changes)
    if book is None:
        return made
    bounds = (made.started_ns, made.until_ns(made.started_ns), made.started_ns)
    return msgspec.structs.replace(made, steps=notes_of(book, moments, bounds, lost=made.lost))


def request(*attempts: AttemptFacts, ended_ms: int = 110, num_choices: int = 1, **changes: Any) -> RequestFacts:
    blocked = changes.pop("blocked", ())
    strand = Strand(queued_ns=10 * MS, attempts=attempts, num_choices=num_choices, tokens=8)
    facts: dict[str, Any] = {
        "trace_id": TRACE,
        "span_id": ROOT,
        "request_id": "abc",
        "endpoint": "chat",
        "life": Life(arrived_ns=0, ended_ns=ended_ms * MS, strands=(strand,), blocked=blocked),
        "wall_offset_ns": 1_000_000 * MS,
        "outcome": Outcome.COMPLETED,
        "kept_for": "ratio",
        "model": "demo",
    }
    return RequestFacts(**facts | changes)


def tree(spans: tuple[Span, ...]) -> list[tuple[str, int, int]]:
    """Names with begin and end in milliseconds, without the clock's offset."""
    return [(span.name, span.start_ns // MS - 1_000_000, span.end_ns // MS - 1_000_000) for span in spans]


@pytest.fixture
def told(fake_lives: ModuleType) -> Any:
    return fake_lives.told


SIMPLE = ((K.QUEUED, 21), (K.SCHEDULED, 30), (K.PREFILL_CHUNK, 31), (K.FIRST_TOKEN, 50), (K.LAST_TOKEN, 100))


def test_a_request_that_completes(told: Any) -> None:
    spans = Trace.of_request(request(attempt(told(*SIMPLE, value=7)))).spans
    assert tree(spans) == [
        ("chat demo", 0, 110),
        ("admission", 0, 10),
        ("queue", 10, 20),
        ("attempt", 20, 100),
        ("queue", 20, 30),
        ("prefill", 30, 50),
        ("decode", 50, 100),
        ("tail", 100, 110),
    ]
    root, prefill, decode = spans[0], spans[5], spans[6]
    assert root.status is StatusCode.UNSET
    assert root.attributes["gen_ai.latency.time_in_queue"] == pytest.approx(0.020)
    assert root.attributes["gen_ai.latency.time_to_first_token"] == pytest.approx(0.050)
    assert root.attributes["gen_ai.latency.time_in_model_inference"] == pytest.approx(0.070)
    assert (prefill.attributes[names.CHUNKS], prefill.attributes[names.CHUNK_TOKENS]) == (1, 7)
    assert [event.name for event in prefill.events] == [names.EVENT_PREFILL_CHUNK]
    assert decode.attributes[names.DECODE_TOKENS] == 8


def test_a_request_whose_engine_died(told: Any) -> None:
    first = attempt(told(*SIMPLE[:4]), ended_ns=70 * MS, end="exit by signal 9", lost=True)
    second = attempt(
        told((K.QUEUED, 76), (K.SCHEDULED, 77), (K.PREFILL_CHUNK, 77), (K.FIRST_TOKEN, 90), (K.LAST_TOKEN, 100)),
        number=2,
        engine_id="engine-1",
        started_ns=75 * MS,
    )
    trace = Trace.of_request(request(first, second))
    assert tree(trace.spans) == [
        ("chat demo", 0, 110),
        ("admission", 0, 10),
        ("queue", 10, 20),
        ("attempt", 20, 70),
        ("queue", 20, 30),
        ("prefill", 30, 50),
        ("decode", 50, 70),
        ("stalled", 70, 75),
        ("attempt", 75, 100),
        ("stalled", 75, 90),
        ("decode", 90, 100),
        ("tail", 100, 110),
    ]
    lost, later = trace.spans[3], trace.spans[8]
    assert lost.status is StatusCode.ERROR
    assert lost.message == "exit by signal 9"
    assert [link.span_id for link in later.links] == [lost.span_id]
    assert [event.name for event in trace.spans[9].events] == [names.EVENT_PREFILL_CHUNK]
    assert trace.summary.recovered
    assert not trace.summary.failed
    assert trace.spans[0].attributes[names.RECOVERIES] == 1


def test_a_hang_is_a_stall_from_the_last_step_on(told: Any) -> None:
    book = StepBook()
    for step, end in enumerate((50, 55, 60), 1):
        book.note((end - 5) * MS, end * MS, step, 4)
    hung = attempt(told(*SIMPLE[:4]), ended_ns=2_060 * MS, end="made no progress", lost=True, steps=book)
    spans = Trace.of_request(request(hung, ended_ms=2_100)).spans
    assert ("decode", 50, 60) in tree(spans)
    assert ("stalled", 60, 2_060) in tree(spans)
    decode = next(span for span in spans if span.name == "decode")
    assert (decode.attributes[names.DECODE_STEPS], decode.attributes[names.DECODE_BATCH_MEAN]) == (2, 4.0)


def test_a_preempted_request_is_computed_again(told: Any) -> None:
    book = StepBook()
    book.note(80 * MS, 85 * MS, 1, 1)
    moments = told(
        *SIMPLE[:4],
        (K.PREEMPTED, 60),
        (K.RESUMED, 70),
        (K.PREFILL_CHUNK, 72),
        (K.PREFILL_CHUNK, 80),
        (K.LAST_TOKEN, 95),
    )
    spans = Trace.of_request(request(attempt(moments, steps=book))).spans
    assert tree(spans)[4:] == [
        ("queue", 20, 30),
        ("prefill", 30, 50),
        ("decode", 50, 60),
        ("preempted", 60, 70),
        ("prefill", 70, 85),
        ("decode", 85, 95),
        ("tail", 95, 110),
    ]


def test_a_client_that_does_not_read_gets_the_time_after_the_last_token(told: Any) -> None:
    blocked = ((60 * MS, 65 * MS), (90 * MS, 104 * MS))
    spans = Trace.of_request(request(attempt(told(*SIMPLE)), blocked=blocked)).spans
    assert tree(spans)[-2:] == [("send", 100, 104), ("tail", 104, 110)]


def test_choices_count_as_the_furthest_of_them(told: Any) -> None:
    moments = told(*SIMPLE) + told((K.QUEUED, 21), (K.SCHEDULED, 60), (K.FIRST_TOKEN, 70), (K.LAST_TOKEN, 90), choice=1)
    spans = Trace.of_request(request(attempt(moments), num_choices=2)).spans
    assert tree(spans)[4:7] == [("queue", 20, 30), ("prefill", 30, 50), ("decode", 50, 100)]
    assert {event.attributes.get(names.CHOICE) for event in spans[6].events} == {None, 1}


def test_what_an_engine_hands_back_waits_in_the_queue_again(told: Any) -> None:
    first = attempt([], ended_ns=40 * MS, end="turned away", returned=True)
    second = attempt(told((K.SCHEDULED, 60), (K.FIRST_TOKEN, 70), (K.LAST_TOKEN, 80)), number=2, started_ns=50 * MS)
    assert tree(Trace.of_request(request(first, second)).spans)[3:8] == [
        ("attempt", 20, 40),
        ("queue", 20, 40),
        ("queue", 40, 50),
        ("attempt", 50, 80),
        ("queue", 50, 60),
    ]


def test_a_refused_request_is_admission_and_says_why() -> None:
    life = Life(arrived_ns=0, ended_ns=3 * MS)
    facts = request(outcome=Outcome.OVERLOADED, life=life, limit="ttft=2s", measured="5 s", message="too much to do")
    root, admission = Trace.of_request(facts).spans
    assert admission.name == "admission"
    assert root.status is StatusCode.ERROR
    assert root.message == "too much to do"
    assert root.attributes["error.type"] == "overloaded"
    assert root.attributes[names.LIMIT] == "ttft=2s"


@pytest.mark.parametrize("outcome", [Outcome.INVALID, Outcome.CLIENT_GONE, Outcome.QUOTA, Outcome.SLOW_READER])
def test_what_the_client_did_is_no_error_of_the_server(outcome: Outcome) -> None:
    root = Trace.of_request(request(outcome=outcome, message="said of the prompt")).spans[0]
    assert root.status is StatusCode.UNSET
    assert root.message == ""
    assert root.attributes["error.type"] == outcome.value


def test_the_server_span_goes_on_from_its_caller_and_has_the_conventions_names() -> None:
    parent = Parent(TRACE, b"\x07" * 8, sampled=True, state="vendor=x")
    params = SamplingParams(temperature=0.5, top_p=0.9, max_tokens=16, seed=2**64 - 1)
    facts = request(
        parent=parent, params=params, prompt_tokens=5, output_tokens=8, cached_tokens=0, finish_reasons=("stop",)
    )
    root = Trace.of_request(facts).spans[0]
    assert (root.parent_id, root.trace_state) == (b"\x07" * 8, "vendor=x")
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "spillway",
        "gen_ai.request.model": "demo",
        "gen_ai.request.max_tokens": 16,
        "gen_ai.usage.input_tokens": 5,
        "gen_ai.usage.output_tokens": 8,
        "gen_ai.usage.cache_read.input_tokens": 0,
        "gen_ai.response.finish_reasons": ["stop"],
    }
    assert expected.items() <= root.attributes.items()
    assert "gen_ai.request.seed" not in root.attributes  # too large for OTLP's integers
    assert "gen_ai.request.top_k" not in root.attributes
    assert not {"gen_ai.usage.prompt_tokens", "gen_ai.usage.completion_tokens"} & root.attributes.keys()
    assert not {"gen_ai.input.messages", "gen_ai.output.messages"} & root.attributes.keys()


def test_several_prompts_have_their_own_spans_and_share_the_ends(told: Any) -> None:
    strands = tuple(
        Strand(
            queued_ns=10 * MS, attempts=(attempt(told(*SIMPLE[:4], (K.LAST_TOKEN, last)), ended_ns=(last + 1) * MS),)
        )
        for last in (80, 100)
    )
    facts = request(endpoint="generate_batch", life=Life(arrived_ns=0, ended_ns=110 * MS, strands=strands))
    spans = Trace.of_request(facts).spans
    assert [span.attributes[names.PROMPT] for span in spans if span.name == "attempt"] == [0, 1]
    assert [name for name, _, _ in tree(spans)].count("tail") == 1
    assert tree(spans)[:3] == [("text_completion demo", 0, 110), ("admission", 0, 10), ("tail", 100, 110)]
