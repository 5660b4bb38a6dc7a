"""The log of a running Spillway: a line for each request and each change of a child's state, and none that waits.

A disk that is full costs lines and traces, never an answer.
"""

import asyncio
import contextlib
import json
import resource
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil

from spillway.bench.books import is_idle
from spillway.bench.client import get, post
from spillway.bench.exposition import Scraped
from spillway.bench.served import Served
from spillway.bench.streams import Count, is_exact, stream
from spillway.telemetry.trace_store.reader import StoreReader
from spillway.telemetry.trace_store.schema import FILE_NAME
from spillway_wire import names

Line = dict[str, Any]


def read_lines(served: Served) -> list[Line]:
    """All that was logged so far; the last line may be in the making."""
    return [json.loads(line) for line in served.log.read_text().splitlines(keepends=True) if line.endswith("}\n")]


async def heard(served: Served, wanted: Callable[[Line], bool]) -> Line:
    """Wait for a line."""
    async with asyncio.timeout(20):
        while True:
            for line in read_lines(served):
                if wanted(line):
                    return line
            await asyncio.sleep(0.05)


def test_every_request_has_a_line_with_its_outcome_and_timings(served: Served) -> None:
    async def test() -> None:
        marker = f"Count from 3 to 9, {secrets.token_hex(8)}"
        trace_id = secrets.token_hex(16)
        headers = {"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"}
        connection = await served.connect()
        reply = await connection.exchange(post("/generate", {"prompt": marker, "temperature": 0}, headers=headers))
        refused = await connection.exchange(post("/generate", {"prompt": marker, "temperature": 9}))
        connection.close()
        line = await heard(served, lambda line: line.get("trace_id") == trace_id)
        assert (line["event"], line["outcome"], line["status"]) == ("request", "completed", 200)
        assert (line["endpoint"], line["model"], line["tier"]) == ("generate", "demo", "gold")
        assert "req_" + line["request_id"] == reply.headers["x-request-id"]
        assert line["output_tokens"] == reply.json()["usage"]["completion_tokens"]
        assert 0 <= line["queue_s"] <= line["first_token_s"] <= line["seconds"]
        other = refused.headers["x-request-id"].removeprefix("req_")
        assert (await heard(served, lambda line: line.get("request_id") == other))["outcome"] == "invalid"
        assert marker.partition(", ")[2] not in served.log.read_text()  # nobody asked for contents
        states = [(line["child"], line["state"]) for line in read_lines(served) if line["event"] == "child_state"]
        assert {("engine-0", "spawning"), ("engine-0", "ready"), ("gateway-0", "ready"), ("ops", "ready")} <= {*states}

    asyncio.run(test())


@contextlib.contextmanager
def full_disk(pids: list[int]) -> Iterator[None]:
    """No file of these processes can grow."""
    processes = [psutil.Process(pid) for pid in pids]
    limits = [process.rlimit(resource.RLIMIT_FSIZE) for process in processes]
    try:
        for process, (_, hard) in zip(processes, limits, strict=True):
            process.rlimit(resource.RLIMIT_FSIZE, (0, hard))
        yield
    finally:
        for process, limit in zip(processes, limits, strict=True):
            process.rlimit(resource.RLIMIT_FSIZE, limit)


async def lost_traces(served: Served) -> float:
    reply = await served.ask_ops(get("/metrics"))
    return Scraped.read(reply.body.decode()).total(names.DROPPED_SPANS.exposed, reason="traces_store_lost")


def test_a_full_disk_costs_traces_and_no_answer(served: Served) -> None:
    async def one(count: Count) -> None:
        connection = await served.connect()
        try:
            assert is_exact(await stream(connection, count.fields()), count)
        finally:
            connection.close()

    async def test() -> None:
        gateway = (await served.until(is_idle))["gateways"][0]
        before = await lost_traces(served)
        with full_disk([gateway["pid"], served.process.pid]):
            async with asyncio.timeout(30):
                while await lost_traces(served) == before:
                    await one(Count(37, 90))
            assert (await served.until(is_idle))["gateways"][0]["pid"] == gateway["pid"]
        store = StoreReader(served.folder / "state" / FILE_NAME)
        began_ns = time.time_ns()
        async with asyncio.timeout(30):  # it is tried again a few seconds later
            while not any(found.started_ns > began_ns for found in store.recent(limit=10)):
                await one(Count(37, 90))

    asyncio.run(test())
