"""From the gateway's stamps to whole traces: kept when they should be, complete whatever dies, true to both clocks."""

from itertools import pairwise
from types import ModuleType
from typing import Any

import pytest

from spillway.admission.contract import Objective
from spillway.pool.contract import Refused
from spillway.telemetry.tracing.sampling import Kept
from spillway_wire import trace_names as names
from spillway_wire.outcomes import Outcome

HOUR_NS = 3_600_000_000_000
GOOD = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def world(traced: ModuleType) -> Any:
    return traced.World()


def test_a_thousand_recovered_requests_have_whole_traces_though_the_wall_clock_goes_back(world: Any) -> None:
    for number in range(1_000):
        trace = world.begin(f"r{number}")
        entry = world.submit(trace)
        for attempt in range(2 + number % 2):
            world.dispatch(entry, f"engine-{attempt}", incarnation=number)
            world.token(entry, first=True)
            if number == 500 and attempt == 1:
                world.wall_ns -= HOUR_NS
            if attempt < 1 + number % 2:
                world.die(entry)
        world.token(entry, last=True)
        world.end(trace, entry)
    offered = [item for item in world.offered if hasattr(item, "kept")]
    assert len(offered) == 1_000
    for number, item in enumerate(offered):
        assert item.kept is Kept.RECOVERED
        trace = item.build()
        spans, root = trace.spans, trace.spans[0]
        known = {span.span_id for span in spans}
        tried = [span for span in spans if span.name == names.ATTEMPT]
        assert len(tried) == 2 + number % 2
        assert all(later.links[0].span_id == before.span_id for before, later in pairwise(tried))
        assert all(span.parent_id in known for span in spans[1:])
        assert all(root.start_ns <= span.start_ns <= span.end_ns <= root.end_ns for span in spans)
        assert trace.summary.recovered
        spent = [value for key, value in root.attributes.items() if key.startswith(names.TIME_IN)]
        assert sum(spent) == pytest.approx(root.duration_s, abs=1e-3)
        assert root.duration_s == pytest.approx(0.026 if number % 2 else 0.017, abs=0.02)
    assert world.tracing.open == {}


def test_a_request_is_recorded_whole(world: Any) -> None:
    trace = world.complete("r1").build()
    root = trace.spans[0]
    expected = {
        names.TENANT: "acme",
        names.TIER: "gold",
        names.BAND: "default",
        names.PREDICTED_TTFT: 0.1,
        names.KEPT_FOR: "ratio",
        names.GATEWAY: "gateway-0",
        names.BYTES_SENT: 200,
        names.GEN_AI_OUTPUT_TOKENS: 3,
        names.GEN_AI_RESPONSE_FINISH_REASONS: ["stop"],
        names.HTTP_STATUS: 200,
    }
    assert expected.items() <= root.attributes.items()
    assert trace.summary.ttft_s == pytest.approx(0.008)
    decode = next(span for span in trace.spans if span.name == "decode")
    assert (decode.attributes[names.DECODE_STEPS], decode.attributes[names.DECODE_BATCH_MEAN]) == (2, 1.0)


def test_what_is_not_kept_leaves_nothing(traced: ModuleType) -> None:
    world = traced.World(ratio=0.0)
    world.complete("r1")
    assert (world.offered, world.tracing.open) == ([], {})
    assert world.tracing.facts() == {"traces_kept": 0, "traces_left_out": 1}


@pytest.mark.parametrize("submitted", [False, True])
@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.COMPLETED])
def test_every_bad_end_has_a_trace(world: Any, outcome: Outcome, submitted: bool) -> None:
    trace = world.begin("r1")
    entry = world.submit(trace) if submitted else None
    refused = Refused(outcome, "no", limit="max=1", measured="2")
    world.end(trace, entry, refused)
    root = trace.build().spans[0]
    assert root.attributes["error.type"] == outcome.value
    assert root.attributes[names.LIMIT] == "max=1"
    assert root.end_ns > root.start_ns


@pytest.mark.parametrize(("ttft_s", "tpot_s"), [(0.001, 9.0), (9.0, 0.001)])
def test_a_missed_objective_is_kept(traced: ModuleType, ttft_s: float, tpot_s: float) -> None:
    world = traced.World(ratio=0.0)
    trace = world.begin("r1")
    entry = world.submit(trace)
    trace.visitor.objective = Objective(ttft_s=ttft_s, tpot_s=tpot_s)
    world.dispatch(entry, "engine-0")
    world.token(entry, first=True)
    trace.first_token()
    world.token(entry, last=True)
    world.end(trace, entry)
    assert trace.kept is Kept.OBJECTIVE
    assert trace.build().spans[0].attributes[names.OBJECTIVE_MISSED] is True


def test_the_callers_trace_goes_on_and_its_answer_says_where(traced: ModuleType) -> None:
    world = traced.World(ratio=0.0, baggage_keys=("team",))
    trace = world.begin("r1", (b"traceparent", GOOD), (b"tracestate", b"a=1"), (b"baggage", b"team=blue,secret=x"))
    world.end(trace, world.submit(trace))
    root = trace.build().spans[0]
    assert trace.kept is Kept.PARENT
    assert trace.exemplar == root.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert root.trace_state == "a=1"
    assert root.attributes["baggage.team"] == "blue"
    assert "baggage.secret" not in root.attributes
    answered = dict(trace.answer_headers())[b"traceresponse"].decode()
    assert answered == f"00-{root.trace_id.hex()}-{root.span_id.hex()}-01"


def test_waits_for_the_client_are_noted_and_bounded(world: Any) -> None:
    trace = world.begin("r1")
    entry = world.submit(trace)
    world.dispatch(entry, "engine-0")
    world.token(entry, first=True, last=True)
    for _ in range(200):
        world.wait(0.01)
        trace.sent(10, 0.005)
    trace.sent(10, 0.0001)
    world.end(trace, entry)
    assert len(trace.blocked) == 64
    root = trace.build().spans[0]
    assert root.attributes[names.BLOCKED_S] == pytest.approx(1.0)
    assert root.attributes[f"{names.TIME_IN}send"] > 1.0


def test_a_sampled_step_links_the_requests_of_this_gateway(traced: ModuleType) -> None:
    world = traced.World(step_every=2)
    trace = world.complete("r1")
    steps = [item.build() for item in world.offered if item is not trace]
    assert [link.span_id for step in steps for link in step.spans[0].links] == [trace.span_id]
