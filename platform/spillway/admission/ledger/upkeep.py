"""What the ledger does without being asked: settle, renew, say that it lives, reap, and find out that Redis is back.

::

    settle    as soon as there is something to settle, all of it together
    renew     each third of a lease, and at once when Redis is back: what it lost is held there again
    beat      each second; while the breaker is open the beat is the probe: it writes, and loads nothing on requests
    reap      each 5 s, by one gateway of all
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_never

from spillway.admission.ledger.breaker import Breaker, BreakerPolicy, Sign
from spillway.admission.ledger.claims import Event, OpenClaim, Place
from spillway.admission.ledger.line import AwayError
from spillway.admission.ledger.outbox import Outbox
from spillway.admission.ledger.shared import REAP_EVERY_S, SharedQuotas

BEAT_S: Final = 1.0
AGAIN_S: Final = 0.1
"""After something failed, while the breaker still makes up its mind."""
_SETTLED_AT_ONCE: Final = 512


class _Turns:
    """Counts how often Redis went or came back, for those who wait for the next time."""

    def __init__(self) -> None:
        self.count = 0
        self._next = asyncio.Event()

    def turn(self) -> None:
        self.count += 1
        self._next.set()
        self._next = asyncio.Event()

    async def after(self, count: int) -> None:
        if self.count == count:
            await self._next.wait()


class Upkeep:
    """Four loops over the books of a ledger, which it shares with its owner; `run` it as a task."""

    def __init__(
        self,
        shared: SharedQuotas,
        breaker: Breaker,
        claims: Mapping[str, OpenClaim],
        outbox: Outbox,
        *,
        lease_s: float,
        policy: BreakerPolicy,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        log: Callable[..., None],
        note: Callable[[Sign, str], None],
    ) -> None:
        """`note` hears how each exchange went."""
        self._shared, self._breaker, self._claims, self._outbox = shared, breaker, claims, outbox
        self._lease_s, self._clock, self._sleep, self._log, self._note = lease_s, clock, sleep, log, note
        self._policy = policy
        self.has_settlements = asyncio.Event()
        self._reachable = asyncio.Event()
        self._reachable.set()
        self._turns = _Turns()
        self._tenants: set[str] = set()
        """That held something at the last beat."""
        self.num_live = 1
        self.num_lost = 0
        self.num_reaped = 0

    async def run(self) -> None:
        """Run all loops, for ever."""
        async with asyncio.TaskGroup() as group:
            for loop in (self._settling, self._renewing, self._beating, self._reaping):
                group.create_task(loop(), name=f"ledger{loop.__name__}")

    def is_away(self) -> None:
        """Stop asking: the breaker is open."""
        self._reachable.clear()
        self._turns.turn()
        self._shared.give_up("the breaker is open")

    def is_back(self) -> None:
        """Go on."""
        self._reachable.set()
        self._turns.turn()

    async def leave(self) -> None:
        """Settle what can be settled, and take this gateway off the list. Nothing here fails."""
        if not self._breaker.is_closed:
            return
        try:
            while waiting := self._outbox.first(_SETTLED_AT_ONCE):
                await self._shared.settle(waiting)
                self._outbox.sent(waiting)
            await self._shared.leave()
        except AwayError as error:
            self._log("ledger_left_early", error=str(error), settlements=len(self._outbox))

    # ---- loops ----

    async def _attempt(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Do `work` when Redis can be asked; return whether it was done."""
        await self._reachable.wait()
        try:
            await work()
        except AwayError as error:
            self._note(error.sign, str(error))
            return False
        self._note(Sign.ANSWERED, "")
        return True

    async def _settling(self) -> None:
        while True:
            await self.has_settlements.wait()
            if not await self._attempt(self.settle):
                await self._sleep(AGAIN_S)

    async def _renewing(self) -> None:
        while True:
            turn = self._turns.count
            done = await self._attempt(self.renew)
            await self._pause(self._lease_s / 3 if done else AGAIN_S, turn)

    async def _pause(self, seconds: float, turn: int) -> None:
        """Sleep, but not beyond the next time that Redis goes or comes back after `turn`."""
        sleeping = asyncio.ensure_future(self._sleep(seconds))
        watching = asyncio.ensure_future(self._turns.after(turn))
        try:
            await asyncio.wait({sleeping, watching}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            watching.cancel()

    async def _beating(self) -> None:
        while True:
            if self._breaker.is_closed:
                turn = self._turns.count
                done = await self._attempt(self.beat)
                await self._pause(BEAT_S if done else AGAIN_S, turn)
            else:
                await self._probing()

    async def _probing(self) -> None:
        """Try again and again, each time after a pause, until Redis takes a beat in time."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(AwayError),
            wait=self._policy.probe_wait,
            stop=stop_never,
            sleep=self._sleep,
        )
        await self._sleep(self._policy.probe_wait(RetryCallState(retrying, None, (), {})))
        await retrying(self._probe)

    async def _probe(self) -> None:
        await self._shared.hang_up()
        self._breaker.probe()
        try:
            await self.beat()
        except BaseException:
            self._breaker.probed(succeeded=False)
            raise
        self._breaker.probed(succeeded=True)

    async def _reaping(self) -> None:
        while True:
            await self._sleep(REAP_EVERY_S)
            await self._attempt(self.reap)

    # ---- what they do; all raise `AwayError` ----

    async def settle(self) -> None:
        """Send what waits."""
        while waiting := self._outbox.first(_SETTLED_AT_ONCE):
            await self._shared.settle(waiting)
            self._outbox.sent(waiting)
        self.has_settlements.clear()

    async def beat(self) -> None:
        """Say that this gateway lives, and who holds something."""
        tenants = {held.claim.tenant_id for held in self._claims.values()}
        self.num_live = max(1, await self._shared.beat(tenants | self._tenants))
        self._tenants = tenants

    async def reap(self) -> None:
        """End what dead gateways held, if it is this one's turn."""
        reaped = await self._shared.reap()
        if reaped:
            self.num_reaped += reaped
            self._log("ledger_reaped", claims=reaped)

    async def renew(self) -> None:
        """Lengthen all leases, and have Redis hold again what it does not."""
        used: dict[str, list[tuple[str, int]]] = defaultdict(list)
        asked: list[OpenClaim] = []
        for request_id, held in self._claims.items():
            if held.place in {Place.SHARED, Place.UNSURE}:
                used[held.claim.tenant_id].append((request_id, held.used_there))
                asked.append(held)
        until = self._clock() + self._lease_s
        missed = await self._shared.renew(used)
        for held in asked:
            if self._claims.get(held.claim.request_id) is not held:  # it ended meanwhile
                continue
            if held.claim.request_id in missed:
                self.num_lost += held.place is Place.SHARED
                held.learn(Event.MISSED)
            else:
                held.learn(Event.FOUND)
                held.leased_until = until
        await self._restore()

    async def _restore(self) -> None:
        lost = [held for held in self._claims.values() if held.place is Place.LOCAL]
        until = self._clock() + self._lease_s
        await self._shared.restore([held.restoring for held in lost])
        for held in lost:
            held.learn(Event.RESTORED)
            held.leased_until = until
            if self._claims.get(held.claim.request_id) is not held:  # it ended meanwhile
                settlement = held.settlement(held.used, refund_request=False)
                if settlement is not None:
                    self._outbox.put(settlement, until)
                    self.has_settlements.set()
