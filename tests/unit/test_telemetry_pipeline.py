"""The telemetry thread: it drops and counts rather than wait, and survives what it is given."""

import threading
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import pytest

from spillway.telemetry.export.variables import ExportError, Protocol, export_settings, resource_attributes
from spillway.telemetry.pipeline import AT_ONCE, Pipeline
from spillway.telemetry.tracing.trace import Trace


class Kept:
    """A sink that keeps everything; it waits while it is told to."""

    def __init__(self) -> None:
        self.traces: list[Trace] = []
        self.go, self.waits = threading.Event(), threading.Event()
        self.go.set()
        self.closed = False

    def write(self, traces: Sequence[Trace]) -> None:
        self.waits.set()
        self.go.wait(10)
        self.traces.extend(traces)

    def facts(self) -> dict[str, float]:
        return {"kept": len(self.traces)}

    def close(self, patience_s: float) -> None:
        self.closed = True


class Broken:
    def build(self) -> Trace | None:
        raise KeyError("a fault of ours")


class Nothing:
    def build(self) -> Trace | None:
        return None


@pytest.fixture
def sink() -> Kept:
    return Kept()


def pipeline(sink: Kept, events: list[str] | None = None, **options: Any) -> Pipeline:
    heard = [] if events is None else events
    made = Pipeline([sink], log=lambda event, **_: heard.append(event), **options)
    made.start()
    return made


def test_what_is_offered_is_written_in_order(traced: ModuleType, sink: Kept) -> None:
    world, made = traced.World(), pipeline(sink)
    for number in range(300):
        assert made.offer(world.complete(f"r{number}"))
    made.close()
    assert [trace.summary.request_id for trace in sink.traces] == [f"r{number}" for number in range(300)]
    assert sink.closed
    assert made.facts() == {"traces_dropped": 0, "traces_failed": 0, "kept": 300}


def test_a_fault_costs_one_trace_and_is_told_once(traced: ModuleType, sink: Kept) -> None:
    events: list[str] = []
    made = pipeline(sink, events)
    for item in (Broken(), Nothing(), Broken(), traced.World().complete("r1")):
        made.offer(item)
    made.close()
    assert (len(sink.traces), made.num_failed, events) == (1, 2, ["trace_failed"])


def test_what_has_no_room_is_dropped_and_counted(traced: ModuleType, sink: Kept) -> None:
    world = traced.World()
    sink.go.clear()
    made = pipeline(sink, capacity=5)
    made.offer(world.complete("first"))
    assert sink.waits.wait(10)
    taken = [made.offer(world.complete(f"r{number}")) for number in range(20)]
    assert taken == [True] * 5 + [False] * 15
    sink.go.set()
    made.close()
    assert (made.num_dropped, len(sink.traces)) == (15, 6)


def test_the_loop_goes_first_after_every_few_traces(traced: ModuleType, sink: Kept) -> None:
    yielded: list[None] = []
    made = pipeline(sink, yielding=lambda: yielded.append(None))
    for number in range(3 * AT_ONCE):
        made.offer(traced.World().complete(f"r{number}"))
    made.close()
    assert len(yielded) == 3


# ---- the standard variables ----


def test_nothing_is_exported_unless_an_endpoint_is_named() -> None:
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    assert export_settings({}) is None
    assert export_settings(endpoint | {"OTEL_TRACES_EXPORTER": "none"}) is None
    assert export_settings(endpoint | {"OTEL_SDK_DISABLED": "true"}) is None
    settings = export_settings(endpoint)
    assert settings is not None
    assert settings.protocol is Protocol.HTTP
    more = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}
    numbers = {"OTEL_BSP_MAX_QUEUE_SIZE": "100", "OTEL_BSP_SCHEDULE_DELAY": "250"}
    settings = export_settings(endpoint | more | numbers)
    assert settings is not None
    assert (settings.protocol, settings.capacity, settings.max_batch, settings.delay_s) == (
        Protocol.GRPC,
        100,
        100,
        0.25,
    )


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon", "give grpc or http/protobuf"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "give otlp or none"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1", "give a whole number from 1"),
    ],
)
def test_a_wrong_variable_is_named_with_what_is_allowed(key: str, value: str, says: str) -> None:
    with pytest.raises(ExportError, match=f"{key} is .*{says}"):
        export_settings({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", key: value})


def test_the_resource_says_who_sends() -> None:
    said = {"OTEL_RESOURCE_ATTRIBUTES": "team=a%20b,service.name=first,broken", "OTEL_SERVICE_NAME": "mine"}
    found = resource_attributes(said, instance="gateway-0", version="1")
    assert (found["service.name"], found["team"], found["service.instance.id"]) == ("mine", "a b", "gateway-0")
