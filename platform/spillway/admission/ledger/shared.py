"""Quotas in Redis: one script a decision, and what is asked in one tick of the loop travels together.

::

    acquire ┐                      ┌▶ line ─▶ one pipeline ┐
    acquire ┼▶ waiting ── a tick ──┤                       ├─▶ Redis, within the timeout of the oldest of them
    acquire ┘                      └▶ line ─▶ one pipeline ┘
    renew, settle, beat, reap ──────▶ a line of their own

While both lines are busy more gathers, so that batches grow with the load.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from redis.exceptions import ResponseError

from spillway.admission.contract import Claim, Denial, Grant
from spillway.admission.ledger import scripts
from spillway.admission.ledger.answers import decision
from spillway.admission.ledger.breaker import Sign
from spillway.admission.ledger.line import AwayError, Line, open_pool
from spillway.admission.ledger.scripts import Command, Settlement

_LINES: Final = 2
_MOST: Final = 256
"""Claims in a pipeline, and requests in one call of a script."""
_FOR_REDIS: Final = 0.85
"""Of the timeout: the rest is for this process to notice, and to decide by itself."""
_TENANTS_REAPED: Final = 1_000
REAP_EVERY_S: Final = 5.0
BELIEVED_S: Final = 5.0
"""So long after its last beat a gateway still counts as one that lives."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    command: Command
    answer: "asyncio.Future[Any]"
    since: float


class SharedQuotas:
    """All of what the ledger wants of Redis; everything raises `AwayError` when that is away."""

    def __init__(
        self,
        url: str,
        *,
        gateway_id: str,
        lease_s: float,
        timeout_s: float,
        clock: Callable[[], float],
        note: Callable[[Sign, str], None],
    ) -> None:
        """`clock`: monotonic seconds. `note` hears how each exchange for requests went. Raises ValueError."""
        pool = open_pool(url)
        self._gateway_id, self._lease_ms, self._timeout_s = gateway_id, lease_s * 1e3, timeout_s
        self._clock, self._note = clock, note
        self._free = [Line(pool) for _ in range(_LINES)]
        self._lines = tuple(self._free)
        self._own_line = Line(pool)
        self._own_turn = asyncio.Lock()
        self._waiting: deque[_Waiting] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_due = False
        self.num_batches = 0

    # ---- what requests wait for ----

    async def acquire(self, claim: Claim) -> Grant | Denial:
        """Reserve all of `claim` or nothing."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self._waiting.append(_Waiting(scripts.acquire(claim, self._lease_ms), answer, self._clock()))
        if not self._is_due and self._free:
            self._is_due = True
            loop.call_soon(self._start)
        return decision(claim, await answer)

    def give_up(self, why: str) -> None:
        """Fail what waits for a line: it was not asked yet."""
        waiting, self._waiting = self._waiting, deque()
        for one in waiting:
            _fail(one, AwayError(why, sign=Sign.ERROR, maybe_done=False))

    def _start(self) -> None:
        self._is_due = False
        if self._waiting and self._free:
            task = asyncio.get_running_loop().create_task(self._serve(self._free.pop()), name="ask Redis for quotas")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, line: Line) -> None:
        try:
            while batch := self._take():
                await self._serve_batch(line, batch)
        finally:
            self._free.append(line)

    def _take(self) -> list[_Waiting]:
        """Return the claims to go next; those who asked and left in the meantime need none."""
        batch: list[_Waiting] = []
        while self._waiting and len(batch) < _MOST:
            one = self._waiting.popleft()
            if not one.answer.done():
                batch.append(one)
        return batch

    async def _serve_batch(self, line: Line, batch: Sequence[_Waiting]) -> None:
        self.num_batches += 1
        within_s = batch[0].since + _FOR_REDIS * self._timeout_s - self._clock()
        try:
            answers = await line.ask([one.command for one in batch], within_s)
        except AwayError as error:
            for one in batch:
                _fail(one, error)
            self._note(error.sign, str(error))
            return
        except BaseException:
            for one in batch:
                _fail(one, AwayError("the ledger was closed", sign=Sign.ERROR, maybe_done=True))
            raise
        failure: AwayError | None = None
        for one, answer in zip(batch, answers, strict=True):
            if isinstance(answer, ResponseError):
                failure = AwayError(_said(answer), sign=Sign.ERROR, maybe_done=False)
                _fail(one, failure)
            elif not one.answer.done():
                one.answer.set_result(answer)
        self._note(*((Sign.ANSWERED, "") if failure is None else (failure.sign, str(failure))))

    # ---- what nobody waits for ----

    async def renew(self, used: Mapping[str, Sequence[tuple[str, int]]]) -> set[str]:
        """Lengthen leases, by tenant; return the requests that Redis does not have."""
        calls = [
            scripts.renew(tenant_id, pairs[first : first + _MOST], self._lease_ms)
            for tenant_id, pairs in used.items()
            for first in range(0, len(pairs), _MOST)
        ]
        answers = await self._ask_in_parts(calls)
        return {request.decode() for lost in answers for request in lost}

    async def restore(self, claims: Sequence[Claim]) -> None:
        """Hold what is being served already, whatever the limits say."""
        await self._ask_in_parts([scripts.acquire(claim, self._lease_ms, forced=True) for claim in claims])

    async def settle(self, settlements: Iterable[Settlement]) -> int:
        """End claims; return how many of them Redis had."""
        by_tenant: dict[str, list[Settlement]] = defaultdict(list)
        for one in settlements:
            by_tenant[one.tenant_id].append(one)
        calls = [
            scripts.settle(tenant_id, ended[first : first + _MOST], self._lease_ms)
            for tenant_id, ended in by_tenant.items()
            for first in range(0, len(ended), _MOST)
        ]
        return sum(await self._ask_in_parts(calls))

    async def beat(self, tenants: Iterable[str]) -> int:
        """Say that this gateway lives and which tenants hold something; return how many gateways live."""
        holders = iter(tenants)
        calls: list[Command] = [scripts.heartbeat(self._gateway_id, BELIEVED_S * 1e3)]
        while some := tuple(islice(holders, _MOST)):
            calls.append(("SADD", scripts.HOLDERS, *some))
        return int((await self._ask(calls))[0])

    async def reap(self) -> int | None:
        """End what dead gateways left, unless another gateway is at it; return how many claims that were, or None."""
        mine = ("SET", scripts.REAPER, self._gateway_id, "NX", "PX", round(REAP_EVERY_S * 1e3))
        (elected,) = await self._ask([mine])
        if not elected:
            return None
        (found,) = await self._ask([("SRANDMEMBER", scripts.HOLDERS, _TENANTS_REAPED)])
        tenants = [tenant.decode() for tenant in found]
        answers = await self._ask_in_parts([scripts.reap(tenant, self._lease_ms) for tenant in tenants])
        idle = [tenant for tenant, (_, left) in zip(tenants, answers, strict=True) if not left]
        if idle:
            await self._ask([("SREM", scripts.HOLDERS, *idle)])
        return sum(int(reaped) for reaped, _ in answers)

    async def leave(self) -> None:
        """Say that this gateway lives no more."""
        await self._ask([("ZREM", scripts.GATEWAYS, self._gateway_id)])

    async def _ask_in_parts(self, calls: Sequence[Command]) -> list[Any]:
        answers: list[Any] = []
        for first in range(0, len(calls), _MOST):
            answers += await self._ask(calls[first : first + _MOST])
        return answers

    async def _ask(self, calls: Sequence[Command]) -> list[Any]:
        async with self._own_turn:
            answers = await self._own_line.ask(calls, self._timeout_s)
        for answer in answers:
            if isinstance(answer, ResponseError):
                raise AwayError(_said(answer), sign=Sign.ERROR, maybe_done=True)
        return answers

    async def hang_up(self) -> None:
        """Let go of the connections that nobody is using; they are made anew."""
        for line in self._free:
            await line.close()

    async def close(self) -> None:
        """End what is under way, and let go of all connections."""
        self.give_up("the ledger was closed")
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for line in (*self._lines, self._own_line):
            await line.close()


def _said(error: ResponseError) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def _fail(waiting: _Waiting, error: AwayError) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(error)
