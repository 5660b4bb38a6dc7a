"""The one computation for all consoles: shared, skipped by the slow, not there when nobody looks."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from spillway.ops.console.counts import counts_of
from spillway.ops.console.feed import KEPT_POINTS, Cursor, Feed
from spillway.ops.console.snapshot import Sample
from spillway.ops.console.timeline import Timeline


class World:
    """A feed whose seconds pass when the test says so."""

    def __init__(self) -> None:
        self.timeline = Timeline(wall=lambda: 1000.0 + self.now, clock_ns=lambda: int(self.now * 1e9))
        self.now = 0.0
        self.passed = asyncio.Event()
        self.feed = Feed(self.look, self.timeline, ladder=("one",), about={"version": "9"}, sleep=self.sleep)

    async def look(self) -> Sample:
        return Sample(at=1000.0 + self.now, counts=counts_of(self.now, {}, {}), status={})

    async def sleep(self, seconds: float) -> None:
        await self.passed.wait()
        self.passed.clear()
        self.now += seconds

    async def second(self) -> None:
        """Let one pass, and the feed look."""
        looks = self.feed.num_looks
        self.passed.set()
        for _ in range(100):
            if self.feed.num_looks != looks:
                break
            await asyncio.sleep(0)
        await asyncio.sleep(0)


def run(test: Callable[[World], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await test(World())

    asyncio.run(bounded())


async def read(world: World, cursor: Cursor) -> tuple[str, Any]:
    frame = await world.feed.next(cursor)
    assert frame is not None
    head, _, data = frame.decode().partition("\ndata: ")
    assert data.endswith("\n\n")
    return head.removeprefix("event: "), json.loads(data)


def test_the_first_frame_is_everything_and_the_next_what_is_new() -> None:
    async def test(world: World) -> None:
        world.timeline.note("order", "before anybody looked")
        with world.feed.looking() as cursor:
            name, hello = await read(world, cursor)
            assert (name, hello["about"], len(hello["points"])) == ("hello", {"version": "9"}, 1)
            assert [one["text"] for one in hello["happenings"]] == ["before anybody looked"]
            world.timeline.note("order", "now")
            await world.second()
            name, tick = await read(world, cursor)
            assert (name, len(tick["points"])) == ("tick", 1)
            assert [one["text"] for one in tick["happenings"]] == ["now"]
            assert tick["snapshot"]["at"] == 1001.0

    run(test)


def test_many_consoles_are_told_by_one_computation() -> None:
    async def test(world: World) -> None:
        with world.feed.looking() as one, world.feed.looking() as other:
            await read(world, one)
            await read(world, other)
            await world.second()
            frames = [await world.feed.next(one), await world.feed.next(other)]

            assert frames[0] is frames[1]
            assert world.feed.num_looks == 2

    run(test)


def test_a_slow_console_skips_snapshots_and_misses_no_point_and_nothing_that_happened() -> None:
    async def test(world: World) -> None:
        with world.feed.looking() as fast, world.feed.looking() as slow:
            await read(world, fast)
            await read(world, slow)
            for number in range(5):
                world.timeline.note("order", f"number {number}")
                await world.second()
                await read(world, fast)
            _, tick = await read(world, slow)

            assert [point[0] for point in tick["points"]] == [1001.0, 1002.0, 1003.0, 1004.0, 1005.0]
            assert [one["text"] for one in tick["happenings"]] == [f"number {number}" for number in range(5)]

    run(test)


def test_nobody_looking_costs_nothing_and_history_is_still_there() -> None:
    async def test(world: World) -> None:
        with world.feed.looking() as cursor:
            await read(world, cursor)
            await world.second()
        looks = world.feed.num_looks
        world.passed.set()
        for _ in range(50):
            await asyncio.sleep(0)
        assert (world.feed.num_looks, world.feed.num_looking) == (looks, 0)

        world.passed.clear()
        world.now += 30.0
        with world.feed.looking() as cursor:
            await world.feed.next(cursor)
            _, hello = await read(world, Cursor())
            assert [point[0] for point in hello["points"]][:2] == [1000.0, 1001.0]
            assert hello["snapshot"]["window_s"] == 0.0  # what was before the pause is not the last while

    run(test)


def test_points_are_bounded() -> None:
    async def test(world: World) -> None:
        with world.feed.looking() as cursor:
            await world.feed.next(cursor)
            for _ in range(KEPT_POINTS + 5):
                await world.second()
            _, hello = await read(world, Cursor())
            assert len(hello["points"]) == KEPT_POINTS

    run(test)


def test_a_wall_clock_that_is_set_back_starts_the_window_anew_and_stops_nothing() -> None:
    async def test(world: World) -> None:
        with world.feed.looking() as cursor:
            await read(world, cursor)
            world.now -= 3600.0
            await world.second()
            _, tick = await read(world, cursor)
            assert tick["snapshot"]["window_s"] == 0.0

    run(test)


def test_the_end_is_told_to_all() -> None:
    async def test(world: World) -> None:
        with world.feed.looking() as cursor:
            await world.feed.next(cursor)
            waiting = asyncio.ensure_future(world.feed.next(cursor))
            await asyncio.sleep(0)
            world.feed.end()
            assert await waiting is None

    run(test)
