"""One connection to Redis, one pipeline at a time, each within its time. The only place that speaks to the client.

::

    commands ─▶ one write ─▶ answers, in order; NOSCRIPT: all scripts are loaded, and those commands sent once more
    connection found dead (Redis was restarted meanwhile): connected anew and sent once more, as all that is sent here
    may be done twice

All that can go wrong becomes `AwayError`, but an error that Redis answers to one command: that is its answer.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from spillway.admission.ledger import scripts
from spillway.admission.ledger.breaker import Sign
from spillway.admission.ledger.scripts import Command, Script

_CUT: Final = (RedisError, OSError, EOFError, RuntimeError)
"""What an exchange on a broken connection ends in; uvloop has a RuntimeError for a write to one that was reset."""


class AwayError(Exception):
    """Redis cannot be asked now."""

    def __init__(self, message: str, *, sign: Sign, maybe_done: bool) -> None:
        """`maybe_done`: nobody knows whether it did what it was asked."""
        super().__init__(message)
        self.sign, self.maybe_done = sign, maybe_done


def open_pool(url: str) -> ConnectionPool:
    """Return what makes connections to `url`; raises ValueError if that is no URL of a Redis. Opens none yet."""
    return ConnectionPool.from_url(
        url,
        retry=Retry(NoBackoff(), 0),  # the ledger decides when to try again
        socket_timeout=None,  # each exchange has a time of its own
        socket_connect_timeout=None,
        protocol=2,
        driver_info=None,
    )


class Line:
    """Exchanges, one after another. Not to be used by two at a time."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._connection: Any = pool.make_connection()  # type: ignore[no-untyped-call]
        self._is_sent = False

    async def ask(self, commands: Sequence[Command], within_s: float) -> list[Any]:
        """Return the answer to each command, a `ResponseError` where that is one. Raises `AwayError`."""
        self._is_sent = False
        if within_s <= 0:
            raise AwayError("no time was left to ask", sign=Sign.TIMEOUT, maybe_done=False)
        try:
            async with asyncio.timeout(within_s):
                answers = await self._ask(commands)
        except TimeoutError:
            await self.close()
            raise AwayError(
                f"no answer within {within_s * 1e3:.0f} ms", sign=Sign.TIMEOUT, maybe_done=self._is_sent
            ) from None
        except _CUT as error:
            await self.close()
            message = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise AwayError(message, sign=Sign.ERROR, maybe_done=self._is_sent) from None
        if any(isinstance(answer, ResponseError) and "READONLY" in str(answer) for answer in answers):
            await self.close()  # a replica now: the address may lead to another server
        return answers

    async def _ask(self, commands: Sequence[Command]) -> list[Any]:
        was_connected = self._connection.is_connected
        try:
            answers = await self._exchange(commands)
        except _CUT:
            if not was_connected:
                raise
            await self.close()
            answers = await self._exchange(commands)
        unknown = [number for number, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            loads = [scripts.load(script) for script in Script]
            again = await self._exchange([*loads, *(commands[number] for number in unknown)])
            for number, answer in zip(unknown, again[len(loads) :], strict=True):
                answers[number] = answer
        return answers

    async def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        connection = self._connection
        if not connection.is_connected:
            await connection.connect()
        packed = connection.pack_commands(commands)
        self._is_sent = True
        await connection.send_packed_command(packed, check_health=False)
        answers: list[Any] = []
        for _ in commands:
            try:
                answers.append(await connection.read_response())
            except ResponseError as error:
                answers.append(error)
        return answers

    async def close(self) -> None:
        """Let go of the connection; the next exchange makes one anew."""
        await self._connection.disconnect(nowait=True)
