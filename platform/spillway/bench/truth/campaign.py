"""The campaign: requests of all kinds, clients that leave, engines that are killed, and a scrape twice a second."""

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from spillway.bench.books import is_idle
from spillway.bench.client import Connection, Reply, get
from spillway.bench.served import Served
from spillway.bench.truth.traffic import KINDS, Kind, Seen, Sent, seen_of

LEAVING: Final = 0.05
IN_FLIGHT: Final = 8
SCRAPE_EVERY_S: Final = 0.5
KILL_EVERY_S: Final = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One scrape, and what the client knew when it began and when it ended."""

    text: str
    answered: int
    """Arrivals whose answer had begun before it: gateways must have booked each."""
    sent: int
    """Requests sent until its end: gateways cannot have booked more."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and what came of it, unread: reading takes time, and others are being measured."""

    sent: Sent
    reply: Reply
    left: bool


@dataclass(slots=True)
class Heard:
    """What the clients of a campaign heard."""

    exchanges: list[Exchange] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    """The first is from before the first request, the last from after the last."""
    num_kills: int = 0
    num_recovered: int = 0
    """Requests that had gone on after a death, when the next one was due."""
    robbed: float = 0.0
    """Share of the time in which a gateway could have run, but something else used its core; of the worst one."""
    sent: int = 0
    answered: int = 0

    def seen(self) -> list[Seen]:
        """Read all that came."""
        return [seen_of(each.sent, each.reply, left=each.left) for each in self.exchanges]


class Campaign:
    """Against one instance, to which nobody else sends."""

    def __init__(
        self,
        served: Served,
        *,
        seed: int,
        kinds: tuple[Kind, ...] = KINDS,
        leaving: float = LEAVING,
        kill_every_s: float = KILL_EVERY_S,
        in_flight: int = IN_FLIGHT,
    ) -> None:
        self._served, self._randomness = served, random.Random(seed)
        self._kinds, self._leaving, self._kill_every_s, self._in_flight = kinds, leaving, kill_every_s, in_flight
        self._numbers = iter(range(2**31))
        self.heard = Heard()

    async def run(self, is_enough: Callable[[Heard], bool]) -> Heard:
        """Send until that is enough, then wait until all is idle, and look once more."""
        await self._served.until(is_idle)
        await self._look()
        waited, began = await self._waited_s(), time.monotonic()
        async with _beside(self._scrapes()), _beside(self._kills()), asyncio.TaskGroup() as group:
            for _ in range(self._in_flight):
                group.create_task(self._one_after_another(is_enough))
        after, took_s = await self._waited_s(), time.monotonic() - began
        self.heard.robbed = max((after[pid] - waited[pid]) / took_s for pid in waited)
        await self._served.until(is_idle, within_s=60.0)
        await self._look()
        return self.heard

    async def _one_after_another(self, is_enough: Callable[[Heard], bool]) -> None:
        connection: Connection | None = None
        while not is_enough(self.heard):
            if connection is None or not connection.is_open:
                connection = await self._served.connect()
            await self._one(connection)
        if connection is not None:
            connection.close()

    async def _one(self, connection: Connection) -> None:
        randomness, heard = self._randomness, self.heard
        sent = Sent.draw(randomness, randomness.choice(self._kinds), next(self._numbers))
        leaves = randomness.random() < self._leaving
        heard.sent += 1
        exchange = asyncio.ensure_future(connection.exchange(sent.message))
        if leaves:
            await asyncio.wait((exchange,), timeout=randomness.expovariate(1 / 0.05))
            connection.close()
        reply = await exchange
        heard.answered += bool(reply.status)
        heard.exchanges.append(Exchange(sent, reply, left=leaves and reply.ended is None))

    async def _waited_s(self) -> dict[int, float]:
        """Return how long each gateway has waited for a core in all, by its process id."""
        return {gateway["pid"]: waited_s(gateway["pid"]) for gateway in (await self._served.pool())["gateways"]}

    # ---- beside it ----

    async def _scrapes(self) -> None:
        while True:
            await asyncio.sleep(SCRAPE_EVERY_S)
            await self._look()

    async def _look(self) -> None:
        answered = self.heard.answered
        reply = await self._served.ask_ops(get("/metrics"))
        if reply.status != 200:
            raise RuntimeError(f"GET /metrics was answered with {reply.status}")
        self.heard.looks.append(Look(text=reply.body.decode(), answered=answered, sent=self.heard.sent))

    async def _kills(self) -> None:
        """Kill the engine with the most to do, again and again, each time when all are ready."""
        due, before = time.monotonic(), _recoveries(await self._served.pool())
        while True:
            due += self._randomness.uniform(0.5, 1.5) * self._kill_every_s
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            pool = await self._served.until(_all_ready, within_s=60.0)
            self.heard.num_recovered = _recoveries(pool) - before
            victim = max(pool["engines"], key=lambda engine: engine["running"])
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim["pid"], signal.SIGKILL)
                self.heard.num_kills += 1


@asynccontextmanager
async def _beside(work: Any) -> AsyncIterator[None]:
    """Do something until the body ends; if that fails first, so does this."""
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        if not task.done():
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def waited_s(pid: int) -> float:
    """Return how long a process's main thread has waited for a core, by the kernel's books; 0 where it keeps none."""
    file = Path(f"/proc/{pid}/schedstat")
    return int(file.read_text(encoding="ascii").split()[1]) / 1e9 if file.exists() else 0.0


def _recoveries(pool: dict[str, Any]) -> int:
    return sum(gateway["counters"]["recoveries"] for gateway in pool["gateways"])


def _all_ready(pool: dict[str, Any]) -> bool:
    return all(engine["state"] == "ready" for engine in pool["engines"])


def for_seconds(seconds: float, clock: Callable[[], float] = time.monotonic) -> Callable[[Heard], bool]:
    """Return the end of a campaign after so long."""
    ends = clock() + seconds
    return lambda _: clock() >= ends
