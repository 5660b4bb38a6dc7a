"""The load generator's clients in virtual time: never late for a slow server, and back when they are told to be."""

import asyncio
import contextlib
import json
import selectors
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

import msgspec
import pytest

from spillway.bench.client import Reply
from spillway.bench.overload.callers import Callers, Heard
from spillway.bench.overload.plan import Expected, Plan, Record, Shot
from spillway.bench.overload.reading import read, retry_after_s, should_retry
from spillway.bench.overload.shooting import Shooting, Try, request

EXPECTED = Expected(num_tokens=3, finish_reason="length", num_words=3)


class Skipping(selectors.SelectSelector):
    """A selector for a loop whose time passes at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0

    def select(self, timeout: float | None = None) -> Any:
        self.now += timeout or 0.0
        return super().select(0)


def shot(number: int, due_s: float) -> Shot:
    return Shot(number=number, due_s=due_s, path="/v1/completions", body=b'{"n":1}', expected=EXPECTED)


def plan(*due: float, **more: Any) -> Plan:
    shots = [shot(number, at) for number, at in enumerate(due)]
    return Plan(**{"host": "h", "port": 1, "shots": shots, "patience_s": 5.0, **more})


def shoot(what: Plan, answer: Callable[[bytes], tuple[float, Reply]]) -> list[Try]:
    """Carry out a plan from 100 on; `answer` says how long each takes, and what comes."""
    selector = Skipping()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now  # type: ignore[method-assign]

    async def call(sent: bytes, give_up_at: float) -> Heard:
        heard = Heard(selector.now)
        takes, heard.reply = answer(sent)
        heard.gave_up = selector.now + takes > give_up_at
        await asyncio.sleep(min(takes, give_up_at - selector.now))
        heard.ended = selector.now
        return heard

    shooting = Shooting(what, call, clock=lambda: selector.now, sleep=asyncio.sleep)
    with contextlib.closing(loop):
        loop.run_until_complete(shooting.run(100.0))
    return shooting.tries


def reply(status: int = 200, headers: Mapping[str, str] | None = None, body: bytes = b"{}") -> Reply:
    return Reply(0.0, status, dict(headers or {}), [body], [0.0], 0.0)


def test_requests_are_sent_when_due_though_the_server_is_slow() -> None:
    tries = shoot(plan(0.0, 0.5, 3.0), lambda _: (4.0, reply()))
    assert sorted(each.heard.sent - 100 for each in tries) == pytest.approx([0.0, 0.5, 3.0], abs=0.01)


def test_what_has_not_ended_when_patience_has_is_given_up() -> None:
    (first, last) = sorted(shoot(plan(0.0, 10.0), lambda _: (14.0, reply())), key=lambda each: each.due)
    assert (first.heard.gave_up, last.heard.gave_up) == (False, True)
    assert last.heard.ended == pytest.approx(115.0, abs=0.01)


def test_clients_of_a_closed_loop_wait_for_their_answer() -> None:
    tries = shoot(plan(0.0, in_flight=2, closed_s=10.0), lambda _: (3.0, reply()))
    assert len(tries) == 2 * 4
    assert {round(each.heard.sent) for each in tries} == {100, 103, 106, 109}


def test_the_refused_come_back_when_told_and_say_how_often_they_have() -> None:
    counts: list[bytes] = []

    def answer(sent: bytes) -> tuple[float, Reply]:
        counts.append(next(line for line in sent.split(b"\r\n") if line.startswith(b"x-stainless-retry-count")))
        return 0.25, reply(429, {"retry-after": "9", "retry-after-ms": "2000"}) if len(counts) < 3 else reply()

    tries = shoot(plan(1.0, retries=2), answer)
    assert counts == [b"x-stainless-retry-count: %d" % number for number in range(3)]
    assert [each.due - 100 for each in tries] == pytest.approx([1.0, 3.25, 5.5], abs=0.01)
    assert [each.heard.sent for each in tries] == pytest.approx([each.due for each in tries], abs=0.01)


@pytest.mark.parametrize(
    "headers", [{}, {"retry-after": "121"}, {"retry-after": "1", "x-should-retry": "false"}, {"retry-after": "soon"}]
)
def test_nobody_comes_back_who_was_not_asked_to(headers: dict[str, str]) -> None:
    assert len(shoot(plan(0.0, retries=2), lambda _: (0.1, reply(503, headers)))) == 1


def test_a_try_is_the_same_request_with_its_count() -> None:
    head, _, body = request(shot(0, 0.0), 1).partition(b"\r\n\r\n")
    assert body == b'{"n":1}'
    assert b"x-stainless-retry-count: 1" in head
    assert b"Content-Length: 7" in head


# ---- what came ----


def event(text: str | None = None, *, finish: str | None = None, usage: int | None = None) -> bytes:
    choices = [] if usage else [{"index": 0, "text": text or "", "finish_reason": finish}]
    tokens = {"prompt_tokens": 7, "completion_tokens": usage} if usage else None
    return b"data: " + json.dumps({"choices": choices, "usage": tokens}).encode() + b"\n\n"


STREAM = (event("t1"), event(" t2"), event(" t3", finish="length"), event(usage=3), b"data: [DONE]\n\n")


def streamed(*pieces: bytes, ended: float | None = 110.0) -> Record:
    heard = Heard(100.1, ended=110.0)
    heard.reply = Reply(100.1, 200, {}, list(pieces), [101.0 + place for place in range(len(pieces))], ended)
    return read(shot(4, 0.0), 0, 100.0, heard, 100.0)


def test_a_whole_answer_is_exact_and_each_text_has_its_time() -> None:
    found = streamed(*STREAM)
    assert (found.is_done, found.is_exact, found.problem) == (True, True, None)
    assert found.events_s == pytest.approx([1.0, 2.0, 3.0])
    assert (found.prompt_tokens, found.output_tokens) == (7, 3)
    assert found.sent_s == pytest.approx(0.1)
    assert (found.ttft_s, found.tpot_s) == pytest.approx((1.0, 1.0))


def test_bytes_may_be_cut_anywhere() -> None:
    whole = b"".join(STREAM)
    found = streamed(whole[:50], whole[50:51], whole[51:])
    assert found.is_exact
    assert found.output_tokens == 3


@pytest.mark.parametrize(
    "pieces",
    [
        (STREAM[0], STREAM[2], STREAM[3], STREAM[4]),  # a token is lost
        (*STREAM[:2], event(" t3", finish="stop"), *STREAM[3:]),  # it ends for another reason
        (*STREAM[:3], event(usage=2), STREAM[4]),  # its usage says something else
        (*STREAM[:3], STREAM[4]),  # it has no usage
    ],
)
def test_an_answer_that_is_not_what_was_asked_for_is_not_exact(pieces: tuple[bytes, ...]) -> None:
    found = streamed(*pieces)
    assert found.is_done
    assert not found.is_exact


@pytest.mark.parametrize(
    ("pieces", "problem"),
    [
        (STREAM[:3], "it ended without [DONE]"),
        ((STREAM[0], b'data: {"error": {"message": "engine gone", "code": "engine_failed"}}\n\n'), "engine gone"),
        ((STREAM[0], b"data: {\n\n", STREAM[4]), "an event makes no sense"),
    ],
)
def test_a_stream_that_breaks_is_no_success(pieces: tuple[bytes, ...], problem: str) -> None:
    found = streamed(*pieces)
    assert not found.is_done
    assert problem in (found.problem or "")


def test_a_refusal_keeps_what_it_said() -> None:
    heard = Heard(100.0, ended=100.002)
    heard.reply = reply(429, {"retry-after-ms": "1500", "x-should-retry": "true"}, b'{"error":{"code":"slow_down"}}')
    found = read(shot(1, 0.0), 1, 100.0, heard, 100.0)
    assert (found.status, found.code, found.retry_after_s, found.should_retry) == (429, "slow_down", 1.5, True)
    assert found.is_refused
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=Record) == found


@pytest.mark.parametrize(
    ("error", "code"), [(b'{"code": 503, "type": "x"}', "503"), (b'{"type": "x"}', "x"), (b"{}", None)]
)
def test_a_code_is_text_whatever_a_server_makes_of_it(error: bytes, code: str | None) -> None:
    heard = Heard(100.0, ended=100.1)
    heard.reply = reply(503, body=b'{"error": ' + error + b"}")
    found = read(shot(1, 0.0), 0, 100.0, heard, 100.0)
    assert found.code == code
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=Record) == found


@pytest.mark.parametrize("body", [b"busy", b'"busy"', b'{"error": "busy"}', b'{"message": "busy"}'])
def test_an_error_in_any_form_is_told(body: bytes) -> None:
    heard = Heard(100.0, ended=100.1)
    heard.reply = reply(500, body=body)
    assert read(shot(1, 0.0), 0, 100.0, heard, 100.0).problem == "busy"


def test_times_to_come_back_are_read_as_clients_do() -> None:
    assert retry_after_s({"retry-after": "2", "retry-after-ms": "1999"}) == pytest.approx(1.999)
    assert retry_after_s({"retry-after": "2"}) == 2.0
    assert retry_after_s({"retry-after": "Sat, 21 Nov 2026 12:00:00 GMT"}) is None
    assert [should_retry({"x-should-retry": said}) for said in ("true", "false", "")] == [True, False, None]


# ---- connections ----


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
SENT = request(shot(0, 0.0), 0)


def on_loopback(serve: Serve, ask: Callable[[Callers, Callable[[], float]], Awaitable[None]]) -> None:
    """Have `ask` call a server, with the loop's clock."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        handlers: list[asyncio.Task[None]] = []

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            handlers.append(cast("asyncio.Task[None]", asyncio.current_task()))
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                await serve(reader, writer)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        callers = Callers(host, port, loop.time)
        try:
            await ask(callers, loop.time)
        finally:
            callers.close()
            server.close()
            await asyncio.gather(*handlers)

    asyncio.run(main())


def test_a_connection_is_used_again() -> None:
    peers: list[object] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b'{"n":1}'):
            peers.append(writer.get_extra_info("peername"))
            writer.write(b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 2\r\n\r\n{}")

    async def ask(callers: Callers, clock: Callable[[], float]) -> None:
        for _ in range(2):
            heard = await callers.call(SENT, clock() + 60.0)
            assert heard.reply is not None
            assert heard.reply.status == 429

    on_loopback(serve, ask)
    assert len(peers) == 2
    assert len(set(peers)) == 1


def test_a_silent_server_is_given_up() -> None:
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b'{"n":1}'))
        await reader.read()  # until the client leaves

    async def ask(callers: Callers, clock: Callable[[], float]) -> None:
        patience_s = 0.02
        while not asked:  # a busy machine may not even have sent it
            heard = await callers.call(SENT, clock() + patience_s)
            assert heard.gave_up
            assert heard.reply is None or heard.reply.ended is None
            patience_s *= 2

    on_loopback(serve, ask)


def test_a_server_that_closes_has_not_answered() -> None:
    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readuntil(b'{"n":1}')

    async def ask(callers: Callers, clock: Callable[[], float]) -> None:
        heard = await callers.call(SENT, clock() + 60.0)
        found = read(shot(0, 0.0), 0, heard.sent, heard, heard.sent)
        assert (found.status, found.gave_up, found.is_done) == (0, False, False)

    on_loopback(serve, ask)


def test_nobody_listening_is_a_problem_in_words() -> None:
    async def main() -> Heard:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        server.close()
        await server.wait_closed()
        loop = asyncio.get_running_loop()
        return await Callers(host, port, loop.time).call(b"", loop.time() + 5.0)

    heard = asyncio.run(main())
    assert heard.reply is None
    assert "no connection" in (heard.problem or "")
