"""A request that ends suddenly, in every phase of its life, in every way: what must be left behind is nothing.

Phases: while its body comes, while its prompt is tokenized in a thread, in the queue (or before the first token, which
the HTTP side cannot tell apart), between tokens, while a write is stuck, between the last token and the end. Ways: the
client leaves, the server ends, its time is up, the server cancels its task.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

import pytest

from spillway.pool.contract import Piece
from spillway.settings import LimitSettings, Settings
from spillway_wire.outcomes import Outcome
from spillway_wire.plane import PhaseKind
from spillway_wire.tally import CLIENTS_DISCONNECTED, COUNTERS

CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "Count from 2 to 5"}]


class World:
    """One request to a gateway, run as a task, as a server does."""

    def __init__(self, gateway_house: ModuleType, asgi: ModuleType, *, settings: Settings | None = None) -> None:
        self.house = gateway_house.House(settings=settings)
        self.house.pool.answer = gateway_house.silent
        self.asgi = asgi
        self.call: Any = None
        self.task: asyncio.Task[Any]

    def start(self, body: object = None, path: str = CHAT, **options: Any) -> None:
        self.call = self.asgi.Call(self.house.app, path, body, **options)
        self.task = asyncio.create_task(self.call.run(), name="the request")

    def chat(self, **fields: Any) -> None:
        self.start({"model": "demo", "messages": MESSAGES} | fields)

    async def submitted(self) -> Any:
        await self.asgi.settled(lambda: self.house.pool.tickets)
        return self.house.pool.tickets[0]

    async def ended(self, outcome: Outcome, *, num_tickets: int = 1) -> None:
        """Wait for the end, and check that nothing is left of the request but its one outcome."""
        async with asyncio.timeout(10):
            await asyncio.gather(self.task, return_exceptions=True)
        await self.asgi.settled(lambda: not self.asgi.other_tasks())
        counts = self.house.tally._counts
        assert [counts[0], counts[COUNTERS.index(f"outcome_{outcome.value}")]] == [1, 1]
        assert self.house.tally.open_requests == 0
        assert self.house.gateway.num_open == 0
        assert len(self.house.pool.tickets) == num_tickets
        assert self.house.pool.num_open == 0
        assert counts[CLIENTS_DISCONNECTED] == (outcome is Outcome.CLIENT_GONE)


@pytest.fixture
def world(gateway_house: ModuleType, asgi: ModuleType) -> Callable[..., World]:
    return lambda **options: World(gateway_house, asgi, **options)


# ---- ways to end ----


def client_leaves(world: World) -> Outcome:
    world.call.leave()
    return Outcome.CLIENT_GONE


def server_ends(world: World) -> Outcome:
    world.house.gateway.enter_phase(PhaseKind.ENDING)
    return Outcome.DRAINING


def task_is_cancelled(world: World) -> Outcome:
    world.task.cancel()
    return Outcome.GATEWAY_FAILED


WAYS = [client_leaves, server_ends, task_is_cancelled]


# ---- phases ----


async def while_the_body_comes(world: World) -> int:
    world.start(whole=False)
    world.call.feed(b'{"model": "demo", ', more=True)
    await world.asgi.settled(lambda: world.house.gateway.num_open == 1 and world.call._incoming.empty())
    return 0


async def before_the_first_token(world: World) -> int:
    world.chat()
    await world.submitted()
    return 1


async def before_the_first_token_of_a_stream(world: World) -> int:
    world.chat(stream=True)
    await world.submitted()
    return 1


async def between_tokens(world: World) -> int:
    world.chat()
    (await world.submitted()).push(Piece(0, (23,)))
    await asyncio.sleep(0)
    return 1


async def between_tokens_of_a_stream(world: World) -> int:
    world.chat(stream=True)
    (await world.submitted()).push(Piece(0, (23,)))
    await world.call.until('"content":"2"')
    return 1


async def between_tokens_of_one_of_many_prompts(world: World) -> int:
    world.start({"prompts": ["2", "3", "4"], "stream": True}, "/generate_batch")
    await world.asgi.settled(lambda: len(world.house.pool.tickets) == 3)
    world.house.pool.tickets[1].push(Piece(0, (23,)))
    await world.call.until('"text":"2"')
    return 3


PHASES = [
    while_the_body_comes,
    before_the_first_token,
    before_the_first_token_of_a_stream,
    between_tokens,
    between_tokens_of_a_stream,
    between_tokens_of_one_of_many_prompts,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.__name__)
def test_a_sudden_end_leaves_an_aborted_ticket_one_outcome_and_no_task(
    world: Callable[..., World], phase: Callable[[World], Awaitable[int]], way: Callable[[World], Outcome]
) -> None:
    async def main() -> None:
        here = world()
        num_tickets = await phase(here)
        outcome = way(here)
        await here.ended(outcome, num_tickets=num_tickets)
        told = Outcome.INTERNAL if outcome is Outcome.GATEWAY_FAILED else outcome
        assert {ticket.aborted for ticket in here.house.pool.tickets} <= {told}

    asyncio.run(main())


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.__name__)
def test_a_server_that_ends_tells_everybody(
    world: Callable[..., World], phase: Callable[[World], Awaitable[int]]
) -> None:
    async def main() -> None:
        here = world()
        num_tickets = await phase(here)
        server_ends(here)
        await here.ended(Outcome.DRAINING, num_tickets=num_tickets)
        assert here.call.is_complete
        if here.call.status == 200:  # a stream that had begun
            assert here.call.events[-1]["error"]["code"] == "server_is_overloaded"
            assert "[DONE]" not in here.call.text
        else:
            assert here.call.status == 503

    asyncio.run(main())


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_an_end_while_a_long_prompt_is_tokenized_submits_nothing(
    world: Callable[..., World], way: Callable[[World], Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        here = world()
        tokenizing, go_on = threading.Event(), threading.Event()
        encode = here.house.model.text.encode

        def slow_encode(text: str, **options: Any) -> list[int]:
            tokenizing.set()
            assert go_on.wait(10)
            found: list[int] = encode(text, **options)
            return found

        monkeypatch.setattr(here.house.model.text, "encode", slow_encode)
        here.start({"prompt": "2 " * 6000}, "/generate")
        await asyncio.to_thread(tokenizing.wait, 10)
        outcome = way(here)
        await here.ended(outcome, num_tickets=0)
        go_on.set()

    asyncio.run(main())


@pytest.mark.parametrize("way", [client_leaves, task_is_cancelled], ids=lambda way: way.__name__)
def test_an_end_while_a_write_is_stuck_frees_the_engine(
    world: Callable[..., World], way: Callable[[World], Outcome]
) -> None:
    async def main() -> None:
        here = world()
        await between_tokens_of_a_stream(here)
        here.call.stop_reading()
        for _ in range(100):
            here.house.pool.tickets[0].push(Piece(0, (23,)))
        await here.asgi.settled(lambda: len(here.house.pool.tickets[0]._pieces) == 99)
        outcome = way(here)
        await here.ended(outcome)

    asyncio.run(main())


def test_a_client_that_leaves_after_the_last_token_was_sent_has_been_served(
    world: Callable[..., World], gateway_house: ModuleType
) -> None:
    async def main() -> None:
        here = world()
        here.house.pool.answer = gateway_house.saying("2 3", here.house.model)
        here.chat(stream=True)
        await here.call.until("[DONE]")
        here.call.leave()
        await here.ended(Outcome.COMPLETED)
        assert here.house.pool.tickets[0].aborted is None

    asyncio.run(main())


def test_an_end_between_the_last_token_and_its_sending_leaves_a_finished_ticket(
    world: Callable[..., World], gateway_house: ModuleType
) -> None:
    async def main() -> None:
        here = world()
        await between_tokens_of_a_stream(here)
        here.call.stop_reading()  # the last event waits for room
        ticket = here.house.pool.tickets[0]
        gateway_house.give(ticket, [2013], eos=2, sizes=[2])
        await here.asgi.settled(lambda: not ticket._pieces)
        here.task.cancel()
        await here.ended(Outcome.GATEWAY_FAILED)
        assert ticket.aborted is None

    asyncio.run(main())


@pytest.mark.parametrize("stream", [False, True])
def test_when_time_is_up_the_engine_is_freed_and_the_client_told(world: Callable[..., World], *, stream: bool) -> None:
    async def main() -> None:
        here = world()
        here.start({"model": "demo", "messages": MESSAGES, "stream": stream}, headers=[(b"x-request-timeout", b"0.02")])
        await here.ended(Outcome.EXPIRED)
        assert here.call.status == 503
        assert here.call.headers["x-spillway-limit"] == "deadline=0.02s"
        assert here.house.pool.tickets[0].aborted is Outcome.EXPIRED

    asyncio.run(main())


@pytest.mark.parametrize("header", [b"x-request-timeout", b"x-stainless-read-timeout"])
def test_time_runs_while_the_body_comes(world: Callable[..., World], header: bytes) -> None:
    async def main() -> None:
        here = world()
        here.start(whole=False, headers=[(header, b"0.02")])
        here.call.feed(b'{"model": "demo", ', more=True)
        await here.ended(Outcome.EXPIRED, num_tickets=0)
        assert here.call.status == 503

    asyncio.run(main())


def test_a_streams_read_timeout_ends_with_its_first_byte(world: Callable[..., World]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ahead_s = 0.0
        time = loop.time
        loop.time = lambda: time() + ahead_s  # type: ignore[method-assign]
        here = world()
        body = {"model": "demo", "messages": MESSAGES, "stream": True}
        here.start(body, headers=[(b"x-stainless-read-timeout", b"60")])
        (await here.submitted()).push(Piece(0, (23,)))
        await here.call.until('"content":"2"')
        ahead_s = 61.0
        later = asyncio.Event()
        loop.call_later(0.0, later.set)  # it comes after whatever is due
        await later.wait()
        await asyncio.sleep(0)
        assert not here.task.done()
        here.call.leave()
        await here.ended(Outcome.CLIENT_GONE)

    asyncio.run(main())


def test_who_does_not_read_is_cut_off_without_a_farewell(world: Callable[..., World]) -> None:
    async def main() -> None:
        here = world(settings=Settings(limits=LimitSettings(slow_reader_s=0.03)))
        await between_tokens_of_a_stream(here)
        here.call.stop_reading()
        here.house.pool.tickets[0].push(Piece(0, (23,)))
        await here.ended(Outcome.SLOW_READER)
        assert here.call.aborted
        assert here.house.pool.tickets[0].aborted is Outcome.SLOW_READER

    asyncio.run(main())


def test_who_does_not_read_a_sign_of_life_is_cut_off_too(world: Callable[..., World]) -> None:
    async def main() -> None:
        here = world(settings=Settings(limits=LimitSettings(slow_reader_s=0.03, keep_alive_s=0.02)))
        await between_tokens_of_a_stream(here)
        here.call.stop_reading()
        await here.ended(Outcome.SLOW_READER)
        assert here.call.aborted

    asyncio.run(main())


def test_an_idle_stream_shows_signs_of_life_and_begins_after_a_while_even_without_a_token(
    world: Callable[..., World],
) -> None:
    async def main() -> None:
        here = world(settings=Settings(limits=LimitSettings(first_byte_s=0.03, keep_alive_s=0.02)))
        here.chat(stream=True)
        ticket = await here.submitted()
        assert not here.call.messages
        async with asyncio.timeout(10):
            await here.call.until(": keep-alive\n\n: keep-alive\n\n")
        assert here.call.status == 200
        ticket.push(Piece(0, (23,)))
        await here.call.until('"content":"2"')
        assert here.call.events[0]["choices"][0]["delta"]["role"] == "assistant"
        here.call.leave()
        await here.ended(Outcome.CLIENT_GONE)

    asyncio.run(main())
