"""Traces on their way out: to collectors over gRPC and HTTP, to the store, and past collectors that are no good."""

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from spillway.telemetry.assembly import TraceOptions, Traces, open_traces
from spillway.telemetry.trace_store.reader import StoreReader
from spillway.telemetry.tracing.engine_spans import build_step
from spillway.telemetry.tracing.steps import StepSample
from spillway.telemetry.tracing.trace import Trace
from spillway_wire.messages import Load, StepOutput

Open = Callable[..., Traces]


@pytest.fixture
def events() -> list[str]:
    return []


@pytest.fixture
def opened(tmp_path: Path, events: list[str]) -> Iterator[Open]:
    """Traces with the environment that a test gives."""
    made: list[Traces] = []

    def open_(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Traces:
        for key, value in environment.items():
            monkeypatch.setenv(key, value)  # the SDK's exporters read their part of it themselves
        traces = open_traces(
            tmp_path,
            environment,
            lambda event, **_: events.append(event),
            process="gateway-0",
            options=TraceOptions(max_age_s=1e10),  # the requests of the tests are of 2023
        )
        made.append(traces)
        return traces

    yield open_
    for traces in made:
        traces.close(0.5)


class Item:
    """Something that was built already."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    def build(self) -> Trace:
        return self._trace


def environment_of(collector: Any, **more: str) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": collector.protocol,
        "OTEL_BSP_SCHEDULE_DELAY": "20",
        "NO_PROXY": "127.0.0.1",
    } | more


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.005)


@pytest.mark.parametrize("kind", ["GrpcCollector", "HttpCollector"])
def test_a_collector_gets_whole_traces(
    kind: str, collectors: ModuleType, traced: ModuleType, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    world = traced.World()
    with getattr(collectors, kind)() as collector:
        told = environment_of(
            collector, OTEL_SERVICE_NAME="mine", OTEL_RESOURCE_ATTRIBUTES="deployment.environment=test"
        )
        traces = opened(told, monkeypatch)
        trace = world.begin("r1", (b"traceparent", parent), (b"tracestate", b"vendor=1"))
        entry = world.submit(trace)
        for engine in range(2):
            world.dispatch(entry, f"engine-{engine}")
            world.token(entry, first=True, last=engine == 1)
            if engine == 0:
                world.die(entry)
        world.end(trace, entry)
        expected = trace.build().spans
        traces.pipeline.offer(trace)
        wait_for(lambda: len(collector.spans) == len(expected))
        wait_for(lambda: traces.facts()["spans_exported"] == len(expected))
        assert collector.resource["service.name"] == "mine"
        assert collector.resource["deployment.environment"] == "test"
        by_name: dict[str, list[Any]] = {}
        for span in collector.spans:
            by_name.setdefault(span.name, []).append(span)
        assert sorted(span.name for span in collector.spans) == sorted(span.name for span in expected)
        (root,) = by_name["chat demo"]
        assert root.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
        assert root.parent_span_id.hex() == "b7ad6b7169203331"
        assert (root.kind, root.trace_state) == (2, "vendor=1")
        assert (root.start_time_unix_nano, root.end_time_unix_nano) == (expected[0].start_ns, expected[0].end_ns)
        first, second = sorted(by_name["attempt"], key=lambda span: span.start_time_unix_nano)
        assert first.status.code == 2
        assert second.links[0].span_id == first.span_id
        known = {span.span_id for span in collector.spans}
        assert all(span.parent_span_id in known for span in collector.spans if span is not root)


def many_links(number: int) -> Trace:
    load = Load(running=1, waiting=0, free_blocks=0, waiting_prefill_tokens=0)
    output = StepOutput(sequence=1, step=1, started_ns=1, ended_ns=2, load=load, deltas=())
    sample = StepSample(engine_id="engine-0", incarnation=1, slow=False, output=output)
    links = [(bytes(15) + bytes([1 + n % 255]), n.to_bytes(8, "big")) for n in range(1, number + 1)]
    return build_step(sample, links, model="demo", gateway="gateway-0", wall_offset_ns=0)


@pytest.mark.parametrize("kind", ["GrpcCollector", "HttpCollector"])
def test_nothing_is_cut_off_at_128(
    kind: str, collectors: ModuleType, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    with getattr(collectors, kind)() as collector:
        opened(environment_of(collector), monkeypatch).pipeline.offer(Item(many_links(300)))
        wait_for(lambda: collector.spans)
        (span,) = collector.spans
        assert (len(span.links), span.dropped_links_count) == (300, 0)


def test_without_an_endpoint_there_is_only_the_store(
    traced: ModuleType, tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces = opened({}, monkeypatch)
    traces.pipeline.offer(traced.World().complete("r1"))
    assert traces.pipeline.flush()
    assert [found.request_id for found in StoreReader(tmp_path / "traces.db").recent()] == ["r1"]
    assert "spans_exported" not in traces.facts()
    assert traces.facts()["traces_stored"] == 1


def closed_port() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_collector_that_is_down_costs_only_its_spans(
    protocol: str,
    *,
    traced: ModuleType,
    tmp_path: Path,
    opened: Open,
    events: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": closed_port(),
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        "OTEL_BSP_SCHEDULE_DELAY": "20",
        "OTEL_BSP_MAX_QUEUE_SIZE": "16",
        "NO_PROXY": "127.0.0.1",
    }
    traces, world = opened(told, monkeypatch), traced.World()
    for number in range(50):
        traces.pipeline.offer(world.complete(f"r{number}"))
    assert traces.pipeline.flush()
    assert len(StoreReader(tmp_path / "traces.db").recent()) == 50
    assert traces.facts()["spans_dropped"] >= 50 * 7 - 2 * 16
    wait_for(lambda: traces.facts()["spans_export_failed"] > 0)
    assert events.count("trace_export_fails") == 1


def test_a_slow_collector_holds_up_nobody(
    collectors: ModuleType, traced: ModuleType, tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = traced.World()
    with collectors.HttpCollector(slow=True) as collector:
        traces = opened(environment_of(collector, OTEL_BSP_MAX_QUEUE_SIZE="16"), monkeypatch)
        traces.pipeline.offer(world.complete("first"))
        assert collector.called.wait(20)
        for number in range(100):
            traces.pipeline.offer(world.complete(f"r{number}"))
        assert traces.pipeline.flush()
        assert len(StoreReader(tmp_path / "traces.db").recent(limit=200)) == 101
        assert traces.facts()["spans_dropped"] > 600
        collector.go.set()
        wait_for(lambda: traces.facts()["spans_waiting"] == 0)
        assert traces.facts()["spans_exported"] > 0


def test_a_collector_that_refuses_is_told_once_and_forgiven(
    collectors: ModuleType, traced: ModuleType, opened: Open, events: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = traced.World()
    with collectors.HttpCollector(status=400) as collector:
        traces = opened(environment_of(collector), monkeypatch)
        traces.pipeline.offer(world.complete("r1"))
        wait_for(lambda: traces.facts()["spans_export_failed"] == 7)
        traces.pipeline.offer(world.complete("r2"))
        wait_for(lambda: traces.facts()["spans_export_failed"] == 14)
        assert events.count("trace_export_fails") == 1
        collector.status = 200
        traces.pipeline.offer(world.complete("r9"))
        wait_for(lambda: traces.facts()["spans_exported"] == 7)
        assert events.count("trace_export_works_again") == 1
