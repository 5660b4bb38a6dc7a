"""What has to be true of a trace: right ones pass, each fault is named; a drill's clock goes back for all at once."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from spillway.bench import clock_shim
from spillway.bench.trace_shape import faults, faults_of_recovery
from spillway.telemetry.tracing.span import Span, SpanKind, StatusCode
from spillway_wire import trace_names as names

Spans = tuple[Span, ...]


@pytest.fixture
def recovered(traced: ModuleType) -> Spans:
    spans: Spans = traced.World().complete("r1", deaths=1).build().spans
    return spans


def with_one(spans: Spans, name: str, change: Callable[[Span], Span]) -> Spans:
    """Change the first span of a name."""
    place = next(place for place, span in enumerate(spans) if span.name == name)
    return (*spans[:place], change(spans[place]), *spans[place + 1 :])


def but(span: Span, **fields: object) -> Span:
    return msgspec.structs.replace(span, **fields)


def test_a_request_that_outlived_two_engines_has_a_faultless_trace(traced: ModuleType) -> None:
    for deaths in (1, 2):
        spans = traced.World().complete("r1", deaths=deaths).build().spans
        assert [*faults(spans), *faults_of_recovery(spans)] == []


def test_one_that_lost_no_engine_is_whole_and_shows_no_recovery(traced: ModuleType) -> None:
    spans = traced.World().complete("r1").build().spans
    assert list(faults(spans)) == []
    assert list(faults_of_recovery(spans)) == ["it has no second attempt", "no attempt is marked as lost"]


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda spans: with_one(spans, "chat demo", lambda span: but(span, kind=SpanKind.INTERNAL)), "no server span"),
        (lambda spans: with_one(spans, names.DECODE, lambda span: but(span, parent_id=bytes(8))), "is an orphan"),
        (lambda spans: with_one(spans, names.DECODE, lambda span: but(span, span_id=spans[0].span_id)), "have one id"),
        (lambda spans: with_one(spans, names.QUEUE, lambda span: but(span, trace_id=bytes(16))), "several traces"),
        (lambda spans: with_one(spans, names.ATTEMPT, lambda span: but(span, end_ns=span.start_ns - 5)), "lasts -5 ns"),
        (lambda spans: with_one(spans, names.DECODE, lambda span: but(span, end_ns=span.end_ns - 9)), "ns"),
        (lambda spans: with_one(spans, names.TAIL, lambda span: but(span, end_ns=span.end_ns - 9)), "ends 9 ns before"),
        (
            lambda spans: with_one(
                spans,
                "chat demo",
                lambda span: but(span, attributes={**span.attributes, "spillway.time_in.queue": 9.0}),
            ),
            "add up to",
        ),
        (
            lambda spans: tuple(span if span.name != names.ATTEMPT else but(span, links=()) for span in spans),
            "no link to the one before",
        ),
        (
            lambda spans: with_one(spans, names.ATTEMPT, lambda span: but(span, status=StatusCode.UNSET)),
            "no attempt is marked",
        ),
        (
            lambda spans: with_one(spans, names.ATTEMPT, lambda span: but(span, events=())),
            "does not say that its engine was lost",
        ),
    ],
    ids=[
        *("no root", "orphan", "same id", "trace id", "negative", "gap", "short", "sum", "no link", "no error"),
        "no event",
    ],
)
def test_each_fault_is_named(recovered: Spans, break_it: Callable[[Spans], Spans], said: str) -> None:
    spans = break_it(recovered)
    assert any(said in fault for fault in (*faults(spans), *faults_of_recovery(spans)))


def test_a_drills_clock_goes_back_in_a_process_that_runs(tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    environment = clock_shim.install(tmp_path / "shim", clock)
    program = "import time\nwhile input(): print(time.time(), time.time_ns(), time.monotonic(), flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask() -> list[float]:
            process.stdin.write("go\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            return [float(word) for word in process.stdout.readline().split()]  # type: ignore[union-attr]

        assert abs(ask()[0] - time.time()) < 60
        clock_shim.set_offset(clock, -3600.0)
        wall, wall_ns, monotonic = ask()
        assert abs(wall + 3600 - time.time()) < 60
        assert abs(wall_ns / 1e9 - wall) < 60
        assert monotonic <= time.monotonic()
        process.stdin.write("\n")
        process.stdin.flush()
