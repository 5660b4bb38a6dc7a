"""A gateway's ties to what all gateways share: who the tenants are, and what they have left."""

import asyncio
import os
from collections.abc import Callable, Coroutine

from redis.asyncio import Redis

from spillway.admission.identity.identity import Identity
from spillway.admission.ledger import GuardedLedger
from spillway.child import Child
from spillway.settings import Settings
from spillway.state import StateFolder


class Quotas:
    """Identity and ledger, started and ended together. `close` it after the last request."""

    def __init__(
        self,
        settings: Settings,
        child: Child,
        *,
        log: Callable[..., None],
        on_asked: Callable[[float, bool], None] = lambda *_: None,
    ) -> None:
        """`on_asked` hears of each question to Redis: its seconds, and whether it was answered."""
        self._log = log
        url = settings.redis or f"unix://{child.runtime.redis_socket}"
        self._redis = Redis.from_url(url, socket_timeout=1.0, socket_connect_timeout=1.0)
        folder = StateFolder.of(settings.state_dir, os.environ).path
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.identity = Identity(settings, folder, self._redis, log=log)
        self.ledger = GuardedLedger(
            url,
            settings.admission,
            gateway_id=f"{child.child_id}.{child.incarnation}",
            num_gateways=settings.gateways,
            log=log,
            on_asked=on_asked,
        )
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Read who the tenants are, and follow them. Raises `StoreError`: who asks could not be told."""
        await self.identity.start()
        self._begin(self.ledger.run(), "keep the ledger")

    def reload(self, settings: Settings) -> None:
        """Take over tiers, declared tenants and the issuer, soon."""
        self._begin(self.identity.reload(settings), "reload identity")

    def _begin(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def facts(self) -> dict[str, float]:
        """Return gauges by stable names."""
        return {**self.identity.facts(), **self.ledger.facts()}

    async def close(self) -> None:
        """Settle what can still be settled, and let go. Idempotent."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.ledger.close()
        await self.identity.close()
        await self._redis.aclose()
