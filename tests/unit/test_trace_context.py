"""W3C headers, held against OpenTelemetry's own propagators, and sampling against its sampler."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from spillway.telemetry.tracing.context import (
    NOTHING,
    answer_headers,
    parse_baggage,
    parse_traceparent,
    parse_tracestate,
    read_headers,
)
from spillway.telemetry.tracing.ids import Ids
from spillway.telemetry.tracing.sampling import SHED, Ending, Kept, Sampler, ratio_of
from spillway_wire.outcomes import Outcome

GOOD = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE_ID = bytes.fromhex("0af7651916cd43dd8448eb211c80319c")
hexadecimal = st.text("0123456789abcdef", min_size=16, max_size=16)


def theirs(value: str, state: str = "") -> trace.SpanContext:
    carrier = {"traceparent": value} | ({"tracestate": state} if state else {})
    return trace.get_current_span(TraceContextTextMapPropagator().extract(carrier)).get_span_context()


@pytest.mark.parametrize(
    "value",
    [
        GOOD.decode(),
        GOOD.decode()[:-1] + "0",
        "cc" + GOOD.decode()[2:],
        "cc" + GOOD.decode()[2:] + "-what-comes",
        "ff" + GOOD.decode()[2:],
        GOOD.decode() + "-x",
        GOOD.decode().upper(),
        "00-" + "0" * 32 + "-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01",
        GOOD.decode()[:-3],
        "",
        "rubbish",
    ],
)
def test_a_parent_is_who_opentelemetry_says_it_is(value: str) -> None:
    ours, context = parse_traceparent(value.encode()), theirs(value)
    assert (ours is not None) == context.is_valid
    if ours is not None:
        assert int.from_bytes(ours.trace_id, "big") == context.trace_id
        assert int.from_bytes(ours.span_id, "big") == context.span_id
        assert ours.sampled == context.trace_flags.sampled


@given(hexadecimal, hexadecimal, hexadecimal, st.integers(0, 255))
def test_any_well_formed_parent_is_read_alike(high: str, low: str, span: str, flags: int) -> None:
    value = f"00-{high}{low}-{span}-{flags:02x}"
    ours, context = parse_traceparent(value.encode()), theirs(value)
    assert (ours is not None) == context.is_valid
    assert ours is None or ours.sampled == context.trace_flags.sampled


@given(st.binary(max_size=80))
def test_no_bytes_are_an_error(value: bytes) -> None:
    headers = [(b"traceparent", value), (b"tracestate", value), (b"baggage", value)]
    incoming = read_headers(headers)
    parse_baggage(incoming.baggage)


@pytest.mark.parametrize("state", ["a=1", "a=1,b=2", "t1@v=x y", " a=1 , b=2", "a=1,,b=2"])
def test_a_state_is_passed_on(state: str) -> None:
    assert parse_tracestate(state.encode()) == theirs(GOOD.decode(), state).trace_state.to_header()


@pytest.mark.parametrize("state", ["a", "A=1", "a=1,a=2", "a=b=c", "=1", ",".join(f"k{n}=1" for n in range(33))])
def test_a_malformed_state_is_none(state: str) -> None:
    assert parse_tracestate(state.encode()) == ""


def test_baggage_is_read_as_opentelemetry_reads_it() -> None:
    said = "user=al%C3%AFce,team = blue,broken,empty="
    found = baggage.get_all(W3CBaggagePropagator().extract({"baggage": said}))
    assert parse_baggage(said) == dict(found) == {"user": "alïce", "team": "blue", "empty": ""}
    assert parse_baggage("team=blue;a property=no") == {"team": "blue"}  # they leave properties in the value


def test_headers_are_found_among_others() -> None:
    incoming = read_headers([(b"host", b"x"), (b"traceparent", GOOD), (b"tracestate", b"a=1"), (b"tracestate", b"b=2")])
    assert incoming.parent is not None
    assert incoming.parent.state == "a=1,b=2"
    assert read_headers([(b"host", b"x")]) is NOTHING
    assert read_headers([(b"traceparent", GOOD), (b"traceparent", GOOD)]).parent is None


def test_the_answer_names_the_server_span() -> None:
    headers = dict(answer_headers(TRACE_ID, b"\x01" * 8, sampled=True))
    assert headers[b"traceresponse"] == headers[b"traceparent"]
    context = theirs(headers[b"traceparent"].decode())
    assert (context.trace_id.to_bytes(16, "big"), context.span_id) == (TRACE_ID, int("01" * 8, 16))


def test_ids_are_never_zero_and_repeat_only_with_their_seed() -> None:
    assert Ids(b"x").trace_id() == Ids(b"x").trace_id()
    assert Ids().trace_id() != Ids().trace_id()
    ids = Ids()
    assert len({ids.span_id() for _ in range(10_000)}) == 10_000


# ---- sampling ----


def ending(outcome: Outcome = Outcome.COMPLETED, **changes: object) -> Ending:
    return Ending(**{"trace_id": b"\xff" * 16, "parent": None, "outcome": outcome} | changes)  # type: ignore[arg-type]


@given(st.binary(min_size=16, max_size=16), st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0]))
def test_ratio_chooses_as_opentelemetry_does(trace_id: bytes, ratio: float) -> None:
    decided = TraceIdRatioBased(ratio).should_sample(None, int.from_bytes(trace_id, "big"), "x")
    assert Sampler(ratio).samples(trace_id, None) == (decided.decision is Decision.RECORD_AND_SAMPLE)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (ending(Outcome.ENGINE_FAILED), Kept.ERROR),
        (ending(Outcome.INTERNAL), Kept.ERROR),
        (ending(Outcome.OVERLOADED), Kept.SHED),
        (ending(Outcome.QUOTA), Kept.SHED),
        (ending(recovered=True), Kept.RECOVERED),
        (ending(objective_missed=True), Kept.OBJECTIVE),
        (ending(), None),
        (ending(Outcome.INVALID), None),
        (ending(Outcome.CLIENT_GONE), None),
    ],
)
def test_what_went_wrong_is_kept_whatever_the_ratio(found: Ending, why: Kept | None) -> None:
    assert Sampler(0.0).decide(found, 0.0) is why
    unsampled = parse_traceparent(GOOD[:-1] + b"0")
    asked = Ending(
        trace_id=found.trace_id,
        parent=unsampled,
        outcome=found.outcome,
        recovered=found.recovered,
        objective_missed=found.objective_missed,
    )
    assert Sampler(1.0).decide(asked, 0.0) is why


def test_a_callers_flag_counts_more_than_the_ratio() -> None:
    assert Sampler(0.0).decide(ending(parent=parse_traceparent(GOOD)), 0.0) is Kept.PARENT
    assert Sampler(1.0).decide(ending(), 0.0) is Kept.RATIO


@pytest.mark.parametrize("outcome", sorted(SHED))
def test_a_flood_of_refusals_is_thinned_out(outcome: Outcome) -> None:
    sampler = Sampler(0.0, shed_per_s=10)
    kept = [sampler.decide(ending(outcome), second / 100) for second in range(1000)]
    assert kept.count(Kept.SHED) == pytest.approx(110, abs=2)
    assert sampler.decide(ending(Outcome.INTERNAL), 10.0) is Kept.ERROR


def test_the_standard_variables_set_the_ratio() -> None:
    assert ratio_of({}, 0.25) == 0.25
    assert ratio_of({"OTEL_TRACES_SAMPLER": "always_off"}, 0.25) == 0.0
    assert ratio_of({"OTEL_TRACES_SAMPLER": "parentbased_always_on"}, 0.25) == 1.0
    said = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}
    assert ratio_of(said, 0.25) == 0.1
    with pytest.raises(ValueError, match=r"OTEL_TRACES_SAMPLER_ARG is '7'; give a number from 0 to 1"):
        ratio_of(said | {"OTEL_TRACES_SAMPLER_ARG": "7"}, 0.25)
    with pytest.raises(ValueError, match=r"OTEL_TRACES_SAMPLER is 'xray'"):
        ratio_of({"OTEL_TRACES_SAMPLER": "xray"}, 0.25)
    with pytest.raises(ValueError, match="from 0 to 1"):
        Sampler(2.0)
