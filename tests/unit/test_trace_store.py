"""The embedded store: what is found in it, how it stays within its bounds, and what a bad disk does: nothing."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from spillway.telemetry.trace_store.reader import StoreReader, Which
from spillway.telemetry.trace_store.schema import connect
from spillway.telemetry.trace_store.writer import StoreWriter
from spillway.telemetry.tracing.span import Span, SpanEvent, SpanLink, TraceKind, TraceSummary
from spillway.telemetry.tracing.trace import Spans, Trace

SECOND = 1_000_000_000


class Time:
    """Clocks that go when told."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def trace(number: int, *, kind: TraceKind = TraceKind.REQUEST, **changes: Any) -> Trace:
    trace_id, span_id = number.to_bytes(16, "big"), number.to_bytes(8, "big")
    facts: dict[str, Any] = {
        "kind": kind,
        "trace_id": trace_id.hex(),
        "root_id": span_id.hex(),
        "name": "chat demo",
        "started_ns": 1_000_000 * SECOND + number,
        "duration_s": 0.5,
        "request_id": f"r{number}",
        "model": "demo",
        "tenant": "acme",
        "outcome": "completed",
        "ttft_s": 0.1,
    }
    span = Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_id=None,
        name="chat demo",
        start_ns=1,
        end_ns=2,
        attributes={"a": 1, "b": "x", "c": True, "d": 0.5, "e": ["f"]},
        events=(SpanEvent(name="e", at_ns=1),),
        links=(SpanLink(trace_id=trace_id, span_id=span_id),),
    )
    return Trace(TraceSummary(**facts | changes), Spans((span,)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "traces.db"


def writer(path: Path, events: list[str] | None = None, **options: Any) -> StoreWriter:
    heard = [] if events is None else events
    time = options.pop("time", Time())
    return StoreWriter(path, log=lambda event, **_: heard.append(event), clock=time, wall=time, **options)


def test_what_is_written_is_found(path: Path) -> None:
    store, reader = writer(path), StoreReader(path)
    failed = trace(2, failed=True, outcome="engine_failed", duration_s=9.0)
    store.write([trace(1), failed, trace(3, recovered=True, tenant="other", model="big")])
    assert [found.request_id for found in reader.recent()] == ["r3", "r2", "r1"]
    assert [found.request_id for found in reader.recent(Which.SLOW, limit=1)] == ["r2"]
    assert [found.request_id for found in reader.recent(Which.FAILED)] == ["r2"]
    assert [found.request_id for found in reader.recent(Which.RECOVERED)] == ["r3"]
    assert [found.request_id for found in reader.recent(tenant="acme", model="demo")] == ["r2", "r1"]
    assert reader.recent(model="'; DROP TABLE traces") == []
    (found,) = reader.get(failed.summary.trace_id.upper())
    assert (found.summary, found.spans) == (failed.summary, failed.spans)
    for name in ("r2", "req_r2", "chatcmpl-r2"):
        assert [one.summary.request_id for one in reader.find(name)] == ["r2"]
    assert reader.find("r9") == []
    store.close(0.0)
    assert len(reader.recent()) == 3  # also when nobody has the file open


def test_requests_of_one_trace_are_all_found_and_a_repeated_one_once(path: Path) -> None:
    store = writer(path)
    first = trace(1)
    store.write([first, first, trace(2, trace_id=first.summary.trace_id)])
    assert len(StoreReader(path).get(first.summary.trace_id)) == 2


def test_the_store_is_bounded_by_count_for_each_kind(path: Path) -> None:
    store, reader = writer(path, max_traces=100), StoreReader(path)
    for start in range(0, 4_000, 100):
        store.write([trace(start + n + 1) for n in range(100)])
        store.write([trace(100_000 + start + n, kind=TraceKind.STEP) for n in range(10)])
    store._prune(store._connection or connect(path))
    assert [found.request_id for found in reader.recent(limit=1_000)] == [f"r{n}" for n in range(4_000, 3_900, -1)]
    assert len(reader.recent(kind=TraceKind.STEP, limit=1_000)) == 20
    size = path.stat().st_size
    for start in range(10_000, 14_000, 100):
        store.write([trace(start + n) for n in range(100)])
    assert path.stat().st_size <= size * 1.5  # what is pruned makes room


def test_the_store_is_bounded_by_age(path: Path) -> None:
    time = Time()
    store, reader = writer(path, time=time, max_age_s=60), StoreReader(path)
    store.write([trace(1)])
    time.now += 100
    store._unpruned = 10_000
    store.write([trace(2, started_ns=int(time.now * SECOND))])
    assert [found.request_id for found in reader.recent()] == ["r2"]


def test_two_write_while_one_reads(path: Path) -> None:
    stores, reader = [writer(path), writer(path)], StoreReader(path)
    for number in range(1, 41):
        stores[number % 2].write([trace(number)])
        assert len(reader.recent()) == number
    assert sum(store.num_lost for store in stores) == 0


def test_a_store_that_is_not_there_is_empty(path: Path) -> None:
    reader = StoreReader(path)
    assert (reader.recent(), reader.get("00"), reader.find("x")) == ([], [], [])
    assert reader.problem
    assert not path.exists()


def test_a_broken_file_is_put_aside_and_a_new_one_begun(path: Path) -> None:
    path.write_bytes(b"this is no database, and longer than its header " * 100)
    assert StoreReader(path).recent() == []
    store = writer(path)
    store.write([trace(1)])
    assert store.facts() == {"traces_stored": 1, "traces_store_lost": 0}
    assert [found.request_id for found in StoreReader(path).recent()] == ["r1"]
    assert path.with_name("traces.db.broken").exists()


def test_a_file_that_breaks_under_the_writer_costs_a_batch_and_is_told_once(path: Path) -> None:
    events: list[str] = []
    time = Time()
    store, other = writer(path, events, time=time), writer(path, time=time)
    store.write([trace(number) for number in range(1, 200)])
    other.write([trace(200)])
    store._disconnect()
    other._disconnect()
    path.write_bytes(b"\xff" * path.stat().st_size)
    with contextlib.suppress(FileNotFoundError):
        path.with_name("traces.db-wal").unlink()
    for number in range(201, 204):
        store.write([trace(number)])
        time.now += 10
    assert StoreReader(path).recent()[0].request_id == "r203"
    other.write([trace(204)])
    assert store.num_lost + other.num_lost <= 2
    assert events.count("trace_store_fails") <= 1


def test_a_file_that_another_process_replaced_is_opened_anew(path: Path) -> None:
    store = writer(path)
    store.write([trace(1)])
    path.replace(path.with_name("aside"))
    connect(path).close()
    store.write([trace(2)])
    assert [found.request_id for found in StoreReader(path).recent()] == ["r2"]


def test_a_full_disk_stops_nothing_and_is_told_once(path: Path) -> None:
    events: list[str] = []
    time = Time()
    store = writer(path, events, time=time)
    store.write([trace(1)])
    assert store._connection is not None
    full = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count={full}")  # what SQLite then says is that the disk is full
    store.write([trace(number) for number in range(2, 2_000)])
    assert (store.num_lost, events) == (1_998, ["trace_store_fails"])
    store.write([trace(2_000)])  # it is not tried again at once
    assert (store.num_lost, events) == (1_999, ["trace_store_fails"])
    time.now += 10
    store.write([trace(2_001)])
    assert events == ["trace_store_fails", "trace_store_writes_again"]
    assert [found.request_id for found in StoreReader(path).recent()] == ["r2001", "r1"]


def test_a_folder_that_is_not_there_stops_nothing(tmp_path: Path) -> None:
    events: list[str] = []
    store = writer(tmp_path / "gone" / "traces.db", events)
    store.write([trace(1)])
    assert (store.num_lost, events) == (1, ["trace_store_fails"])


def test_a_store_of_another_version_is_put_aside(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=99")
    store = writer(path)
    store.write([trace(1)])
    assert store.num_written == 1
