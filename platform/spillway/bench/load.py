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

from spillway.bench.client import Connection, Reply


@dataclass(frozen=True, slots=True)
class Timing:
    """One request's latencies, in seconds."""

    first: float
    """Until the first byte of the answer."""
    whole: float
    num_events: int = 0
    """Server-sent events of the answer; fewer than tokens where a gateway put several into one."""


@dataclass(slots=True)
class Run:
    """What a load run saw."""

    seconds: float = 0.0
    """From the first request to the last answer."""
    timings: list[Timing] = field(default_factory=list)
    wrong: int = 0
    """Answers that were not what they should have been."""

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

    async def send(self, request: bytes) -> Timing | None:
        """Send a request on an idle connection, or a new one; None if the answer is not right."""
        connection = self._idle.pop() if self._idle else await Connection.open(self._host, self._port)
        reply = await connection.exchange(request)
        if connection.is_open:
            self._idle.append(connection)
        if reply.ended is None or not self._is_right(reply):
            return None
        num_events = sum(piece.count(b"data: ") for piece in reply.pieces)
        return Timing(reply.arrivals[0] - reply.sent, reply.ended - reply.sent, num_events)

    def close(self) -> None:
        """Close all connections."""
        while self._idle:
            self._idle.pop().close()


Send = Callable[[bytes], Awaitable[Timing | None]]


async def closed_loop(send: Send, requests: Sequence[bytes], *, in_flight: int, seconds: float) -> Run:
    """Keep `in_flight` requests under way for so long, then wait for the last."""
    run = Run()
    waiting = itertools.cycle(requests)
    started = time.perf_counter()

    async def one_after_another() -> None:
        while time.perf_counter() < started + seconds:
            timing = await send(next(waiting))
            if timing is None:
                run.wrong += 1
            else:
                run.timings.append(timing)

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
        timing = await send(next(waiting))
        if timing is None:
            run.wrong += 1
        else:
            run.timings.append(timing)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            ahead = started + number / rate - time.perf_counter()
            if ahead > 0:
                await asyncio.sleep(ahead)
            group.create_task(one())
    run.seconds = time.perf_counter() - started
    return run
