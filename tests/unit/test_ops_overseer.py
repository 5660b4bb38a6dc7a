"""Questions to the supervisor: shared, kept for a moment, given up in time."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from spillway.ops.overseer import KEPT_S, Overseer, SilentError
from spillway_wire.plane import Order, OrderKind, OrderReply, Phase, PhaseKind, Status, StatusRequest


class Bench:
    """An overseer with a clock to turn and a record of what it asked."""

    def __init__(self, timeout_s: float = 5.0) -> None:
        self.now = 0.0
        self.asked: list[msgspec.Struct] = []
        self.overseer = Overseer(self.asked.append, clock=lambda: self.now, timeout_s=timeout_s)

    def answer(self, **status: object) -> None:
        question = self.asked[-1]
        assert isinstance(question, StatusRequest)
        self.overseer.received(Status(token=question.token, status=status))


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(10):
            await test()

    asyncio.run(bounded())


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_many_askers_share_one_question_and_a_fresh_answer_is_given_again() -> None:
    async def test() -> None:
        bench = Bench()
        askers = [asyncio.ensure_future(bench.overseer.status()) for _ in range(50)]
        await settle()
        bench.answer(ready=True)

        assert await asyncio.gather(*askers) == [{"ready": True}] * 50
        bench.now += KEPT_S * 0.9
        assert await bench.overseer.status() == {"ready": True}
        assert len(bench.asked) == 1

        bench.now += KEPT_S * 0.2
        later = asyncio.ensure_future(bench.overseer.status())
        await settle()
        bench.answer(ready=False)
        assert await later == {"ready": False}
        assert len(bench.asked) == 2
        assert bench.overseer.num_open == 0

    run(test)


def test_an_asker_that_goes_away_takes_the_answer_from_nobody() -> None:
    async def test() -> None:
        bench = Bench()
        gone, stays = (asyncio.ensure_future(bench.overseer.status()) for _ in range(2))
        await settle()
        gone.cancel()
        await settle()
        bench.answer(ready=True)

        assert await stays == {"ready": True}
        assert gone.cancelled()
        assert len(bench.asked) == 1
        assert bench.overseer.num_open == 0

    run(test)


def test_silence_is_told_to_all_and_the_next_one_asks_anew() -> None:
    async def test() -> None:
        bench = Bench(timeout_s=0.0)
        told = await asyncio.gather(*(bench.overseer.status() for _ in range(3)), return_exceptions=True)
        assert [type(error) for error in told] == [SilentError] * 3

        again = asyncio.ensure_future(bench.overseer.status())
        await asyncio.wait({again})
        assert isinstance(again.exception(), SilentError)
        assert len(bench.asked) == 2
        assert bench.overseer.num_open == 0

    run(test)


def test_a_late_answer_and_other_news_are_dropped() -> None:
    async def test() -> None:
        bench = Bench(timeout_s=0.0)
        with pytest.raises(SilentError):
            await bench.overseer.status()
        bench.answer(ready=True)
        bench.overseer.received(OrderReply(token=999, accepted=True, message=""))
        bench.overseer.received(Phase(kind=PhaseKind.SERVING))

        with pytest.raises(SilentError):
            await bench.overseer.status()

    run(test)


def test_after_an_order_the_status_is_asked_anew() -> None:
    async def test() -> None:
        bench = Bench()
        asker = asyncio.ensure_future(bench.overseer.status())
        await settle()
        bench.answer(engines=1)
        await asker

        order = asyncio.ensure_future(bench.overseer.order(OrderKind.DRAIN_ENGINE, "engine-0"))
        await settle()
        sent = bench.asked[-1]
        assert isinstance(sent, Order)
        bench.overseer.received(OrderReply(token=sent.token, accepted=True, message="draining"))
        assert (await order).message == "draining"

        asker = asyncio.ensure_future(bench.overseer.status())
        await settle()
        bench.answer(engines=2)
        assert await asker == {"engines": 2}

    run(test)
