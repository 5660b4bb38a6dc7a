"""`spillway bench truth`: the campaign against an instance of its own, and what came of it."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import uvloop

from spillway.bench.exposition import Scraped
from spillway.bench.figures import print_promises, print_table, write_json
from spillway.bench.kills import PATIENT
from spillway.bench.rounds import MOST_ROBBED
from spillway.bench.served import Served
from spillway.bench.truth.campaign import IN_FLIGHT, Campaign, Heard, for_seconds
from spillway.bench.truth.judgement import Book, Verdict, judge
from spillway.bench.truth.recorded import read_all
from spillway_wire import status_names

_SHOWN: Final = 5
"""Findings of each promise."""
_FLAGS: Final = ("--telemetry-max-traces", "1000000", *PATIENT)


async def compare(served: Served, heard: Heard) -> Verdict:
    """Read the traces of a campaign that is over, and compare all three witnesses."""
    books = [Book(Scraped.read(look.text), look.answered, look.sent) for look in heard.looks]
    arrivals = books[-1].scraped.minus(books[0].scraped).total(status_names.ARRIVALS.exposed)
    seen = heard.seen()
    traces = await read_all(served.folder, (each.trace_id for each in seen), round(arrivals))
    return judge(seen, traces, books)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign, print, and return 1 if anything does not agree."""
    parser = argparse.ArgumentParser(prog="spillway bench truth", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--engines", type=int, default=2)
    parser.add_argument("--gateways", type=int, default=1)
    parser.add_argument("--in-flight", type=int, default=IN_FLIGHT, metavar="N", help="requests at a time")
    parser.add_argument("--kill-every", type=float, default=4.0, metavar="SECONDS", help="kill an engine so often")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write what was found as JSON")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="spillway-truth-") as folder:
        flags = ("--engines", str(given.engines), "--gateways", str(given.gateways), *_FLAGS)
        served = Served.start(*flags, folder=Path(folder))
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                heard, verdict = runner.run(_run(served, given))
        finally:
            served.end()
    return report(heard, verdict, given.out)


async def _run(served: Served, given: argparse.Namespace) -> tuple[Heard, Verdict]:
    campaign = Campaign(served, seed=given.seed, kill_every_s=given.kill_every, in_flight=given.in_flight)
    heard = await campaign.run(for_seconds(given.seconds))
    return heard, await compare(served, heard)


def report(heard: Heard, verdict: Verdict, out: Path | None) -> int:
    """Print a verdict and write it down; return the exit status."""
    counts = {**verdict.counts, "engines killed": heard.num_kills}
    print_table("What there was to compare", [{"what": what, "number": number} for what, number in counts.items()])
    rows: list[dict[str, Any]] = [
        {
            "what": each.what,
            "quantile": f"p{each.share * 100:g}",
            "requests": each.count,
            "client": each.client * 1e3,
            "trace": each.trace * 1e3,
            "apart": (each.client - each.trace) * 1e3,
        }
        for each in verdict.times
    ]
    print_table("A client's stopwatch and the traces, ms", rows)
    if heard.robbed > MOST_ROBBED:
        sys.stdout.write(
            f"\nA gateway waited {heard.robbed:.0%} of the time for a core. It cannot measure what happens meanwhile:\n"
            f"times are judged fairly where that is at most {MOST_ROBBED:.0%}.\n"
        )
    for promise, wrong in verdict.wrong.items():
        for finding in wrong[:_SHOWN]:
            sys.stdout.write(f"  {promise}: {finding}\n")
    promises = {promise: not wrong for promise, wrong in verdict.wrong.items()}
    promises[f"engines died, and requests went on ({verdict.counts['of them recovered']} did)"] = (
        heard.num_kills > 0 and verdict.counts["of them recovered"] > 0
    )
    write_json(
        out,
        {
            "counts": counts,
            "times": [asdict(each) for each in verdict.times],
            "wrong": verdict.wrong,
            "promises": promises,
        },
    )
    return 0 if print_promises(promises) else 1
