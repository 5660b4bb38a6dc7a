"""The ledger of a gateway: quotas shared through Redis while it answers, and a share of them kept here while not.

::

    acquire ──▶ breaker closed? ──yes──▶ shared ──▶ decision, within the timeout
                     │                     └─ away ─┐
                     └──no──────────────────────────┴─▶ local, on a share: at once, `degraded`

No request fails because Redis is away, and none waits for it longer than the timeout, connecting included. What was
granted here is not charged there later; what was charged there is settled there when it is back, if its lease holds.
What goes on without requests (`upkeep`) runs as one task.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from spillway.admission.contract import Claim, Denial, Grant, Standing
from spillway.admission.ledger import share
from spillway.admission.ledger.answers import decision
from spillway.admission.ledger.breaker import Breaker, BreakerPolicy, Sign, State
from spillway.admission.ledger.claims import Event, OpenClaim, Place
from spillway.admission.ledger.line import AwayError
from spillway.admission.ledger.local import LocalQuotas
from spillway.admission.ledger.outbox import Outbox
from spillway.admission.ledger.shared import SharedQuotas
from spillway.admission.ledger.upkeep import Upkeep
from spillway.settings import AdmissionSettings

_REMEMBERED: Final = 1_000
"""Latencies."""
SHARED: Final = "shared"
LOCAL: Final = "local"
_COUNTED: Final = ("shared_grants", "shared_denials", "local_grants", "local_denials", "failures", "outages")
_UNLIMITED: Final = Grant(standing=Standing())
_POLICY: Final = BreakerPolicy()


class GuardedLedger:
    """A `Ledger`. `run` it as a task; `close` it when that has ended."""

    def __init__(
        self,
        url: str | None,
        settings: AdmissionSettings,
        *,
        gateway_id: str,
        num_gateways: int,
        log: Callable[..., None],
        policy: BreakerPolicy = _POLICY,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        on_asked: Callable[[float, bool], None] = lambda *_: None,
    ) -> None:
        """Without a `url` there is no Redis, and each of `num_gateways` keeps its part. Raises ValueError.

        `on_asked` hears how many seconds each question to Redis took, and whether there was an answer.
        """
        self._on_asked = on_asked
        self._log, self._clock, self._sleep, self._num_gateways = log, clock, sleep, num_gateways
        self._started = wall() - clock()
        """What turns monotonic seconds into those since 1970."""
        self._lease_s = settings.lease_s
        self._local = LocalQuotas(settings.lease_s * 1e3)
        self._open: dict[str, OpenClaim] = {}
        self._outbox = Outbox(clock)
        self._breaker = Breaker(policy, clock=clock, on_change=self._changed)
        self._away_since: float | None = None
        self._why = ""
        self._latencies: deque[float] = deque(maxlen=_REMEMBERED)
        self.counters = dict.fromkeys(_COUNTED, 0)
        self._shared: SharedQuotas | None = None
        self._upkeep: Upkeep | None = None
        if url is not None:
            self._shared = SharedQuotas(
                url,
                gateway_id=gateway_id,
                lease_s=settings.lease_s,
                timeout_s=settings.redis_timeout_s,
                clock=clock,
                note=self._note,
            )
            self._upkeep = Upkeep(
                self._shared,
                self._breaker,
                self._open,
                self._outbox,
                lease_s=settings.lease_s,
                policy=policy,
                clock=clock,
                sleep=sleep,
                log=log,
                note=self._note,
            )

    # ---- what requests ask ----

    async def acquire(self, claim: Claim) -> Grant | Denial:
        """Reserve all that `claim` wants, or nothing. Who is cancelled here has reserved nothing."""
        if not any(scope.limits.any for scope in claim.scopes):
            return _UNLIMITED
        began = self._clock()
        try:
            return await self._decide(claim)
        finally:
            self._latencies.append(self._clock() - began)

    async def _decide(self, claim: Claim) -> Grant | Denial:
        known = self._open.get(claim.request_id)
        is_here = known is not None and known.place is not Place.SHARED
        if self._shared is None or not self._breaker.is_closed or is_here:
            return self._decide_here(claim, known or OpenClaim(claim, place=Place.LOCAL))
        held = OpenClaim(claim)
        # From here on a settle finds it, whatever becomes of the answer.
        if known is None:
            self._open[claim.request_id] = held
        asked_at = self._clock()
        try:
            answer = await self._shared.acquire(claim)
            self._on_asked(self._clock() - asked_at, True)
        except AwayError as error:
            self._on_asked(self._clock() - asked_at, False)
            self.counters["failures"] += 1
            held.learn(Event.NO_ANSWER if error.maybe_done else Event.NOT_DONE)
            return self._decide_here(claim, known or held)
        except asyncio.CancelledError:
            self.settle(claim.request_id, 0, refund_request=True)
            raise
        if isinstance(answer, Denial):
            self._open.pop(claim.request_id, None)
            self.counters["shared_denials"] += 1
            return answer
        held.learn(Event.GRANTED)
        (known or held).leased_until = self._clock() + self._lease_s
        self.counters["shared_grants"] += 1
        return answer

    def _decide_here(self, claim: Claim, held: OpenClaim) -> Grant | Denial:
        asked = share.on_a_share(claim, self.share)
        answer = decision(asked, self._local.acquire(asked, self._now_ms()), degraded=True)
        granted = isinstance(answer, Grant)
        self.counters["local_grants" if granted else "local_denials"] += 1
        self._open[claim.request_id] = held
        if not granted:
            self.settle(claim.request_id, 0, refund_request=True)
        return answer

    def progress(self, request_id: str, used_tokens: int) -> None:
        """Note what a request has used so far; it is told with the next renewal."""
        held = self._open.get(request_id)
        if held is not None:
            held.used = used_tokens

    def settle(self, request_id: str, actual_tokens: int, *, refund_request: bool = False) -> None:
        """End a granted claim with what it really used; returns at once. A second time does nothing."""
        held = self._open.pop(request_id, None)
        if held is None:
            return
        held.used = actual_tokens
        tenant_id = held.claim.tenant_id
        if (tenant_id, request_id) in self._local:
            self._local.settle(tenant_id, request_id, actual_tokens, self._now_ms(), refund_request=refund_request)
        settlement = held.settlement(actual_tokens, refund_request=refund_request)
        if settlement is not None and self._upkeep is not None:
            until = max(held.leased_until, self._clock() + self._lease_s if settlement.is_late else 0.0)
            self._outbox.put(settlement, until)
            self._upkeep.has_settlements.set()

    # ---- what is known of it ----

    @property
    def state(self) -> str:
        """`shared` while Redis decides, else `local`."""
        return SHARED if self._shared is not None and self._breaker.is_closed else LOCAL

    @property
    def share(self) -> float:
        """The part of each limit that this gateway uses while it decides by itself."""
        if self._upkeep is None:
            return share.share_of(self._num_gateways, safety=1.0)
        return share.share_of(max(self._num_gateways, self._upkeep.num_live))

    @property
    def num_open(self) -> int:
        """Claims under way."""
        return len(self._open)

    def latency(self, quantile: float) -> float:
        """Return how long acquires took lately, in seconds; 0 if there were none."""
        ordered = sorted(self._latencies)
        return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))] if ordered else 0.0

    def facts(self) -> dict[str, float]:
        """Return gauges and counters by stable names."""
        upkeep = self._upkeep
        return {
            "ledger_local": float(self.state == LOCAL),
            "ledger_away_s": 0.0 if self._away_since is None else self._clock() - self._away_since,
            "ledger_share": self.share,
            "ledger_open": float(len(self._open)),
            "ledger_settles_waiting": float(len(self._outbox)),
            "ledger_settles_dropped": float(self._outbox.num_dropped),
            "ledger_gateways": float(self._num_gateways if upkeep is None else upkeep.num_live),
            "ledger_lost": float(0 if upkeep is None else upkeep.num_lost),
            "ledger_reaped": float(0 if upkeep is None else upkeep.num_reaped),
            "ledger_acquire_p50_s": self.latency(0.5),
            "ledger_acquire_p99_s": self.latency(0.99),
            **{f"ledger_{name}": float(count) for name, count in self.counters.items()},
        }

    # ---- what goes on meanwhile ----

    async def run(self) -> None:
        """Do all that no request waits for, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tending(), name="tend local quotas")
            if self._upkeep is None:
                self._log("ledger_local", why="there is no Redis", share=self.share)
            else:
                group.create_task(self._upkeep.run(), name="keep up the ledger")

    async def close(self) -> None:
        """Tell Redis what it can still be told, and let go of it."""
        if self._upkeep is not None and self._shared is not None:
            await self._upkeep.leave()
            await self._shared.close()

    async def _tending(self) -> None:
        """Renew the leases that are held here, and forget tenants that have long been gone."""
        while True:
            await self._sleep(self._lease_s / 3)
            now = self._now_ms()
            for request_id, held in self._open.items():
                self._local.renew(held.claim.tenant_id, [(request_id, held.used)], now)
            self._local.forget(now)

    def _note(self, sign: Sign, why: str) -> None:
        self._why = why or self._why
        self._breaker.note(sign)

    def _changed(self, state: State) -> None:
        if self._upkeep is None:
            return
        if state is State.CLOSED:
            away_s = 0.0 if self._away_since is None else self._clock() - self._away_since
            self._away_since = None
            self._log("ledger_shared", away_s=round(away_s, 3))
            self._upkeep.is_back()
        elif self._away_since is None:
            self._away_since = self._clock()
            self.counters["outages"] += 1
            self._log("ledger_local", why=self._why, share=round(self.share, 4))
            self._take_over()
            self._upkeep.is_away()

    def _take_over(self) -> None:
        """Count what is under way among what may be: Redis goes on without it, too, but not beyond this share."""
        for held in self._open.values():
            # What is being asked just now is decided when its answer is there, or fails to come.
            if held.place is not Place.ASKED and (held.claim.tenant_id, held.claim.request_id) not in self._local:
                asked = share.on_a_share(held.restoring, self.share)
                self._local.acquire(asked, self._now_ms(), forced=True)

    def _now_ms(self) -> float:
        return (self._started + self._clock()) * 1e3
