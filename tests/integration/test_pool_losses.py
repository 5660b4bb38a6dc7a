"""The pool against engine processes' code over real sockets, where engines end, frames are lost, and processes die."""

import asyncio
import random
from types import ModuleType
from typing import Any

import pytest

from spillway.pool.contract import Ticket
from spillway.pool.dispatcher import Recovered
from spillway_engine.client.engine_client import EngineClient


@pytest.mark.parametrize("fault", ["drop_output", "corrupt_output"])
def test_a_lost_frame_is_a_new_attempt_on_a_new_connection(pool_house: Any, fault: str) -> None:
    async def test() -> None:
        recovered: list[Recovered] = []
        async with (
            pool_house.on_one_engine(chaos=True, on_recovery=recovered.append) as (engine, caller),
            await EngineClient.connect(engine.address) as operator,
        ):
            ticket = caller.submit("x", [5], 40)
            await anext(ticket)
            assert (await operator.inject(fault)).armed
            rest = await pool_house.rest(ticket)
            assert rest[0] == pool_house.expected([5], 40)[-len(rest[0]) :]
            assert [event.request_id for event in recovered] == ["x"]
            assert ticket.engine_ids == ("engine-0", "engine-0")

    pool_house.run(test)


def test_a_stopped_engine_hands_its_requests_to_another(pool_house: Any) -> None:
    async def test() -> None:
        async with (
            pool_house.engine("two") as second,
            pool_house.engine("one") as first,
            pool_house.pool() as caller,
        ):
            caller.plane.set("engine-0", 3, first.address)
            ticket = caller.submit("x", [5], 1500)
            before = await anext(ticket)
            caller.plane.set("engine-1", 3, second.address)
            operator = await EngineClient.connect(first.address)
            await operator.stop()
            await operator.close()
            assert await first.task == 0
            rest = await pool_house.rest(ticket)
            assert [*before.token_ids, *rest[0]] == pool_house.expected([5], 1500)
            assert ticket.engine_ids == ("engine-0", "engine-1")
            caller.plane.left("engine-0")

    pool_house.run(test)


def test_a_draining_engine_finishes_what_it_has_and_turns_the_rest_away(pool_house: Any) -> None:
    async def test() -> None:
        async with pool_house.on_one_engine() as (engine, caller):
            known = caller.submit("known", [1], 1500)
            await anext(known)
            operator = await EngineClient.connect(engine.address)
            drained = asyncio.create_task(operator.drain())
            while engine.page.state.name != "DRAINING":
                await anext(known)
            late = caller.submit("late", [2], 3)  # membership does not say it yet; the engine does
            await pool_house.rest(known)
            assert "drained" in await drained
            await operator.close()
            assert await engine.task == 0
            caller.plane.died("engine-0", 3)
            assert caller.pool.snapshot().num_queued == 1
            async with pool_house.engine() as successor:
                caller.plane.set("engine-0", 4, successor.address)
                assert await pool_house.rest(late) == {0: pool_house.expected([2], 3)}
                assert late.engine_ids == ("engine-0", "engine-0")

    pool_house.run(test)


class Readers:
    """Reads tickets, and says when so many tokens of all together were read."""

    def __init__(self) -> None:
        self.num_read = 0
        self._moment = float("inf")
        self._reached = asyncio.Event()

    async def read(self, ticket: Ticket) -> dict[int, list[int]]:
        tokens: dict[int, list[int]] = {}
        async for piece in ticket:
            self.num_read += len(piece.token_ids)
            if self.num_read >= self._moment:
                self._reached.set()
            tokens.setdefault(piece.choice, []).extend(piece.token_ids)
        return tokens

    async def reach(self, moment: float, finished: "asyncio.Future[Any]") -> bool:
        """Wait until `moment` tokens were read; False if everything has finished before."""
        self._moment = moment
        self._reached.clear()
        reaching = asyncio.ensure_future(self._reached.wait())
        await asyncio.wait((reaching, finished), return_when=asyncio.FIRST_COMPLETED)
        reaching.cancel()
        return not finished.done()


def test_engines_killed_at_random_moments_cost_no_token(
    pool_house: Any, pool_children: ModuleType, fake_engine_command: tuple[str, ...]
) -> None:
    """Sixteen streams go on while their engines die under them, one after another, until a new one comes too late."""
    random_source = random.Random()
    num_tokens, num_kills = 300, 4
    names = ("engine-0", "engine-1")

    async def test() -> None:
        recovered: list[Recovered] = []
        children: dict[str, Any] = {}
        readers = Readers()
        async with pool_children.killing(children), pool_house.pool(on_recovery=recovered.append) as caller:

            async def start(name: str, incarnation: int) -> None:
                child = await pool_children.Child.start(fake_engine_command, pool_house.folder, f"{name}.{incarnation}")
                children[name] = child
                await child.slow_down(0.004)
                caller.plane.set(name, incarnation, child.address)

            await asyncio.gather(*(start(name, 0) for name in names))
            tickets = [caller.submit(f"r{n}", [n], num_tokens, num_choices=1 + n % 2) for n in range(1, 17)]
            finished = asyncio.gather(*(readers.read(ticket) for ticket in tickets))
            num_killed = 0
            for number in range(num_kills):
                share = random_source.random() / (num_kills + 1 - number)
                if not await readers.reach(readers.num_read + (24 * num_tokens - readers.num_read) * share, finished):
                    break
                num_killed += 1
                name = names[number % 2]
                incarnation = caller.plane.members[name].incarnation
                aboard = await children.pop(name).kill()
                caller.plane.died(name, incarnation, aboard)
                await start(name, incarnation + 1)
            for n, answer in enumerate(await finished, 1):
                assert answer == {
                    choice: pool_house.expected([n], num_tokens, choice) for choice in range(1 + n % 2)
                }, f"r{n}"
        assert num_killed >= 1
        assert len(recovered) >= num_killed, "the engines were killed when all was over"
        assert max(event.paused_s for event in recovered) < 1.0

    pool_house.run(test)
