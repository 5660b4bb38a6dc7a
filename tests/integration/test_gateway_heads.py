"""What comes before a body: bytes that are no HTTP, heads without end or too large, and connections without a word."""

import asyncio
import json
import re
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from spillway.gateway.http import MAX_HEAD_BYTES

HEAD = b"GET /health HTTP/1.1\r\nhost: x\r\n"
CHUNKED = b"POST /tokenize HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"


def test_what_is_not_http_gets_an_error_body_and_the_end(with_gateway: Callable[..., None]) -> None:
    async def test(here: Any) -> None:
        reader, writer = await here.connect()
        writer.write(b"\x16\x03\x01 hello\r\n\r\n")
        status, body = await here.answer(reader)
        assert status == 400
        assert json.loads(body)["error"]["type"] == "invalid_request_error"
        assert await reader.read() == b""
        writer.close()

    with_gateway(test)


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
    with_gateway: Callable[..., None], begun: bytes, piece: bytes
) -> None:
    async def test(here: Any) -> None:
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

    with_gateway(test)


def test_a_head_that_is_too_large_is_told_so_and_a_large_one_is_served(with_gateway: Callable[..., None]) -> None:
    async def test(here: Any) -> None:
        reader, writer = await here.connect()
        writer.write(HEAD + b"x: " + b"a" * (MAX_HEAD_BYTES - 200) + b"\r\n\r\n")
        assert (await here.answer(reader))[0] == 200
        writer.write(HEAD + b"x: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n")
        status, body = await here.answer(reader)
        assert status == 431
        assert json.loads(body)["error"]["spillway"]["limit"] == f"max_head_bytes={MAX_HEAD_BYTES}"
        assert await reader.read() == b""
        writer.close()

    with_gateway(test)


@pytest.mark.parametrize("first", [b"", HEAD + b"\r\n"], ids=["first", "second"])
def test_a_head_that_does_not_get_on_ends_when_patience_does(with_gateway: Callable[..., None], first: bytes) -> None:
    async def test(here: Any) -> None:
        reader, writer = await here.connect()
        if first:
            writer.write(first)
            assert (await here.answer(reader))[0] == 200
        writer.write(HEAD)
        status, body = await here.answer(reader)
        assert status == 408
        assert json.loads(body)["error"]["spillway"] == {"outcome": "slow_reader", "limit": "slow_reader_s=0.1"}
        assert await reader.read() == b""
        writer.close()

    with_gateway(test, slow_reader_s=0.1)


def test_a_connection_on_which_nothing_comes_is_closed_without_a_word(with_gateway: Callable[..., None]) -> None:
    async def test(here: Any) -> None:
        reader, writer = await here.connect()
        assert await reader.read() == b""
        writer.close()

    with_gateway(test, slow_reader_s=0.1)


def test_what_a_request_waits_while_the_gateway_is_busy_is_a_part_of_its_time(
    with_gateway: Callable[..., None],
) -> None:
    async def test(here: Any) -> None:
        with socket.create_connection(("127.0.0.1", here.port)) as client:
            client.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
            before = time.monotonic()
            while time.monotonic() < before + 0.2:
                pass  # the loop, which has the client's bytes before it, does something else
            client.setblocking(False)
            answer = await asyncio.get_running_loop().sock_recv(client, 2**16)
        (took,) = re.findall(rb"openai-processing-ms: (\d+)", answer)
        assert int(took) >= 150

    with_gateway(test)
