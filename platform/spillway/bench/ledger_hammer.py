"""Four processes hammer one tenant: whether its limits hold in every window, and what a SIGKILL leaves behind.

Each process is a gateway's ledger: `python -m spillway.bench.ledger_hammer URL NAME SECONDS`. A window is judged by
when a grant may have happened: between asking and answer. So those that lie wholly within a window must be no more than
burst and rate allow there.
"""

import asyncio
import itertools
import json
import subprocess
import sys
import time
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any, Final

import uvloop

from spillway.admission.contract import Grant
from spillway.admission.ledger import GuardedLedger
from spillway.bench.ledger_house import BURST, CONCURRENT, COST, LEASE_S, RPM, TPM, Server, claim, ledger

_PROCESSES: Final = 4
_TENANTS: Final = (("requests", 0.0), ("tokens", 0.0), ("concurrent", 0.02))
"""And for how many seconds each holds what it was granted."""


async def hammer(url: str, name: str, seconds: float) -> None:
    """Be one of several gateways: ask without pause; print each grant's tenant, asking, answer and settlement."""
    grants: list[tuple[str, float, float, float]] = []
    numbers = itertools.count()

    async def worker(quotas: GuardedLedger, tenant: str, hold_s: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            request_id = f"{name}.{next(numbers)}"
            asked = time.monotonic()
            answer = await quotas.acquire(claim(tenant, request_id))
            answered = time.monotonic()
            if isinstance(answer, Grant):
                await asyncio.sleep(hold_s)
                if answer.degraded:
                    raise RuntimeError("decided without Redis: the machine is too busy to measure this")
                grants.append((tenant, asked, answered, time.monotonic()))
                quotas.settle(request_id, COST)
            await asyncio.sleep(0.001)

    async with ledger(url, name, gateways=_PROCESSES) as quotas:
        await asyncio.gather(*(worker(quotas, tenant, hold) for tenant, hold in _TENANTS for _ in range(8)))
    sys.stdout.write(json.dumps(grants))


def excess(grants: Sequence[tuple[float, float]], burst: float, per_s: float) -> float:
    """Return by how much the worst window exceeds what is allowed in it; not above 0 if none does."""
    ends_sorted = sorted(grants, key=lambda grant: grant[1])
    worst = -burst
    for began in sorted({asked for asked, _ in grants}):
        inside = [answered for asked, answered in ends_sorted if asked >= began]
        for count, answered in enumerate(inside, 1):
            worst = max(worst, count - burst - (answered - began) * per_s)
    return worst


def most_at_once(grants: Sequence[tuple[float, float]]) -> int:
    """Return how many were held at the same moment, from answer to settlement."""
    begins, ends = sorted(begin for begin, _ in grants), sorted(end for _, end in grants)
    return max((bisect_right(begins, at) - bisect_left(ends, at) for at in begins), default=0)


def _processes(server: Server, seconds: float) -> list["subprocess.Popen[bytes]"]:
    """Start them; return when all that may be held at once is held."""
    server.client.flushall()
    own = [sys.executable, "-m", "spillway.bench.ledger_hammer", server.url]
    found = [
        subprocess.Popen([*own, f"gateway-{number}", str(seconds)], stdout=subprocess.PIPE)  # noqa: S603 - ourselves
        for number in range(_PROCESSES)
    ]
    while server.client.zcard("spillway:{concurrent}:leases") < CONCURRENT:
        if any(process.poll() is not None for process in found):
            raise RuntimeError("a process ended before all that may be held was held")
        time.sleep(0.01)
    return found


def exactness(server: Server, seconds: float) -> dict[str, Any]:
    """Judge every grant that all processes together were given."""
    grants: list[tuple[str, float, float, float]] = []
    for process in _processes(server, seconds):
        out, _ = process.communicate(timeout=seconds + 60)
        if process.returncode != 0:
            raise RuntimeError(f"a process ended with status {process.returncode}: not all of its grants are known")
        grants += json.loads(out)
    of = {name: [grant[1:] for grant in grants if grant[0] == name] for name, _ in _TENANTS}
    asked = {name: [(one[0], one[1]) for one in found] for name, found in of.items()}
    return {
        "requests": len(of["requests"]),
        "requests_excess": excess(asked["requests"], BURST, RPM / 60),
        "tokens": len(of["tokens"]) * COST,
        "tokens_excess": excess(asked["tokens"], TPM / COST, TPM / COST / 60) * COST,
        "concurrent": most_at_once([(one[1], one[2]) for one in of["concurrent"]]),
    }


def killed(server: Server, seconds: float) -> dict[str, Any]:
    """SIGKILL one of the processes in the middle; return what it held, and what of that is left a lease later."""
    processes = _processes(server, seconds)
    time.sleep(seconds / 2)
    processes[0].kill()
    processes[0].wait()  # it may take more leases until it is really gone
    died_ms = server.now_ms()
    held = _held_by(server, "gateway-0.", died_ms)
    while server.now_ms() < died_ms + LEASE_S * 1e3:
        time.sleep(0.002)
    leaked = _held_by(server, "gateway-0.", died_ms + LEASE_S * 1e3)
    for process in processes[1:]:
        process.communicate(timeout=seconds + 60)
    return {"held_at_death": held, "held_one_lease_later": leaked}


def _held_by(server: Server, prefix: str, at_ms: float) -> int:
    """Count the leases of one process that are not over at that time."""
    return sum(
        request.decode().startswith(prefix)
        for name, _ in _TENANTS
        for request in server.client.zrangebyscore(f"spillway:{{{name}}}:leases", f"({at_ms}", "+inf")
    )


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(hammer(sys.argv[1], sys.argv[2], float(sys.argv[3])))
