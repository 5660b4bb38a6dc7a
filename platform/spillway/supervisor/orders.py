"""What ops may order, and the answer to each: begun, or why not."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec

from spillway.supervisor.engines import Engines
from spillway_wire.messages import Inject
from spillway_wire.plane import Order, OrderKind, OrderReply

_INJECT_WITHIN_S = 5.0


class _Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The options of an order to inject: the fields of `messages.Inject`, checked."""

    fault: str
    at_step: int | None = None
    value: float = 0.0
    num_steps: int = 1

    def to_inject(self) -> Inject:
        return Inject(fault=self.fault, at_step=self.at_step, value=self.value, num_steps=self.num_steps)


class Orders:
    """Carries orders out; what takes time goes on in tasks that this owns."""

    def __init__(
        self,
        engines: Engines,
        *,
        chaos: bool,
        shut_down: Callable[[], None],
        moved: Callable[[], Awaitable[None]],
    ) -> None:
        """`moved` waits for the next change of any place."""
        self._engines, self._chaos, self._shut_down, self._moved = engines, chaos, shut_down, moved
        self._tasks: set[asyncio.Task[None]] = set()
        self._rolling: asyncio.Task[None] | None = None

    def give(self, order: Order, reply: Callable[[msgspec.Struct], object]) -> None:
        """Begin to carry out `order`; it is answered once."""
        refusal = self._refusal(order)
        if refusal is not None:
            reply(OrderReply(token=order.token, accepted=False, message=refusal))
            return
        match order.kind:
            case OrderKind.INJECT:
                self._begin(self._inject(order, reply))
                return
            case OrderKind.DRAIN_ENGINE:
                self._engines.drain(order.target)
                message = f"{order.target} finishes what it has, then stays stopped"
            case OrderKind.RESTART_ENGINE:
                self._engines.restart(order.target)
                message = f"{order.target} finishes what it has, then starts anew"
            case OrderKind.ROLLING_RESTART:
                self._rolling = self._begin(self._engines.roll(self._moved))
                message = "engines restart one after another"
            case OrderKind.SHUT_DOWN:
                self._shut_down()
                message = "the platform ends in good order"
        reply(OrderReply(token=order.token, accepted=True, message=message))

    def _refusal(self, order: Order) -> str | None:
        if order.kind is OrderKind.ROLLING_RESTART:
            rolling = self._rolling is not None and not self._rolling.done()
            return "a rolling restart is under way" if rolling else None
        if order.kind is OrderKind.SHUT_DOWN:
            return None
        if order.target not in self._engines.places:
            return f"there is no engine {order.target!r}; there are {', '.join(self._engines.places)}"
        if order.kind is OrderKind.INJECT and not self._chaos:
            return "faults are injected only if the platform was started with --chaos"
        return None

    async def _inject(self, order: Order, reply: Callable[[msgspec.Struct], object]) -> None:
        try:
            message = msgspec.convert(order.options, _Fault).to_inject()
            async with asyncio.timeout(_INJECT_WITHIN_S):
                injected = await self._engines.inject(order.target, message)
        except msgspec.ValidationError as error:
            answer = OrderReply(token=order.token, accepted=False, message=f"these are no options of a fault: {error}")
        except (ConnectionError, TimeoutError) as error:
            answer = OrderReply(
                token=order.token, accepted=False, message=str(error) or f"no answer within {_INJECT_WITHIN_S:g} s"
            )
        else:
            answer = OrderReply(token=order.token, accepted=injected.armed, message=injected.message)
        reply(answer)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def close(self) -> None:
        """Give up what is under way."""
        for task in self._tasks:
            task.cancel()
