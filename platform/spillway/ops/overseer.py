"""The supervisor as the ops process sees it: its status, kept for a moment, and its answers to orders.

Many may ask at once (scrapes, probes, the console): they share one question to the supervisor, and an answer younger
than `KEPT_S` is given again.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from spillway_wire.plane import FromSupervisor, Order, OrderKind, OrderReply, Status, StatusRequest

KEPT_S: Final = 0.1
"""A status this old is still given; no scrape rate can make the supervisor work more often than this."""
TIMEOUT_S: Final = 2.0


class SilentError(Exception):
    """The supervisor did not answer in time: it is stopped, or the machine is far beyond its capacity."""


class Overseer:
    """Asks over the control plane. `send` queues a message; `received` is told what comes back."""

    def __init__(
        self,
        send: Callable[[msgspec.Struct], object],
        *,
        clock: Callable[[], float] = time.monotonic,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._send, self._clock, self._timeout_s = send, clock, timeout_s
        self._tokens = itertools.count(1)
        self._open: dict[int, asyncio.Future[Any]] = {}
        self._asking: asyncio.Task[Mapping[str, Any]] | None = None
        self._known: tuple[float, Mapping[str, Any]] | None = None

    @property
    def num_open(self) -> int:
        """Questions without an answer yet."""
        return len(self._open)

    def received(self, message: FromSupervisor) -> None:
        """Take what the supervisor says; answers that nobody waits for any more are dropped."""
        if isinstance(message, Status | OrderReply):
            waiting = self._open.get(message.token)
            if waiting is not None and not waiting.done():
                waiting.set_result(message)

    async def status(self) -> Mapping[str, Any]:
        """Return the state of everything, at most `KEPT_S` old. Raises `SilentError`."""
        if self._known is not None and self._clock() - self._known[0] < KEPT_S:
            return self._known[1]
        if self._asking is None:
            self._asking = asyncio.get_running_loop().create_task(self._ask_status())
            self._asking.add_done_callback(self._asked)
        # Shielded: one asker that goes away must not take the answer from the others.
        return await asyncio.shield(self._asking)

    async def order(self, kind: OrderKind, target: str = "", options: dict[str, Any] | None = None) -> OrderReply:
        """Give an order and return whether it is being carried out. Raises `SilentError`."""
        token = next(self._tokens)
        order = Order(token=token, kind=kind, target=target, options=options or {})
        reply: OrderReply = await self._ask(token, order)
        self._known = None  # what was known before it is no news any more
        return reply

    async def _ask_status(self) -> Mapping[str, Any]:
        token = next(self._tokens)
        answer: Status = await self._ask(token, StatusRequest(token=token))
        self._known = (self._clock(), answer.status)
        return answer.status

    def _asked(self, asking: asyncio.Task[Mapping[str, Any]]) -> None:
        self._asking = None
        if not asking.cancelled():
            asking.exception()  # told to those who wait; if nobody does any more, nobody needs to know

    async def _ask(self, token: int, question: msgspec.Struct) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._open[token] = answer
        try:
            self._send(question)
            async with asyncio.timeout(self._timeout_s):
                return await answer
        except TimeoutError:
            raise SilentError(f"the supervisor did not answer within {self._timeout_s:g} s") from None
        finally:
            del self._open[token]
