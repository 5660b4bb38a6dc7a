"""Traces of requests whose engine died, and counters over deaths: `python -m spillway.bench recovered --requests 1000`.

Engines are killed until so many requests have gone on elsewhere. Each of these must have a trace that is complete: both
attempts, no orphan, no negative duration, children that tile their parents. Half-way the wall clock of all processes is
set back by an hour: they read it through `clock_shim`, the machine's own stays as it is. At the end an engine,
a gateway and ops are killed in turn, and no counter of any scrape may be lower than in the one before.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import uvloop

from spillway.bench import clock_shim
from spillway.bench.books import is_idle
from spillway.bench.client import get
from spillway.bench.exposition import Scraped
from spillway.bench.figures import print_promises, print_table, write_json
from spillway.bench.kills import PATIENT
from spillway.bench.served import Served
from spillway.bench.trace_shape import faults, faults_of_recovery
from spillway.bench.truth.campaign import Campaign, Heard
from spillway.bench.truth.judgement import Book, judge
from spillway.bench.truth.recorded import read_all
from spillway.bench.truth.traffic import KINDS, Kind
from spillway_wire import status_names

HOUR_S: Final = 3600.0
_SHOWN: Final = 5
_MORE: Final = 1.2
"""Gateways count each time that a request goes on elsewhere; some do so more than once."""
_LONG: Final = tuple(kind for kind in KINDS if kind.name in {"chat, streamed, long", "chat, n=3, streamed"})
"""Requests that are likely to be in an engine when it dies."""


class Recovering:
    """A campaign until enough was recovered, with a clock that goes back in the middle."""

    def __init__(self, served: Served, clock: Path, number: int, kinds: tuple[Kind, ...] = _LONG) -> None:
        self._served, self._clock, self._number = served, clock, number
        self._kinds = kinds
        self._is_back = False
        self.wrong: dict[str, list[str]] = {}
        self.counts: dict[str, int] = {}

    async def run(self) -> None:
        """Do it, and judge."""
        campaign = Campaign(self._served, seed=5, kinds=self._kinds, leaving=0.0, kill_every_s=1.0, in_flight=24)
        heard = await campaign.run(self._is_enough)
        books = [Book(Scraped.read(look.text), look.answered, look.sent) for look in heard.looks]
        seen = heard.seen()
        arrivals = books[-1].scraped.minus(books[0].scraped).total(status_names.ARRIVALS.exposed)
        traces = await read_all(self._served.folder, (each.trace_id for each in seen), round(arrivals), within_s=60.0)
        recovered = {key: trace for key, trace in traces.items() if trace.summary.recovered}
        self.wrong["every trace is whole"] = [
            f"{key}: {fault}" for key, trace in traces.items() for fault in faults(trace.spans)
        ]
        self.wrong["recovered requests show both attempts"] = [
            f"{key}: {fault}" for key, trace in recovered.items() for fault in faults_of_recovery(trace.spans)
        ]
        verdict = judge(seen, traces, books)
        self.wrong |= {promise: found for promise, found in verdict.wrong.items() if "measure" not in promise}
        begins = sorted(trace.summary.started_ns / 1e9 for trace in traces.values())
        self.counts = {
            **verdict.counts,
            "engines killed": heard.num_kills,
            "recovered": len(recovered),
            "traces before the clock was set back": sum(begin > begins[0] + HOUR_S / 2 for begin in begins),
            "traces after it": sum(begin <= begins[0] + HOUR_S / 2 for begin in begins),
        }

    def _is_enough(self, heard: Heard) -> bool:
        if not self._is_back and heard.num_recovered >= self._number / 2:
            clock_shim.set_offset(self._clock, -HOUR_S)
            self._is_back = True
        return heard.num_recovered >= _MORE * self._number and self._is_back


async def survive(served: Served) -> list[str]:
    """Kill an engine, a gateway and ops in turn; return what has gone backwards in any scrape since the first."""
    before, found = await _scrape(served), list[str]()
    for what in ("engines", "gateways", "ops"):
        pool = await served.until(is_idle, within_s=60.0)
        victim = pool["ops"] if what == "ops" else pool[what][0]
        os.kill(victim["pid"], signal.SIGKILL)
        for moment in ("at once", "when it was back"):
            if moment != "at once":
                await _back(served, what, victim)
            after = await _scrape(served)
            found += [f"{what} killed, {moment}: {fall}" for fall in after.fallen(before)]
            before = after
    return found


async def _scrape(served: Served) -> Scraped:
    """Ask until ops is there; connections wait in the socket that the supervisor holds."""
    while True:
        try:
            reply = await served.ask_ops(get("/metrics"))
        except OSError:
            continue
        if reply.status == 200 and reply.ended is not None:
            return Scraped.read(reply.body.decode())


async def _back(served: Served, what: str, victim: dict[str, Any]) -> None:
    def is_back(pool: dict[str, Any]) -> bool:
        now = pool["ops"] if what == "ops" else next(each for each in pool[what] if each["id"] == victim["id"])
        return bool(now["pid"] not in (None, victim["pid"]) and now["state"] == "ready" and is_idle(pool))

    await served.until(is_back, within_s=60.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it, print, and return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="spillway bench recovered", description=__doc__)
    parser.add_argument("--requests", type=int, default=1000, metavar="N", help="that outlive their engine")
    parser.add_argument("--engines", type=int, default=2)
    parser.add_argument("--out", type=Path, help="write what was found as JSON")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="spillway-recovered-") as name:
        folder = Path(name)
        clock = folder / "clock"
        environment = clock_shim.install(folder / "shim", clock)
        flags = ("--engines", str(given.engines), "--telemetry-max-traces", "1000000", *PATIENT)
        served = Served.start(*flags, folder=folder, environment=environment)
        recovering = Recovering(served, clock, given.requests)
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(recovering.run())
                recovering.wrong["totals outlive an engine, a gateway and ops"] = runner.run(survive(served))
        finally:
            served.end()
    return _report(recovering, given.requests, given.out)


def _report(recovering: Recovering, wanted: int, out: Path | None) -> int:
    counts, wrong = recovering.counts, recovering.wrong
    print_table("What there was", [{"what": what, "number": number} for what, number in counts.items()])
    for promise, found in wrong.items():
        for finding in found[:_SHOWN]:
            sys.stdout.write(f"  {promise}: {finding}\n")
    promises = {
        f"at least {wanted:,} requests outlived their engine": counts["recovered"] >= wanted,
        "the clock was set back by an hour meanwhile": counts["traces after it"] > 0,
        **{promise: not found for promise, found in wrong.items()},
    }
    write_json(out, {"counts": counts, "wrong": wrong, "promises": promises})
    return 0 if print_promises(promises) else 1


if __name__ == "__main__":
    sys.exit(main())
