"""Quotas against a Redis of its own: `python -m spillway.bench.ledger`.

What an acquire adds to a request, how many decisions one core makes, whether four processes that hammer one tenant
stay within its limits in every window, what a SIGKILL leaves behind, and whether anybody notices that Redis is killed,
flushed, stopped and paused again and again.
"""

import argparse
import asyncio
import itertools
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from spillway.admission.contract import Grant
from spillway.admission.ledger import GuardedLedger
from spillway.bench.figures import Spread, print_promises, print_table, write_json
from spillway.bench.ledger_hammer import exactness, killed
from spillway.bench.ledger_house import CONCURRENT, COST, LEASE_S, TIMEOUT_S, Server, claim, ledger

# ---- speed ----


async def speed(url: str, seconds: float) -> dict[str, Any]:
    """Return what acquires take at 500/s, and how many there are at most."""
    numbers = itertools.count()
    waits: list[float] = []

    async def one(quotas: GuardedLedger) -> None:
        name = f"s{next(numbers)}"
        began = time.perf_counter()
        answer = await quotas.acquire(claim("free", name))
        waits.append(time.perf_counter() - began)
        if not isinstance(answer, Grant) or answer.degraded:
            raise RuntimeError(f"the ledger was to grant this from Redis: {answer}")
        quotas.settle(name, 20)

    async def worker(quotas: GuardedLedger, until: float) -> None:
        while time.perf_counter() < until:
            await one(quotas)

    async with ledger(url, "speed") as quotas:
        await asyncio.gather(*(one(quotas) for _ in range(100)))
        waits.clear()
        randomness, due = random.Random(1), time.perf_counter()
        end, asking = due + seconds, []
        while due < end:
            due += randomness.expovariate(500.0)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            asking.append(asyncio.ensure_future(one(quotas)))
        await asyncio.gather(*asking)
        found: dict[str, Any] = {"at_500": Spread.of(waits)}
        for workers in (8, 64):
            waits.clear()
            cpu, began = time.process_time(), time.perf_counter()
            await asyncio.gather(*(worker(quotas, began + seconds) for _ in range(workers)))
            spent, passed = time.process_time() - cpu, time.perf_counter() - began
            found[f"most_{workers}"] = Spread.of(waits)
            found[f"per_s_{workers}"] = len(waits) / passed
            found[f"per_core_s_{workers}"] = len(waits) / spent
    return found


# ---- outages ----


@dataclass(slots=True)
class Seen:
    """What the requests saw meanwhile."""

    num_asked: int = 0
    num_degraded: int = 0
    failures: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)


async def _shared_again(quotas: GuardedLedger, within_s: float = 30.0) -> None:
    """Return when Redis decides again."""
    until = time.perf_counter() + within_s
    for _ in iter(lambda: quotas.state == "shared" or time.perf_counter() > until, True):
        await asyncio.sleep(0.02)
    if quotas.state != "shared":
        raise RuntimeError(f"Redis was not asked again within {within_s:.0f} s of its return")


async def outages(server: Server, cycles: int) -> dict[str, Any]:
    """Strike Redis again and again under 400 requests/s; return what they saw."""
    seen, numbers, randomness = Seen(), itertools.count(), random.Random(2)
    is_over = asyncio.Event()

    async def one(quotas: GuardedLedger) -> None:
        name, began = f"o{next(numbers)}", time.perf_counter()
        seen.num_asked += 1
        try:
            answer = await quotas.acquire(claim("free", name))
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            seen.failures.append(repr(error))
            return
        seen.waits.append(time.perf_counter() - began)
        if not isinstance(answer, Grant):
            seen.failures.append(repr(answer))
            return
        seen.num_degraded += answer.degraded
        await asyncio.sleep(randomness.expovariate(5.0))
        quotas.settle(name, 20)

    async def load(quotas: GuardedLedger) -> None:
        asking: set[asyncio.Task[None]] = set()
        while not is_over.is_set():
            task = asyncio.ensure_future(one(quotas))
            asking.add(task)
            task.add_done_callback(asking.discard)
            await asyncio.sleep(randomness.expovariate(400.0))
        await asyncio.gather(*asking)

    strikes: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "kill": (server.kill, server.start),
        "flush": (server.client.flushall, server.client.script_flush),
        "stop": (lambda: server.signal(signal.SIGSTOP), lambda: server.signal(signal.SIGCONT)),
        "pause": (lambda: server.client.execute_command("CLIENT", "PAUSE", 400), lambda: None),
    }
    async with ledger(server.url, "outages") as quotas:
        loading = asyncio.create_task(load(quotas))
        for number in range(cycles):
            strike, heal = strikes[list(strikes)[number % len(strikes)]]
            await asyncio.to_thread(strike)
            await asyncio.sleep(randomness.uniform(0.1, 0.8))
            await asyncio.to_thread(heal)
            await _shared_again(quotas)
            sys.stderr.write(f"\r{number + 1} of {cycles} ")
        sys.stderr.write("\n")
        is_over.set()
        await loading
        outages_seen = quotas.counters["outages"]
    await asyncio.sleep(LEASE_S)
    left = server.client.zcount("spillway:{free}:leases", server.now_ms(), "+inf")
    return {
        "cycles": cycles,
        "asked": seen.num_asked,
        "outages": outages_seen,
        "degraded": seen.num_degraded,
        "failed": len(seen.failures),
        "failures": seen.failures[:5],
        "longest_ms": max(seen.waits) * 1e3,
        "p99_ms": Spread.of(seen.waits).p99,
        "left": left,
    }


def _report(
    found: Mapping[str, Any],
    exact: Mapping[str, Any],
    left: Mapping[str, Any],
    seen: Mapping[str, Any],
    out: Path | None,
) -> dict[str, bool]:
    names = {"at_500": "500/s", "most_8": "8 at a time", "most_64": "64 at a time"}
    print_table(
        "an acquire, ms",
        [{"load": text, "p50": found[key].p50, "p99": found[key].p99, "longest": found[key].longest}
         for key, text in names.items()],
    )  # fmt: skip
    print_table(
        "decisions (each acquired and settled)",
        [{"at a time": n, "per s": found[f"per_s_{n}"], "per core-second": found[f"per_core_s_{n}"]} for n in (8, 64)],
    )
    print_table("four processes on one tenant", [exact])
    print_table("one of them killed: leases that it held", [left])
    print_table("Redis struck under load", [{key: value for key, value in seen.items() if key != "failures"}])
    promises = {
        "0.5 ms at p50, 2 ms at p99 (500/s)": found["at_500"].p50 <= 0.5 and found["at_500"].p99 <= 2.0,
        "3,000 decisions a second and core": found["per_s_64"] >= 3_000,
        "no window above its limit": exact["requests_excess"] <= 1e-3 and exact["tokens_excess"] <= 1e-3,
        "and the limits were reached": (
            exact["requests_excess"] > -5
            and exact["tokens_excess"] > -5 * COST
            and exact["concurrent"] > CONCURRENT / 2
        ),
        f"never more than {CONCURRENT} at once": exact["concurrent"] <= CONCURRENT,
        "a killed process held something, and one lease later nothing": (
            left["held_at_death"] > 0 and left["held_one_lease_later"] == 0
        ),
        "no request failed, whatever became of Redis": seen["failed"] == 0 and seen["left"] == 0,
        "none waited longer than 100 ms": seen["longest_ms"] <= TIMEOUT_S * 1e3,
    }
    write_json(out, {"speed": found, "exactness": exact, "killed": left, "outages": seen, "promises": promises})
    return promises


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m spillway.bench.ledger", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="for each measurement")
    parser.add_argument("--cycles", type=int, default=50)
    parser.add_argument("--out", type=Path, help="write what was found as JSON")
    given = parser.parse_args(arguments)
    with (
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        tempfile.TemporaryDirectory(prefix="spillway-ledger-") as folder,
    ):
        server = Server(Path(folder))
        server.start()
        try:
            found = runner.run(speed(server.url, given.seconds))
            exact = exactness(server, given.seconds)
            left = killed(server, given.seconds)
            seen = runner.run(outages(server, given.cycles))
        finally:
            server.kill()
    return 0 if print_promises(_report(found, exact, left, seen, given.out)) else 1


if __name__ == "__main__":
    sys.exit(main())
