"""Restarts of a model's only engine: while it is away nobody is refused, and its streams go on token for token."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from spillway.bench.books import is_idle
from spillway.bench.client import Connection, Reply, post
from spillway.bench.kills import PATIENT
from spillway.bench.served import SERVES_ALL, Served
from spillway.bench.streams import Answer, Count, is_exact, stream

COUNTS = [Count(9 * number + 1, 9 * number + 64) for number in range(4)]
SLOW = {"engine": "engine-0", "fault": "slow_step", "value": 0.05, "num_steps": 200}
"""However fast the machine, a count now takes longer than the only engine may go on with its work when all restart."""


@pytest.fixture(scope="module")
def alone() -> Iterator[Served]:
    with tempfile.TemporaryDirectory(prefix="spillway-e2e-") as folder:
        flags = ("--engines", "1", "--chaos", "--drain-grace-s", "0", *PATIENT, *SERVES_ALL)
        instance = Served.start(*flags, folder=Path(folder))
        try:
            yield instance
        finally:
            instance.end()


@dataclass
class Traffic:
    """Clients that ask again and again: a stream on one connection and a plain request on another, for each count."""

    served: Served
    streams: list[tuple[Count, Answer]] = field(default_factory=list)
    replies: list[tuple[Count, Reply]] = field(default_factory=list)
    began: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def stream(self, connection: Connection, count: Count) -> None:
        answer = await stream(connection, count.fields(), on_text=lambda _: self.began.set())
        self.streams.append((count, answer))

    async def ask(self, connection: Connection, count: Count) -> None:
        self.replies.append((count, await connection.exchange(post("/v1/chat/completions", count.fields()))))

    async def repeat(self, count: Count, *, streamed: bool) -> None:
        """Go on until it is over, and once more."""
        connection, once = await self.served.connect(), self.stream if streamed else self.ask
        while not self.over.is_set():
            await once(connection, count)
        await once(connection, count)
        connection.close()

    def check(self) -> None:
        """Nobody was refused, and everybody was told the whole count."""
        assert {count for count, _ in self.streams} == {count for count, _ in self.replies} == {*COUNTS}
        for count, answer in self.streams:
            assert is_exact(answer, count), answer
        for count, reply in self.replies:
            assert reply.status == 200, reply.body
            assert reply.json()["choices"][0]["message"]["content"].strip() == count.answer


@asynccontextmanager
async def traffic(served: Served) -> AsyncIterator[None]:
    """Keep clients asking; what is inside of this begins when the first of them reads. All were served well."""
    seen = Traffic(served)
    async with asyncio.TaskGroup() as clients:
        for count in COUNTS:
            clients.create_task(seen.repeat(count, streamed=True))
            clients.create_task(seen.repeat(count, streamed=False))
        await seen.began.wait()
        try:
            yield
        finally:
            seen.over.set()
    seen.check()


async def accepted(served: Served, path: str, body: object = None) -> None:
    reply = await served.order(path, body)
    assert reply.status == 202, reply.body


async def until_next(served: Served, incarnation: int) -> None:
    """Wait until the incarnation after this one serves."""

    def is_next(pool: dict[str, Any]) -> bool:
        (engine,) = pool["engines"]
        return bool((engine["incarnation"], engine["state"]) == (incarnation + 1, "ready"))

    await served.until(is_next)


def recoveries(pool: dict[str, Any]) -> int:
    return sum(gateway["counters"]["recoveries"] for gateway in pool["gateways"])


def test_a_rolling_restart_moves_what_the_only_engine_was_at_to_its_next_incarnation(alone: Served) -> None:
    async def test() -> None:
        before = await alone.until(is_idle)
        incarnation = before["engines"][0]["incarnation"]
        await accepted(alone, "/admin/faults", SLOW)
        async with traffic(alone):
            await accepted(alone, "/admin/rolling-restart")
            await until_next(alone, incarnation)
        after = await alone.until(is_idle)
        assert after["engines"][0]["incarnation"] == incarnation + 1
        assert recoveries(after) > recoveries(before)

    asyncio.run(test())


def test_a_restart_of_the_only_engine_lets_it_finish_and_what_comes_meanwhile_waits(alone: Served) -> None:
    async def test() -> None:
        before = await alone.until(is_idle)
        incarnation = before["engines"][0]["incarnation"]
        async with traffic(alone):
            await accepted(alone, "/admin/engines/engine-0/restart")
            await until_next(alone, incarnation)
        after = await alone.until(is_idle)
        assert after["engines"][0]["incarnation"] == incarnation + 1
        assert recoveries(after) == recoveries(before), "it had all the time it wanted"

    asyncio.run(test())
