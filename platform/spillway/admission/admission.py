"""What the gateway calls: who asks, whether they may, whether there is room; and one end for all that was reserved.

::

    caller = await admission.identify(headers)
    with admission.visitor(caller, kind, request_id, retry=0) as visitor:
        visitor.choose(model, service_tier, …)     what it may use
        visitor.precheck(…)                        before it is tokenized
        await visitor.admit(…)                     quota, then load; submit at once after it
        …                                          generate
        visitor.used = …                           whoever counts tokens says so
                                                   the end: quota is settled, the door hears how it went

Everything that refuses raises `Refused`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final, Protocol

from spillway.admission.contract import Caller, Kind, Ledger
from spillway.admission.door import Door
from spillway.admission.ears import PoolEars
from spillway.admission.identity.directory import Directory
from spillway.admission.identity.identify import Headers
from spillway.admission.load.model_load import ModelLoad
from spillway.admission.visitor import Visitor
from spillway.pool.contract import Pool
from spillway.settings import Settings

TICK_S: Final = 0.25
"""How often the event loop's lag is looked at, and progress told to the ledger."""


class WhoAsks(Protocol):
    """Tells who asks (`identity.identity`)."""

    def identify_now(self, headers: Headers) -> Caller | None:
        """Return who asks, or raise `Refused`; None: that takes `identify`."""

    async def identify(self, headers: Headers) -> Caller:
        """Return who asks, or raise `Refused`."""


class UsageSink(Protocol):
    """Counts what tenants used (`identity.usage`)."""

    def add(self, tenant_id: str, kind: Kind, prompt_tokens: int, output_tokens: int, now: float) -> None:
        """Count one request that has ended."""

    def day_tokens(self, tenant_id: str, kind: Kind | None = None) -> int:
        """Return what a tenant has used today, in all or with one kind of call."""


class Admission:
    """Of one gateway."""

    def __init__(
        self,
        settings: Settings,
        pool: Pool,
        *,
        ears: PoolEars | None = None,
        identity: WhoAsks | None = None,
        ledger: Ledger | None = None,
        usage: UsageSink | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        on_lag: Callable[[float], None] = lambda _: None,
    ) -> None:
        """Without `identity` everybody is anonymous; without `ledger` nobody has limits.

        `ears` are those that the pool was given; without them the door learns nothing.
        """
        self.settings, self.pool = settings, pool
        self.identity, self.ledger, self.usage = identity, ledger, usage
        self.clock, self.wall, self._sleep, self._on_lag = clock, wall, sleep, on_lag
        self.ears = ears or PoolEars(Door(settings, draw=Random().random))
        self.door = self.ears.door
        self.open: set[Visitor] = set()
        """Those that hold something of the ledger's."""
        self._anonymous = _anonymous(settings)

    def reload(self, settings: Settings) -> None:
        """Take over other settings for requests to come."""
        self.settings = settings
        self._anonymous = _anonymous(settings)
        self.door.reload(settings)

    # ---- requests ----

    async def identify(self, headers: Headers) -> Caller:
        """Return who asks. Raises `Refused`."""
        if self.identity is None:
            return self._anonymous
        return self.identity.identify_now(headers) or await self.identity.identify(headers)

    def visitor(self, caller: Caller, kind: Kind, request_id: str, *, retry: int = 0) -> Visitor:
        """Return the request on its way through; `with` it."""
        return Visitor(self, caller, kind, request_id, retry=retry)

    def load(self, model: str) -> ModelLoad | None:
        """Return what the pool knows of a model's load, None if it is not served."""
        return self.pool.load(model)

    # ---- in the background ----

    async def run(self) -> None:
        """Watch the event loop's lag, and tell the ledger of progress, for ever."""
        while True:
            due = self.clock() + TICK_S
            await self._sleep(TICK_S)
            late_s = max(0.0, self.clock() - due)
            self.door.lagged(late_s)
            self._on_lag(late_s)
            if self.ledger is not None:
                for visitor in self.open:
                    self.ledger.progress(visitor.request_id, visitor.used_tokens)

    def facts(self) -> dict[str, float]:
        """Return gauges by stable names; those of a model bear its name behind a dot."""
        found = {
            f"{name}.{model}": value
            for model, facts in self.door.facts(self.clock()).items()
            for name, value in facts.items()
        }
        for model in self.door.models:
            load = self.load(model)
            for engine in () if load is None else load.engines:
                found[f"engine_limit.{engine.engine_id}"] = engine.limit
                if engine.pace is not None:
                    found[f"step_fixed_s.{engine.engine_id}"] = engine.pace.fixed_s
                    found[f"step_per_row_s.{engine.engine_id}"] = engine.pace.per_row_s
                    found[f"step_per_token_s.{engine.engine_id}"] = engine.pace.per_token_s
        found["claims_open"] = float(len(self.open))
        return found


def _anonymous(settings: Settings) -> Caller:
    tenant = Directory.of(settings).anonymous
    return Caller(tenant=tenant, key_id=tenant.id)
