"""A ledger with its tasks running, for a test that does things to its Redis."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from tenacity import wait_fixed, wait_random

from spillway.admission.contract import Claim, Denial, Grant, Limits, Scope
from spillway.admission.ledger import GuardedLedger
from spillway.admission.ledger.breaker import BreakerPolicy
from spillway.settings import AdmissionSettings

TIMEOUT_S = 0.1
PATIENCE_S = 2.0
"""What a busy machine may add to a wait: Redis has no part in it. How long one waits is for a benchmark to say."""
QUICK = BreakerPolicy(probe_wait=wait_fixed(0.05) + wait_random(0.0, 0.02))


def claim(request_id: str, tokens: int = 10, *, tenant: str = "acme", **limits: int) -> Claim:
    """Without limits named: some that are never met."""
    scope = Scope(account=tenant, limits=Limits(**(limits or {"requests_per_minute": 10**7, "max_concurrent": 10**6})))
    return Claim(request_id=request_id, tenant_id=tenant, scopes=(scope,), tokens=tokens)


@dataclass
class Run:
    ledger: GuardedLedger
    events: list[str] = field(default_factory=list)
    """What it logged."""
    waits: list[float] = field(default_factory=list)
    number: int = 0

    async def ask(self, one: Claim) -> Grant | Denial:
        began = time.perf_counter()
        answer = await self.ledger.acquire(one)
        self.waits.append(time.perf_counter() - began)
        return answer

    async def wave(self, size: int = 20) -> list[Grant | Denial]:
        """Acquire so many at once, and leave them open."""
        self.number += 1
        return await asyncio.gather(*(self.ask(claim(f"w{self.number}.{place}")) for place in range(size)))

    async def wave_settled_until(self, state: str, *, but: tuple[str, ...] = (), within_s: float = 20.0) -> None:
        """Ask and settle until the ledger is in this state; nobody may be refused or wait too long meanwhile.

        What was under way before stays so, and `but`.
        """
        before = {*self.ledger._open, *but}
        async with asyncio.timeout(within_s):
            while self.ledger.state != state:
                self.all_granted(await self.wave())
                for request_id in self.ledger._open.keys() - before:
                    self.ledger.settle(request_id, 5)
                await asyncio.sleep(0)

    def settle_all(self) -> None:
        for request_id in list(self.ledger._open):
            self.ledger.settle(request_id, 5)

    def all_granted(self, answers: list[Grant | Denial]) -> None:
        assert all(isinstance(answer, Grant) for answer in answers)
        assert max(self.waits) < TIMEOUT_S + PATIENCE_S


@contextlib.asynccontextmanager
async def running(
    url: str | None,
    *,
    gateway_id: str = "gateway-0",
    lease_s: float = 15.0,
    num_gateways: int = 1,
    timeout_s: float = TIMEOUT_S,
) -> AsyncIterator[Run]:
    events: list[str] = []
    ledger = GuardedLedger(
        url,
        AdmissionSettings(lease_s=lease_s, redis_timeout_s=timeout_s),
        gateway_id=gateway_id,
        num_gateways=num_gateways,
        log=lambda event, **_: events.append(event),
        policy=QUICK,
    )
    task = asyncio.create_task(ledger.run())
    try:
        yield Run(ledger, events)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await ledger.close()
