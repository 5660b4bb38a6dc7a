"""The clients' side of the wire: connections that are used again, each try with a moment at which it is given up."""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final

from spillway.bench.client import Clock, Connection, Reply

FRESH_S: Final = 2.0
"""A connection that was idle for longer is not used again: the server may be about to close it."""


@dataclass(slots=True)
class Heard:
    """What came of one try; times of the clients' clock."""

    sent: float
    ended: float = 0.0
    reply: Reply | None = None
    """None: nothing could be sent."""
    gave_up: bool = False
    problem: str | None = None


class Callers:
    """Clients of one server; as many connections as there are requests at once."""

    def __init__(self, host: str, port: int, clock: Clock) -> None:
        self._host, self._port, self._clock = host, port, clock
        self._idle: deque[tuple[float, Connection]] = deque()

    async def call(self, request: bytes, give_up_at: float) -> Heard:
        """Send a request and follow its answer to the end, or until `give_up_at`. Raises nothing for what it meets."""
        heard = Heard(self._clock())
        try:
            async with asyncio.timeout(max(0.0, give_up_at - heard.sent)):
                connection = self._take() or await Connection.open(self._host, self._port, self._clock)
        except TimeoutError:
            heard.gave_up = True
        except OSError as error:
            heard.problem = f"no connection: {error.strerror or error}"
        else:
            await self._exchange(connection, request, heard, give_up_at)
        heard.ended = self._clock()
        return heard

    async def _exchange(self, connection: Connection, request: bytes, heard: Heard, give_up_at: float) -> None:
        def give_up() -> None:
            heard.gave_up = True
            connection.close()

        timer = asyncio.get_running_loop().call_later(max(0.0, give_up_at - self._clock()), give_up)
        try:
            heard.reply = await connection.exchange(request)
        except ConnectionError as error:
            heard.problem = str(error)
        finally:
            timer.cancel()
        if connection.is_open:
            self._idle.append((self._clock(), connection))

    def _take(self) -> Connection | None:
        """Return the connection that was used last, and drop those that were idle for too long."""
        while self._idle and self._idle[0][0] < self._clock() - FRESH_S:
            self._idle.popleft()[1].close()
        while self._idle:
            _, connection = self._idle.pop()
            if connection.is_open:
                return connection
        return None

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop()[1].close()
