"""Everything on against everything off, in pairs: processor time of a whole platform for each request, and latency.

::

    round 1    off    a tenth    all         each for some seconds, on an instance of its own that is idle else
    round 2    a tenth    all    off         in another order
    …                                        of each round, what is on is compared with what is off

Counted is the processor time of all processes of an instance: supervisor, Redis, gateway, engines and ops, their
threads included. On means: metrics of requests, traces in the store, a line of the log for each request, and a scrape
in each turn, as Prometheus does every 15 s. Off is `--no-telemetry-enabled`; what the supervisor counts for itself
(arrivals, outcomes, engines' steps) has no switch, and is in both.
"""

import asyncio
import random
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import uvloop

from spillway.bench.books import is_idle
from spillway.bench.client import Reply, get, post
from spillway.bench.figures import quantile
from spillway.bench.load import Web, closed_loop
from spillway.bench.pairs import Middle, middle
from spillway.bench.served import Served
from spillway.bench.streams import Count

OFF: Final = "off"
ARMS: Final[Mapping[str, tuple[str, ...]]] = {
    OFF: ("--no-telemetry-enabled",),
    "a tenth of the traces": ("--telemetry-trace-ratio", "0.1"),
    "all traces": ("--telemetry-trace-ratio", "1.0"),
}
ALLOWED: Final = {"a tenth of the traces": 0.02, "all traces": 0.05}
"""What processor time may be more, as a share."""
_NUM_REQUESTS: Final = 64
_NEARLY_NOTHING: Final = 0.005
"""Of a request's processor time."""
_WARM_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Turn:
    """One arm in one round."""

    requests: int
    cpu_s: float
    """Of each request, in all processes."""
    p99_s: float
    """Of the whole answer."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What an arm costs more than nothing: medians over the rounds, each against the same round's `off`."""

    cpu: Middle
    """As a share of `off`."""
    p99_ms: Middle
    """As a difference."""
    cpu_ms: float
    """Processor time of a request, in milliseconds."""


def costs(rounds: Sequence[Mapping[str, Turn]]) -> dict[str, Cost]:
    """Compare what is on with what is off."""
    return {
        arm: Cost(
            middle([each[arm].cpu_s / each[OFF].cpu_s - 1.0 for each in rounds]),
            middle([(each[arm].p99_s - each[OFF].p99_s) * 1e3 for each in rounds]),
            middle([each[arm].cpu_s * 1e3 for each in rounds]).median,
        )
        for arm in ARMS
        if arm != OFF
    }


class Arm:
    """One instance."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._supervisor = psutil.Process(served.process.pid)
        self._web = Web(*served.api, _is_right)

    async def warm(self, requests: Sequence[bytes], in_flight: int) -> None:
        """Have everything loaded that first requests load."""
        await self._served.until(is_idle)
        await closed_loop(self._web.send, requests, in_flight=in_flight, seconds=_WARM_S)

    async def turn(self, requests: Sequence[bytes], *, in_flight: int, seconds: float, scrape: bool) -> Turn:
        """Send for some seconds. Raises RuntimeError if an answer was wrong or refused."""
        await self._served.until(is_idle)
        before = self._cpu_s()
        run = await closed_loop(self._web.send, requests, in_flight=in_flight, seconds=seconds)
        if scrape:
            await self._served.ask_ops(get("/metrics"))
        spent = self._cpu_s() - before
        if run.wrong or run.refused or not run.timings:
            raise RuntimeError(
                f"{run.wrong} answers were wrong, {run.refused} requests refused; ask for less at a time"
            )
        whole = [timing.whole for timing in run.timings]
        return Turn(len(whole), spent / len(whole), quantile(whole, 0.99))

    def _cpu_s(self) -> float:
        processes = (self._supervisor, *self._supervisor.children(recursive=True))
        return sum(times.user + times.system for times in (process.cpu_times() for process in processes))

    def close(self) -> None:
        """Close all connections."""
        self._web.close()


def _is_right(reply: Reply) -> bool:
    return reply.status == 200 and bool(reply.body)


def short_chats(seed: int = 1) -> list[bytes]:
    """Return requests of a few words, every other one streamed."""
    randomness = random.Random(seed)
    counts = [Count.draw(randomness, 12) for _ in range(_NUM_REQUESTS)]
    return [
        post("/v1/chat/completions", count.fields() | ({"stream": True} if place % 2 else {}))
        for place, count in enumerate(counts)
    ]


def measure(*, rounds: int, seconds: float, in_flight: int, engines: int) -> list[dict[str, Turn]]:
    """Start an instance for each arm, and let them take turns."""
    with ExitStack() as held:
        instances: dict[str, Served] = {}
        for arm, flags in ARMS.items():
            folder = held.enter_context(tempfile.TemporaryDirectory(prefix="spillway-cost-"))
            instances[arm] = Served.start("--engines", str(engines), *flags, folder=Path(folder))
            held.callback(instances[arm].end)
        runner = held.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        return runner.run(_rounds(instances, rounds=rounds, seconds=seconds, in_flight=in_flight))


async def _rounds(
    instances: Mapping[str, Served], *, rounds: int, seconds: float, in_flight: int
) -> list[dict[str, Turn]]:
    randomness, requests = random.Random(1), short_chats()
    arms = {name: Arm(served) for name, served in instances.items()}
    try:
        for arm in arms.values():
            await arm.warm(requests, in_flight)
        found: list[dict[str, Turn]] = []
        for _ in range(rounds):
            order = randomness.sample(sorted(arms), len(arms))
            found.append(
                {
                    name: await arms[name].turn(requests, in_flight=in_flight, seconds=seconds, scrape=name != OFF)
                    for name in order
                }
            )
        return found
    finally:
        for arm in arms.values():
            arm.close()


def rows(found: Mapping[str, Cost]) -> list[dict[str, Any]]:
    """Return the costs as rows of a table."""
    return [
        {
            "on": arm,
            "CPU of a request, ms": cost.cpu_ms,
            "more than off, %": 100 * cost.cpu.median,
            "from": 100 * cost.cpu.low,
            "to": 100 * cost.cpu.high,
            "p99 later by, ms": cost.p99_ms.median,
            "at least": cost.p99_ms.low,
            "at most": cost.p99_ms.high,
        }
        for arm, cost in found.items()
    ]


def promises(found: Mapping[str, Cost], left_out_us: float) -> dict[str, bool]:
    """Return what is promised of the costs; `left_out_us` is what the loop does for a trace that is not kept."""
    kept = {
        f"with {arm}, at most {ALLOWED[arm]:.0%} more processor time ({cost.cpu.median:+.1%})": cost.cpu.median
        <= ALLOWED[arm]
        for arm, cost in found.items()
    }
    for arm, cost in found.items():
        kept[f"with {arm}, p99 is not later beyond what chance does"] = cost.p99_ms.low <= 0.0
    share = left_out_us / 1e3 / min(cost.cpu_ms for cost in found.values())
    kept[f"a trace that is not kept costs nearly nothing ({share:.2%} of a request)"] = share <= _NEARLY_NOTHING
    return kept
