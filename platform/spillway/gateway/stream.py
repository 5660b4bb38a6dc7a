"""Server-sent events: nothing before the first token, a sign of life when idle, and an end for who does not read.

Until something is written any status is possible. One task writes; beside it one minds the time: it begins the answer
if the first token takes long, writes a comment when the stream is idle, and has the request ended when a write is
stuck because the client does not read.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from spillway.gateway.problems import Headers, Problem
from spillway.gateway.reply import EVENTS, Reply
from spillway.settings import LimitSettings
from spillway_wire.outcomes import Outcome

KEEP_ALIVE: Final = b": keep-alive\n\n"


class EventStream:
    """`async with` it: writes events until the end, minded meanwhile."""

    def __init__(
        self,
        reply: Reply,
        headers: Headers,
        limits: LimitSettings,
        *,
        clock: Callable[[], float],
        interrupt: Callable[[Problem], None],
        on_begin: Callable[[], None],
        on_sent: Callable[[int, float], None],
    ) -> None:
        """`on_sent` hears how many bytes each write had, and how many seconds it waited for the client."""
        self._reply = reply
        self._headers = headers
        self._limits = limits
        self._clock = clock
        self._interrupt = interrupt
        self._on_begin = on_begin
        self._on_sent = on_sent
        self._turn = asyncio.Lock()
        self._wrote_at = clock()
        self._stuck_since: float | None = None
        self._minder: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._minder = asyncio.create_task(self._mind(), name="mind an event stream")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._minder is not None:
            self._minder.cancel()

    async def write(self, events: bytes, *, last: bool = False) -> None:
        """Write whole events, after the status and the headers if they are the first."""
        async with self._turn:
            self._stuck_since = self._clock()
            if self._reply.status is None:
                self._on_begin()
                await self._reply.begin(200, EVENTS + self._headers)
            await self._reply.write(events, last=last)
            self._wrote_at = self._clock()
            self._on_sent(len(events), self._wrote_at - self._stuck_since)
            self._stuck_since = None

    async def _mind(self) -> None:
        limits = self._limits
        while True:
            now = self._clock()
            if self._stuck_since is not None:
                left = self._stuck_since + limits.slow_reader_s - now
                if left <= 0:
                    self._interrupt(slow_reader(limits))
                    return
            else:
                idle_s = limits.first_byte_s if self._reply.status is None else limits.keep_alive_s
                left = self._wrote_at + idle_s - now
                if left <= 0:
                    await self._keep_alive()
                    continue
            await asyncio.sleep(min(left, limits.slow_reader_s))

    async def _keep_alive(self) -> None:
        try:
            async with asyncio.timeout(self._limits.slow_reader_s):
                await self.write(KEEP_ALIVE)
        except TimeoutError:
            self._interrupt(slow_reader(self._limits))


def slow_reader(limits: LimitSettings) -> Problem:
    """Return why a client that does not read is cut off."""
    return Problem(
        Outcome.SLOW_READER,
        f"the client took nothing for {limits.slow_reader_s:g} s",
        limit=f"slow_reader_s={limits.slow_reader_s:g}",
    )
