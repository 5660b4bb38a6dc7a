"""The gateway behind real sockets: clients that half-close or do not read, proxies, TLS, OpenAI's own client."""

import asyncio
import json
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import openai
import pytest

from spillway.gateway.server import accept_queue
from spillway.pool.contract import Piece
from spillway.settings import NetworkSettings
from spillway_wire.outcomes import Outcome

BODY = {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}


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


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("half", [False, True])
def test_a_client_that_closes_or_half_closes_is_gone(
    with_gateway: Callable[..., None], gateway_house: ModuleType, *, stream: bool, half: bool
) -> None:
    async def test(here: Any) -> None:
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

    with_gateway(test)


def test_a_connection_serves_one_request_after_another(with_gateway: Callable[..., None]) -> None:
    async def test(here: Any) -> None:
        reader, writer = await here.connect()
        for body, status in ((BODY, 200), (BODY | {"n": 0}, 400), (BODY, 200)):
            writer.write(request(body))
            assert (await here.answer(reader))[0] == status
        writer.close()

    with_gateway(test)


def test_a_client_that_does_not_read_is_cut_off_and_others_do_not_wait(
    with_gateway: Callable[..., None], gateway_house: ModuleType
) -> None:
    async def test(here: Any) -> None:
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
            assert (await here.answer(reader))[0] == 200
            writer.close()
            await asyncio.sleep(0.005)
        assert slow.aborted is Outcome.SLOW_READER
        assert len(slow._pieces) > 0  # what it did not take was not piled up in the connection
        client.setblocking(False)
        with pytest.raises(ConnectionResetError):
            await drained(client)
        client.close()

    with_gateway(test, slow_reader_s=0.2)


@pytest.mark.parametrize(
    ("trusted", "client"), [(("127.0.0.0/8",), "203.0.113.9"), (("192.0.2.1",), "127.0.0.1"), ((), "127.0.0.1")]
)
def test_the_clients_address_is_the_proxys_word_only_where_that_is_trusted(
    with_gateway: Callable[..., None], trusted: tuple[str, ...], client: str
) -> None:
    async def test(here: Any) -> None:
        reader, writer = await here.connect()
        writer.write(request(BODY, "/v1/chat/completions", "x-forwarded-for: 203.0.113.9"))
        assert (await here.answer(reader))[0] == 200
        (line,) = [fields for event, fields in here.house.events if event == "request"]
        assert line["client"] == client
        writer.close()

    with_gateway(test, NetworkSettings(trusted_proxies=trusted))


def test_a_body_that_is_announced_too_large_is_refused_before_it_is_sent(with_gateway: Callable[..., None]) -> None:
    async def test(here: Any) -> None:
        reader, writer = await here.connect()
        head = "POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\nexpect: 100-continue\r\n\r\n"
        writer.write(head.encode())
        status, body = await here.answer(reader)
        assert (status, json.loads(body)["error"]["code"]) == (413, "request_too_large")
        writer.close()

    with_gateway(test)


def test_a_body_that_trickles_in_ends_when_patience_does(with_gateway: Callable[..., None]) -> None:
    async def test(here: Any) -> None:
        reader, writer = await here.connect()
        writer.write(request(BODY)[:-5])
        assert (await here.answer(reader))[0] == 408
        await here.ended_as(Outcome.SLOW_READER)
        writer.close()

    with_gateway(test, slow_reader_s=0.1)


def test_openais_own_client_understands_answers_streams_and_errors(with_gateway: Callable[..., None]) -> None:
    async def test(here: Any) -> None:
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

    with_gateway(test)


def test_with_a_certificate_it_speaks_tls_and_drops_who_does_not_read_all_the_same(
    with_gateway: Callable[..., None], gateway_house: ModuleType, certificates: Callable[[str], tuple[Path, Path]]
) -> None:
    certificate, key = map(str, certificates("ours"))

    async def test(here: Any) -> None:
        trusting = ssl.create_default_context(cafile=certificate)
        trusting.check_hostname = False
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port, ssl=trusting, limit=2**12)
        writer.write(request(BODY))
        assert (await here.answer(reader))[0] == 200
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

    with_gateway(test, NetworkSettings(tls_certificate=certificate, tls_key=key), slow_reader_s=0.2)


def test_the_accept_queue_is_the_kernels(with_gateway: Callable[..., None]) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        assert accept_queue(listener) == 0
        waiting = [socket.create_connection(listener.getsockname()) for _ in range(3)]
        assert accept_queue(listener) == 3
        for each in waiting:
            each.close()
    assert accept_queue(listener) is None
