"""Load: a closed loop that finds how much goes through, and an open one that finds how long it takes.

In a closed loop the next request is sent when the last is answered, so a slow server is asked for less: it measures
capacity. In an open loop requests come at a rate of their own, whatever becomes of the others: it measures latency.
"""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from spillway.bench.client import Connection, Reply

_TOO_MUCH: Final = frozenset({429, 503})


@dataclass(frozen=True, slots=True)
class Timing:
    """One request's latencies, in seconds."""

    first: float
    """Until the first byte of the answer."""
    whole: float
    num_events: int = 0
    """Server-sent events of the answer; fewer than tokens where a gateway put several into one."""


class Missed(Enum):
    """What became of a request that got no right answer."""

    WRONG = "wrong"
    REFUSED = "refused"


Answered = Timing | Missed


@dataclass(slots=True)
class Run:
    """What a load run saw."""

    seconds: float = 0.0
    """From the first request to the last answer."""
    timings: list[Timing] = field(default_factory=list)
    wrong: int = 0
    """Answers that were not what they should have been."""
    refused: int = 0
    """Answers that said, properly, that there is too much to do; they count for nothing else."""

    def take(self, answered: "Answered") -> None:
        """Take in what became of a request."""
        if isinstance(answered, Timing):
            self.timings.append(answered)
        elif answered is Missed.REFUSED:
            self.refused += 1
        else:
            self.wrong += 1

    @property
    def per_second(self) -> float:
        """Right answers a second."""
        return len(self.timings) / self.seconds

    @property
    def events_each(self) -> float:
        """Server-sent events of an answer, on average."""
        return sum(timing.num_events for timing in self.timings) / max(1, len(self.timings))


class Web:
    """Connections to one server that are used again, and a check of what it answers."""

    def __init__(self, host: str, port: int, is_right: Callable[[Reply], bool]) -> None:
        self._host, self._port = host, port
        self._is_right = is_right
        self._idle: deque[Connection] = deque()

    async def send(self, request: bytes) -> Answered:
        """Send a request on an idle connection, or a new one."""
        connection = self._idle.pop() if self._idle else await Connection.open(self._host, self._port)
        reply = await connection.exchange(request)
        if connection.is_open:
            self._idle.append(connection)
        if reply.status in _TOO_MUCH and "retry-after" in reply.headers:
            return Missed.REFUSED
        if reply.ended is None or not self._is_right(reply):
            return Missed.WRONG
        num_events = sum(piece.count(b"data: ") for piece in reply.pieces)
        return Timing(reply.arrivals[0] - reply.sent, reply.ended - reply.sent, num_events)

    def close(self) -> None:
        """Close all connections."""
        while self._idle:
            self._idle.pop().close()


Send = Callable[[bytes], Awaitable[Answered]]


async def closed_loop(send: Send, requests: Sequence[bytes], *, in_flight: int, seconds: float) -> Run:
    """Keep `in_flight` requests under way for so long, then wait for the last."""
    run = Run()
    waiting = itertools.cycle(requests)
    started = time.perf_counter()

    async def one_after_another() -> None:
        while time.perf_counter() < started + seconds:
            run.take(await send(next(waiting)))

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(one_after_another())
    run.seconds = time.perf_counter() - started
    return run


async def open_loop(send: Send, requests: Sequence[bytes], *, rate: float, seconds: float) -> Run:
    """Send `rate` requests a second, evenly, and wait for the last."""
    run = Run()
    waiting = itertools.cycle(requests)

    async def one() -> None:
        run.take(await send(next(waiting)))

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            ahead = started + number / rate - time.perf_counter()
            if ahead > 0:
                await asyncio.sleep(ahead)
            group.create_task(one())
    run.seconds = time.perf_counter() - started
    return run
