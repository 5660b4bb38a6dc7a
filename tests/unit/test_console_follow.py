"""A console's connection: it waits for its reader, ends with it, and there are only so many."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

import pytest

from spillway.gateway.problems import Problem
from spillway.ops.console.counts import counts_of
from spillway.ops.console.feed import Feed
from spillway.ops.console.snapshot import Sample
from spillway.ops.console.stream import MOST, follow
from spillway.ops.console.timeline import Timeline


class House:
    """A feed that looks as often as the loop turns, until it is told to rest."""

    def __init__(self, asgi: ModuleType) -> None:
        self.asgi = asgi
        self.at = 0.0
        self.feed = Feed(self.look, Timeline(), sleep=self.sleep)

    async def look(self) -> Sample:
        self.at += 1.0
        return Sample(at=self.at, counts=counts_of(self.at, {}, {}), status={})

    async def sleep(self, _: float) -> None:
        await asyncio.sleep(0)

    def call(self) -> Any:
        async def app(_: Any, receive: Any, send: Any) -> None:
            await follow(self.feed, receive, send, [])

        return self.asgi.Call(app, "/console/events", method="GET")

    async def looks(self, more: int) -> None:
        """Let so many looks pass."""
        wanted = self.feed.num_looks + more
        await self.asgi.settled(lambda: self.feed.num_looks >= wanted)


@pytest.fixture
def in_house(asgi: ModuleType) -> Callable[[Callable[[House], Awaitable[None]]], None]:
    def run(test: Callable[[House], Awaitable[None]]) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(20):
                await test(House(asgi))

        asyncio.run(bounded())

    return run


def test_one_that_does_not_read_is_sent_nothing_more_and_then_all_at_once(in_house: Callable[..., None]) -> None:
    async def test(house: House) -> None:
        call = house.call()
        serving = asyncio.ensure_future(call.run())
        await call.until("event: tick")
        call.stop_reading()
        await house.looks(3)
        num_sent = len(call.messages)
        await house.looks(200)
        assert len(call.messages) == num_sent  # nothing heaps up for it

        call.read_on()
        await house.looks(5)
        call.leave()
        await serving
        frames = [block for block in call.text.split("\n\n") if block.startswith("event: tick")]
        ticks = [json.loads(block.partition("data: ")[2]) for block in frames]
        points = [point[0] for tick in ticks for point in tick["points"]]
        assert points == list(range(int(points[0]), int(points[0]) + len(points)))
        assert max(len(tick["points"]) for tick in ticks) > 100

    in_house(test)


def test_who_leaves_takes_the_work_along(in_house: Callable[..., None]) -> None:
    async def test(house: House) -> None:
        call = house.call()
        serving = asyncio.ensure_future(call.run())
        await call.until("event: hello")
        call.leave()
        await serving

        assert house.feed.num_looking == 0
        assert house.asgi.other_tasks() == []

    in_house(test)


def test_beyond_the_most_one_is_refused_and_a_place_becomes_free(in_house: Callable[..., None]) -> None:
    async def test(house: House) -> None:
        calls = [house.call() for _ in range(MOST)]
        serving = [asyncio.ensure_future(call.run()) for call in calls]
        for call in calls:
            await call.until("event: hello")
        with pytest.raises(Problem, match=f"{MOST} consoles are open already") as refused:
            await house.call().run()
        assert refused.value.status == 503

        calls[0].leave()
        await serving[0]
        late = house.call()
        serving.append(asyncio.ensure_future(late.run()))
        await late.until("event: hello")
        house.feed.end()
        await asyncio.gather(*serving)
        assert late.is_complete

    in_house(test)
