"""What measurements of the ledger stand on: a Redis of their own, gateways' ledgers, and tenants limited in one way."""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import redis

from spillway.admission.contract import Claim, Limits, Scope
from spillway.admission.ledger import GuardedLedger
from spillway.settings import AdmissionSettings
from spillway.supervisor.redis import command, find_server

LEASE_S: Final = 2.0
"""Short, so that what a dead process held is waited for no longer than this."""
TIMEOUT_S: Final = 0.1
BURST, RPM, TPM, CONCURRENT, COST = 50, 6_000, 12_000, 20, 30
LIMITS: Final = {
    "requests": Limits(requests_per_minute=RPM, request_burst=BURST),
    "tokens": Limits(tokens_per_minute=TPM),
    "concurrent": Limits(max_concurrent=CONCURRENT),
    "free": Limits(requests_per_minute=10**9, tokens_per_minute=10**12, max_concurrent=10**6),
}


class Server:
    """The Redis under test; it may be gone at times."""

    def __init__(self, folder: Path) -> None:
        found = find_server()
        if found is None:
            raise SystemExit("there is no redis-server on this machine: install it, or `pip install spillway[redis]`")
        self._command = command(found, folder / "redis.sock", os.getpid())
        self.url = f"unix://{folder / 'redis.sock'}"
        self.client: Any = redis.Redis(unix_socket_path=str(folder / "redis.sock"), socket_timeout=30)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)  # noqa: S603 - found by ourselves
        while True:
            with contextlib.suppress(redis.ConnectionError):
                self.client.ping()
                return
            time.sleep(0.01)

    def now_ms(self) -> float:
        """Return what time it is there."""
        seconds, micros = self.client.time()
        return float(seconds * 1e3 + micros / 1e3)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def claim(tenant: str, request_id: str) -> Claim:
    """Return a claim of the tenant that is limited in this one way."""
    scope = Scope(account=tenant, limits=LIMITS[tenant])
    return Claim(request_id=request_id, tenant_id=tenant, scopes=(scope,), tokens=COST)


@contextlib.asynccontextmanager
async def ledger(url: str, name: str, *, gateways: int = 1) -> AsyncIterator[GuardedLedger]:
    """Run a gateway's ledger."""
    settings = AdmissionSettings(lease_s=LEASE_S, redis_timeout_s=TIMEOUT_S)
    found = GuardedLedger(url, settings, gateway_id=name, num_gateways=gateways, log=lambda *_, **__: None)
    task = asyncio.create_task(found.run())
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await found.close()
