"""The console over HTTP, with a supervisor and a gateway that say what the test wants."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import httpx

from spillway.settings import NetworkSettings
from spillway_wire.plane import EngineDied, ExitCause

OPEN_TO_OTHERS = NetworkSettings(ops_host="0.0.0.0")  # noqa: S104 - the test listens on loopback; ops is only told so


@dataclass
class Reader:
    """Reads server-sent events, one after another."""

    lines: AsyncIterator[str]
    seen: list[str] = field(default_factory=list)

    async def event(self) -> tuple[str, Any]:
        name = ""
        async for line in self.lines:
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                return name, json.loads(line.removeprefix("data: "))
        raise AssertionError("the stream ended")

    async def until(self, condition: Callable[[Any], Any]) -> Any:
        while True:
            _, told = await self.event()
            if condition(told):
                return told


@asynccontextmanager
async def console(ops: Any, **headers: str) -> AsyncIterator[Reader]:
    async with ops.http.stream("GET", "/console/events", headers=headers, timeout=20) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Reader(answer.aiter_lines())


@asynccontextmanager
async def gateway(answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that takes a request, notes it, and says `answer`."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n") if b": " in line)
        size = int(fields[b"content-length"])
        heard.append(head + await reader.readexactly(size))
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heard


STREAMED = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: req_7\r\nset-cookie: a=b\r\n"
    b'connection: close\r\n\r\ndata: {"choices": [{"delta": {"content": "37"}}]}\n\ndata: [DONE]\n\n'
)


def test_the_page_and_its_files_are_guarded_and_say_nothing(with_ops: Callable[..., None]) -> None:
    async def test(ops: Any) -> None:
        page = await ops.http.get("/console")
        assert page.status_code == 200
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert " style=" not in page.text
        assert "onclick" not in page.text
        for path in ("main.js", "style/tokens.css", "vendor/uplot/uPlot.esm.js", "icon.svg"):
            file = await ops.http.get(f"/console/files/{path}")
            assert file.status_code == 200
            again = await ops.http.get(f"/console/files/{path}", headers={"if-none-match": file.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
        for path in ("nothing.js", "..%2f..%2fconsole.py", "vendor/uplot/LICENSE"):
            assert (await ops.http.get(f"/console/files/{path}")).status_code == 404

    with_ops(test)


def test_it_tells_everything_first_and_then_what_is_new(
    with_ops: Callable[..., None], fake_supervisor: ModuleType
) -> None:
    async def test(ops: Any) -> None:
        async with console(ops) as reader:
            name, hello = await reader.event()
            assert name == "hello"
            assert [engine["id"] for engine in hello["snapshot"]["engines"]] == ["engine-0", "engine-1"]
            assert hello["snapshot"]["ready"]

            ops.supervisor.status = fake_supervisor.status(engines=[fake_supervisor.engine(state="crashed", pid=None)])
            word = EngineDied(
                engine_id="engine-0", incarnation=1, cause=ExitCause.SIGNAL, message="SIGKILL", aboard=(), detected_ns=1
            )
            ops.supervisor.wires[0].send(word)
            told = await reader.until(lambda told: told["happenings"])
            assert told["happenings"][0]["subject"] == "engine-0 #1"
            gone = await reader.until(lambda told: not told["snapshot"]["ready"])
            assert gone["snapshot"]["reasons"] == ["model demo: no engine is ready (1 crashed)"]

    with_ops(test)


def test_a_silent_supervisor_is_told_and_the_stream_goes_on(with_ops: Callable[..., None]) -> None:
    async def test(ops: Any) -> None:
        async with console(ops) as reader:
            await reader.event()
            ops.supervisor.silent = True
            told = await reader.until(lambda told: told["snapshot"]["problem"])
            assert "did not answer" in told["snapshot"]["problem"]
            assert len(told["snapshot"]["engines"]) == 2  # as they were
            assert told["happenings"][0]["kind"] == "silence"
            ops.supervisor.silent = False
            told = await reader.until(lambda told: not told["snapshot"]["problem"])
            assert told["snapshot"]["stale_s"] == 0.0

    with_ops(test)


def test_many_consoles_ask_as_often_as_one_and_nobody_asks_for_nobody(with_ops: Callable[..., None]) -> None:
    async def test(ops: Any) -> None:
        async with console(ops) as one:
            async with console(ops) as other:
                for reader in (one, other):
                    await reader.event()
                before = ops.supervisor.num_asked
                for _ in range(3):
                    await asyncio.gather(one.event(), other.event())
                assert ops.supervisor.num_asked - before == 3
            await one.event()
        metrics = await ops.http.get("/metrics")
        assert metrics.status_code == 200

    with_ops(test)


def test_where_others_can_come_the_data_needs_the_key_and_the_page_does_not(with_ops: Callable[..., None]) -> None:
    async def test(ops: Any) -> None:
        assert (await ops.http.get("/console")).status_code == 200
        for path in ("/console/events", "/console/requests", "/console/traces/abc", "/console/requests/abc"):
            assert (await ops.http.get(path)).status_code == 401, path
        assert (await ops.http.post("/console/prompt", json={"model": "demo", "prompt": "hi"})).status_code == 401
        async with console(ops, **ops.admin) as reader:
            assert (await reader.event())[0] == "hello"
        assert (await ops.http.get("/console/requests", headers=ops.admin)).json() == {"requests": [], "problem": ""}

    with_ops(test, network=OPEN_TO_OTHERS)


def test_other_names_and_other_origins_are_refused(with_ops: Callable[..., None]) -> None:
    async def test(ops: Any) -> None:
        for headers in ({"host": "evil.example"}, {"host": "evil.example:8001"}, {"sec-fetch-site": "cross-site"}):
            answer = await ops.http.get("/console/requests", headers=headers)
            assert answer.status_code == 403, headers
        for host in ("localhost:8001", "127.0.0.1", "[::1]:8001", "[::1]"):
            assert (await ops.http.get("/console/requests", headers={"host": host})).status_code == 200, host
        form = {"content-type": "text/plain"}
        assert (await ops.http.post("/console/prompt", content=b"{}", headers=form)).status_code == 415

    with_ops(test)


def test_a_prompt_goes_to_a_gateway_and_the_answer_comes_back(
    with_ops: Callable[..., None], fake_supervisor: ModuleType
) -> None:
    async def test(ops: Any) -> None:
        async with gateway(STREAMED) as (url, heard):
            ops.supervisor.status = fake_supervisor.status(urls={"api": url})
            await asyncio.sleep(0.15)  # the status before is kept for a moment
            asked = {"model": "demo", "prompt": "Count.", "max_tokens": 5}
            headers = {"x-api-key": "of-the-tenant", "authorization": "Bearer of-ops"}
            answer = await ops.http.post("/console/prompt", json=asked, headers=headers)

        assert (answer.status_code, answer.headers["x-request-id"]) == (200, "req_7")
        assert "set-cookie" not in answer.headers
        assert answer.text.endswith("data: [DONE]\n\n")
        head, _, body = heard[0].partition(b"\r\n\r\n")
        assert b"x-api-key: of-the-tenant" in head
        assert b"of-ops" not in head
        assert json.loads(body) == {
            "model": "demo",
            "max_tokens": 5,
            "messages": [{"role": "user", "content": "Count."}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    with_ops(test)


def test_a_prompt_without_a_gateway_and_a_wrong_one_are_told(
    with_ops: Callable[..., None], fake_supervisor: ModuleType
) -> None:
    async def test(ops: Any) -> None:
        ops.supervisor.status = fake_supervisor.status(urls={"api": "http://127.0.0.1:9"})
        answer = await ops.http.post("/console/prompt", json={"model": "demo", "prompt": "hi"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no_gateway")
        answer = await ops.http.post("/console/prompt", json={"model": "demo"})
        assert answer.status_code == 400
        assert "prompt" in answer.json()["error"]["message"]

    with_ops(test)


def test_faults_are_listed_and_orders_become_events(with_ops: Callable[..., None]) -> None:
    async def test(ops: Any) -> None:
        assert (await ops.http.get("/admin/faults")).status_code == 401
        listed = (await ops.http.get("/admin/faults", headers=ops.admin)).json()
        assert listed["enabled"] is True
        slow = next(fault for fault in listed["faults"] if fault["name"] == "slow_step")
        assert slow["value"] == [0.0, 3600.0]
        async with console(ops) as reader:
            await reader.event()
            await ops.http.post("/admin/faults", headers=ops.admin, json={"engine": "engine-0", "fault": "crash"})
            await ops.http.post("/admin/engines/engine-1/drain", headers=ops.admin)
            told = await reader.until(lambda told: len(told["happenings"]) == 2)
            assert [one["text"] for one in told["happenings"]] == ["fault ordered: crash", "ordered to drain"]

    with_ops(test, chaos=True)


def test_a_profile_needs_the_key_and_a_child(with_ops: Callable[..., None]) -> None:
    async def test(ops: Any) -> None:
        assert (await ops.http.post("/admin/profile/engine-0")).status_code == 401
        for path, status in (("engine-9", 404), ("engine-0?seconds=0", 400), ("engine-0?format=pdf", 400)):
            answer = await ops.http.post(f"/admin/profile/{path}", headers=ops.admin)
            assert answer.status_code == status, answer.text

    with_ops(test)


def test_an_open_console_does_not_hold_up_the_end(with_ops: Callable[..., None]) -> None:
    async def test(ops: Any) -> None:
        async with console(ops) as reader:
            await reader.event()
            ops.process.terminate()
            try:
                while True:
                    await reader.event()
            except (AssertionError, httpx.HTTPError):
                pass
            assert await ops.ended() == 0

    with_ops(test)
