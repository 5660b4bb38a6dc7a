"""The gateway behind real sockets: clients that half-close, do not read, or speak no HTTP."""

import asyncio
import json
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import openai
import pytest
import uvloop

from spillway.gateway.http import MAX_HEAD_BYTES
from spillway.gateway.server import accept_queue, listening_socket, server_config
from spillway.pool.contract import Piece
from spillway.server import Server
from spillway.settings import LimitSettings, NetworkSettings, Settings
from spillway_wire.outcomes import Outcome
from spillway_wire.tally import COUNTERS

PLAIN = NetworkSettings()
BODY = {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}


@dataclass
class Served:
    house: Any
    port: int
    server: Server
    eventually: Callable[..., Awaitable[None]]

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, limit=2**16)

    def outcomes(self, outcome: Outcome) -> int:
        count: int = self.house.tally._counts[COUNTERS.index(f"outcome_{outcome.value}")]
        return count

    async def ended_as(self, outcome: Outcome) -> None:
        await self.eventually(lambda: self.outcomes(outcome))
        assert self.house.tally.open_requests == 0
        assert self.house.pool.num_open == 0


Test = Callable[[Served], Awaitable[None]]


@pytest.fixture
def served(gateway_house: ModuleType, asgi: ModuleType) -> Callable[..., None]:
    @asynccontextmanager
    async def serving(limits: LimitSettings, network: NetworkSettings) -> AsyncIterator[Served]:
        listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        house = gateway_house.House(settings=Settings(limits=limits))
        started = asyncio.Event()
        server = Server(server_config(house.app, network, lambda: limits.slow_reader_s), on_started=started.set)
        listener = listening_socket(listener.detach(), limits)
        running = asyncio.create_task(server.serve(sockets=[listener]))
        await started.wait()
        try:
            yield Served(house, listener.getsockname()[1], server, asgi.eventually)
        finally:
            server.end(at_once=True)
            await running

    def run(test: Test, network: NetworkSettings = PLAIN, **limits: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(60), serving(LimitSettings(**limits), network) as here:
                await test(here)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(bounded())

    return run


def request(body: Any, path: str = "/v1/chat/completions", *headers: str) -> bytes:
    raw = json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "host: x", f"content-length: {len(raw)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + raw


async def drained(client: socket.socket) -> None:
    """Read to the end, or to whatever else ends it."""
    while await asyncio.get_running_loop().sock_recv(client, 2**16):
        pass


async def read_to_the_end(reader: asyncio.StreamReader) -> None:
    while await reader.read(2**16):
        pass


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return int(head.split()[1]), await reader.readexactly(length)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("half", [False, True])
def test_a_client_that_closes_or_half_closes_is_gone(
    served: Callable[..., None], gateway_house: ModuleType, *, stream: bool, half: bool
) -> None:
    async def test(here: Served) -> None:
        here.house.pool.answer = gateway_house.silent
        _, writer = await here.connect()
        writer.write(request(BODY | {"stream": stream}))
        await here.eventually(lambda: here.house.pool.tickets)
        if half:
            writer.write_eof()
        else:
            writer.close()
        await here.ended_as(Outcome.CLIENT_GONE)
        assert here.house.pool.tickets[0].aborted is Outcome.CLIENT_GONE
        writer.close()

    served(test)


def test_a_connection_serves_one_request_after_another(served: Callable[..., None]) -> None:
    async def test(here: Served) -> None:
        reader, writer = await here.connect()
        for body, status in ((BODY, 200), (BODY | {"n": 0}, 400), (BODY, 200)):
            writer.write(request(body))
            assert (await answer(reader))[0] == status
        writer.close()

    served(test)


def test_a_client_that_does_not_read_is_cut_off_and_others_do_not_wait(
    served: Callable[..., None], gateway_house: ModuleType
) -> None:
    async def test(here: Served) -> None:
        here.house.pool.answer = gateway_house.silent
        client = socket.create_connection(("127.0.0.1", here.port))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.send(request(BODY | {"stream": True, "max_tokens": 2000}))
        await here.eventually(lambda: here.house.pool.tickets)
        slow = here.house.pool.tickets[0]
        while here.outcomes(Outcome.SLOW_READER) == 0:
            for _ in range(200):
                slow.push(Piece(0, (2013,)))
            here.house.pool.answer = gateway_house.saying("2 3", here.house.model)
            reader, writer = await here.connect()
            writer.write(request(BODY))
            assert (await answer(reader))[0] == 200
            writer.close()
            await asyncio.sleep(0.005)
        assert slow.aborted is Outcome.SLOW_READER
        assert len(slow._pieces) > 0  # what it did not take was not piled up in the connection
        client.setblocking(False)
        with pytest.raises(ConnectionResetError):
            await drained(client)
        client.close()

    served(test, slow_reader_s=0.2)


def test_what_is_not_http_gets_an_error_body_and_the_end(served: Callable[..., None]) -> None:
    async def test(here: Served) -> None:
        reader, writer = await here.connect()
        writer.write(b"\x16\x03\x01 hello\r\n\r\n")
        status, body = await answer(reader)
        assert status == 400
        assert json.loads(body)["error"]["type"] == "invalid_request_error"
        assert await reader.read() == b""
        writer.close()

    served(test)


HEAD = b"GET /health HTTP/1.1\r\nhost: x\r\n"
CHUNKED = b"POST /tokenize HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"


@pytest.mark.parametrize(
    ("begun", "piece"),
    [
        (b"GET /", b"a" * 999),
        (HEAD, b"x-many: many\r\n"),
        (HEAD + b"x-one: ", b"a" * 999),
        (HEAD + b"\r\n" + HEAD + b"x-second: ", b"a" * 999),
        (CHUNKED + b"x-trailer: ", b"a" * 999),
    ],
    ids=["URL", "many headers", "one header", "a second request's", "a trailer"],
)
def test_a_head_without_end_is_refused_before_it_fills_the_memory(
    served: Callable[..., None], begun: bytes, piece: bytes
) -> None:
    async def test(here: Served) -> None:
        _, writer = await here.connect()
        writer.write(begun)
        sent = 0
        try:
            while sent < 2**20:
                writer.write(piece)
                await writer.drain()
                sent += len(piece)
                await asyncio.sleep(0)
        except ConnectionError:
            pass
        await here.eventually(lambda: not here.server.server_state.connections)
        assert sent < 2**20
        writer.close()

    served(test)


def test_a_head_that_is_too_large_is_told_so_and_a_large_one_is_served(served: Callable[..., None]) -> None:
    async def test(here: Served) -> None:
        reader, writer = await here.connect()
        writer.write(HEAD + b"x: " + b"a" * (MAX_HEAD_BYTES - 200) + b"\r\n\r\n")
        assert (await answer(reader))[0] == 200
        writer.write(HEAD + b"x: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n")
        status, body = await answer(reader)
        assert status == 431
        assert json.loads(body)["error"]["spillway"]["limit"] == f"max_head_bytes={MAX_HEAD_BYTES}"
        assert await reader.read() == b""
        writer.close()

    served(test)


@pytest.mark.parametrize("first", [b"", HEAD + b"\r\n"], ids=["first", "second"])
def test_a_head_that_does_not_get_on_ends_when_patience_does(served: Callable[..., None], first: bytes) -> None:
    async def test(here: Served) -> None:
        reader, writer = await here.connect()
        if first:
            writer.write(first)
            assert (await answer(reader))[0] == 200
        writer.write(HEAD)
        status, body = await answer(reader)
        assert status == 408
        assert json.loads(body)["error"]["spillway"] == {"outcome": "slow_reader", "limit": "slow_reader_s=0.1"}
        assert await reader.read() == b""
        writer.close()

    served(test, slow_reader_s=0.1)


def test_a_connection_on_which_nothing_comes_is_closed_without_a_word(served: Callable[..., None]) -> None:
    async def test(here: Served) -> None:
        reader, writer = await here.connect()
        assert await reader.read() == b""
        writer.close()

    served(test, slow_reader_s=0.1)


@pytest.mark.parametrize(
    ("trusted", "client"), [(("127.0.0.0/8",), "203.0.113.9"), (("192.0.2.1",), "127.0.0.1"), ((), "127.0.0.1")]
)
def test_the_clients_address_is_the_proxys_word_only_where_that_is_trusted(
    served: Callable[..., None], trusted: tuple[str, ...], client: str
) -> None:
    async def test(here: Served) -> None:
        reader, writer = await here.connect()
        writer.write(request(BODY, "/v1/chat/completions", "x-forwarded-for: 203.0.113.9"))
        assert (await answer(reader))[0] == 200
        (line,) = [fields for event, fields in here.house.events if event == "request"]
        assert line["client"] == client
        writer.close()

    served(test, NetworkSettings(trusted_proxies=trusted))


def test_a_body_that_is_announced_too_large_is_refused_before_it_is_sent(served: Callable[..., None]) -> None:
    async def test(here: Served) -> None:
        reader, writer = await here.connect()
        head = "POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\nexpect: 100-continue\r\n\r\n"
        writer.write(head.encode())
        status, body = await answer(reader)
        assert (status, json.loads(body)["error"]["code"]) == (413, "request_too_large")
        writer.close()

    served(test)


def test_a_body_that_trickles_in_ends_when_patience_does(served: Callable[..., None]) -> None:
    async def test(here: Served) -> None:
        reader, writer = await here.connect()
        writer.write(request(BODY)[:-5])
        assert (await answer(reader))[0] == 408
        await here.ended_as(Outcome.SLOW_READER)
        writer.close()

    served(test, slow_reader_s=0.1)


def test_openais_own_client_understands_answers_streams_and_errors(served: Callable[..., None]) -> None:
    async def test(here: Served) -> None:
        url = f"http://127.0.0.1:{here.port}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            create: Any = client.chat.completions.create
            whole = await create(**BODY, n=2, logprobs=True, top_logprobs=1)
            assert [choice.message.content for choice in whole.choices] == ["2 3 4 5"] * 2
            chunks = [
                chunk async for chunk in await create(**BODY, stream=True, stream_options={"include_usage": True})
            ]
            assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "2 3 4 5"
            assert chunks[-1].usage.completion_tokens == 5
            with pytest.raises(openai.BadRequestError) as refused:
                await create(**BODY, tools=[{"type": "function", "function": {"name": "f"}}])
            assert (refused.value.param, refused.value.code) == ("tools", "unsupported_parameter")
            with pytest.raises(openai.NotFoundError) as unknown:
                await create(**(BODY | {"model": "x"}))
            assert str(unknown.value.request_id).startswith("req_")
            here.house.pool.answer = lambda ticket: (ticket.push(Piece(0, (23,))), ticket.abort(Outcome.ENGINE_FAILED))
            with pytest.raises(openai.APIError) as broken:
                [chunk async for chunk in await create(**BODY, stream=True)]
            assert broken.value.code == "engine_failed"
            assert [model.id async for model in client.models.list()] == ["demo", "default"]

    served(test)


def test_with_a_certificate_it_speaks_tls_and_drops_who_does_not_read_all_the_same(
    served: Callable[..., None], gateway_house: ModuleType, tmp_path: Path
) -> None:
    certificate, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    openssl = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subprocess.run([*openssl, "-subj", "/CN=x", "-keyout", key, "-out", certificate], check=True, capture_output=True)

    async def test(here: Served) -> None:
        trusting = ssl.create_default_context(cafile=certificate)
        trusting.check_hostname = False
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port, ssl=trusting, limit=2**12)
        writer.write(request(BODY))
        assert (await answer(reader))[0] == 200
        here.house.pool.answer = gateway_house.silent
        writer.write(request(BODY | {"stream": True}))
        await here.eventually(lambda: len(here.house.pool.tickets) == 2)
        while here.outcomes(Outcome.SLOW_READER) == 0:
            for _ in range(200):
                here.house.pool.tickets[1].push(Piece(0, (2013,)))
            await asyncio.sleep(0.005)
        with pytest.raises(ConnectionResetError):
            await read_to_the_end(reader)
        writer.close()

    served(test, NetworkSettings(tls_certificate=certificate, tls_key=key), slow_reader_s=0.2)


def test_the_accept_queue_is_the_kernels(served: Callable[..., None]) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        assert accept_queue(listener) == 0
        waiting = [socket.create_connection(listener.getsockname()) for _ in range(3)]
        assert accept_queue(listener) == 3
        for each in waiting:
            each.close()
    assert accept_queue(listener) is None
