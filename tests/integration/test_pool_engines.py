"""The pool against engine processes' code over real sockets, served here, where all behave."""

import asyncio
import itertools
from typing import Any

import pytest

from spillway.pool.contract import Refused
from spillway_engine.client.engine_client import EngineClient
from spillway_wire.outcomes import Outcome
from spillway_wire.page import Counter
from spillway_wire.sampling import SamplingParams


def test_streams_every_choice_of_every_request(pool_house: Any) -> None:
    async def test() -> None:
        async with pool_house.on_one_engine() as (_, caller):
            answers = await asyncio.gather(*(caller.read(f"r{n}", [n], 30, num_choices=2) for n in range(1, 41)))
            for n, answer in enumerate(answers, 1):
                assert answer == {choice: pool_house.expected([n], 30, choice) for choice in (0, 1)}

    pool_house.run(test)


def test_one_choice_ends_in_the_engine_and_its_sibling_goes_on(pool_house: Any) -> None:
    async def test() -> None:
        async with pool_house.on_one_engine() as (engine, caller):
            ticket = caller.submit("r", [1], None, num_choices=2)
            await anext(ticket)
            ticket.end_choice(0)
            while {sequence.choice for sequence in engine.core.sequences} != {1}:
                assert (await anext(ticket)).choice == 1
            ticket.abort()

    pool_house.run(test)


def test_requests_wait_for_an_address_that_does_not_listen_yet(pool_house: Any) -> None:
    async def test() -> None:
        async with pool_house.pool() as caller:
            caller.plane.set("engine-0", 3, f"unix:{pool_house.folder / 'engine.sock'}")
            early = asyncio.create_task(caller.read("early", [1], 5))
            async with pool_house.engine():
                assert await early == {0: pool_house.expected([1], 5)}
                state = caller.pool.model_state("fake")
                assert state is not None
                assert (state.num_ready, state.max_model_len, state.exactness) == (1, 129, "exact"), "by its cache"

    pool_house.run(test)


def test_an_idle_engines_load_is_known_without_a_request(pool_house: Any) -> None:
    async def test() -> None:
        async with pool_house.engine() as engine, pool_house.pool() as caller:
            other = await EngineClient.connect(engine.address)
            generation = other.submit([1], SamplingParams())
            await anext(generation)
            caller.plane.set("engine-0", 3, engine.address)
            while (
                not (engines := caller.pool.snapshot().engines)
                or engines[0].load is None
                or not engines[0].load.running
            ):
                await anext(generation)
            assert engines[0].credits > 0
            await other.close()

    pool_house.run(test)


def test_a_reader_that_lags_gets_several_steps_in_one_piece(pool_house: Any) -> None:
    async def test() -> None:
        async with pool_house.on_one_engine() as (_, caller):
            lagging = caller.submit("lagging", [1], 50)
            assert await caller.read("other", [2], 60) == {0: pool_house.expected([2], 60)}
            pieces = [piece async for piece in lagging]
            assert len(pieces) < 10
            assert [token for piece in pieces for token in piece.token_ids] == pool_house.expected([1], 50)
            assert pieces[-1].finish is not None

    pool_house.run(test)


def test_giving_up_aborts_in_the_engine(pool_house: Any) -> None:
    async def test() -> None:
        async with pool_house.on_one_engine() as (engine, caller):
            ticket = caller.submit("endless", [1], None)
            await anext(ticket)
            assert engine.core.sequences
            ticket.abort()
            ticket.abort()
            with pytest.raises(Refused) as refused:
                await anext(ticket)
            assert refused.value.outcome is Outcome.CLIENT_GONE
            assert caller.pool.num_open == 0
            await caller.read("next", [2], 2)
            assert engine.count(Counter.REQUESTS_ABORTED) == 1
            assert not engine.core.sequences

    pool_house.run(test)


def test_what_the_engine_refuses_ends_with_its_outcome(pool_house: Any) -> None:
    async def test() -> None:
        async with pool_house.on_one_engine() as (_, caller):
            with pytest.raises(Refused, match="prompt_token_ids is empty") as refused:
                await caller.read("empty", [], 2)
            assert refused.value.outcome is Outcome.INVALID

    pool_house.run(test)


def test_a_cancelled_wait_for_the_next_piece_loses_none(pool_house: Any) -> None:
    async def test() -> None:
        async with pool_house.engine() as engine, pool_house.pool() as caller:
            caller.plane.publish()
            ticket = caller.submit("x", [1], 40)
            waiting = asyncio.ensure_future(anext(ticket))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="has one reader"):
                await anext(ticket)
            caller.plane.set("engine-0", 3, engine.address)
            tokens: list[int] = []
            for number in itertools.count():
                waiting.cancel()  # before it waits, while it waits, or when its piece is there but not taken
                try:
                    tokens += (await waiting).token_ids
                except StopAsyncIteration:
                    break
                except asyncio.CancelledError:
                    pass
                waiting = asyncio.ensure_future(anext(ticket))
                for _ in range(number % 4):
                    await asyncio.sleep(0)
            assert tokens == pool_house.expected([1], 40)

    pool_house.run(test)
