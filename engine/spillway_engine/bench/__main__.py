"""`python -m spillway_engine.bench`: the engine's figures, against peers in the same run where that says more.

Parts (all but the soak by default): `throughput`, `policies`, `step`, `soak`. Prints tables and writes JSON.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spillway_engine.bench.loadrun import measure_ours
from spillway_engine.bench.machine import describe_machine
from spillway_engine.bench.models import SHAPES, ensure_model
from spillway_engine.bench.peers import PEERS, PeerResult, measure
from spillway_engine.bench.policies import measure_policies
from spillway_engine.bench.report import print_rows, print_throughput
from spillway_engine.bench.soak import soak
from spillway_engine.bench.step_cost import measure_step_cost
from spillway_engine.bench.workload import make_case

PARTS = ("throughput", "policies", "step", "soak")
ALWAYS = ("transformers_generate", "transformers_continuous")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the chosen parts and write what was found."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that peers are ended, too
    chosen = _parse(arguments)
    found: dict[str, Any] = {"machine": describe_machine()}
    if "throughput" in chosen.parts:
        found["throughput"] = _throughput(chosen)
    if "policies" in chosen.parts:
        case = make_case(ensure_model("small"), SHAPES["small"].vocab_size, 8, chosen.threads, rounds=3)
        found["policies"] = list(measure_policies(case))
        print_rows("Batching, step policy and batch wait (small model, 8 requests in flight; ms)", found["policies"])
    if "step" in chosen.parts:
        found["step"] = list(measure_step_cost(ensure_model("tiny")))
        print_rows("A step outside the model, batch 32 (microseconds)", found["step"])
    if "soak" in chosen.parts:
        found["soak"] = asyncio.run(soak(chosen.soak_requests))
        print_rows("Soak", [{key: value for key, value in found["soak"].items() if key != "snapshot"}])
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(found, indent=1, default=str) + "\n")
    sys.stdout.write(f"\nwritten to {chosen.out}\n")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m spillway_engine.bench", description=__doc__)
    parser.add_argument("--parts", default="throughput,policies,step", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--peers", default="", help=f"beside transformers, of {', '.join(set(PEERS) - set(ALWAYS))}")
    parser.add_argument("--models", default="small,tiny")
    parser.add_argument("--concurrency", default="1,8,32")
    parser.add_argument("--rounds", type=int, default=2, help="requests per request in flight")
    parser.add_argument(
        "--repeats", type=int, default=1, help="measure everything so often, interleaved; medians count"
    )
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--soak-requests", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, default=Path(".bench/results.json"))
    chosen = parser.parse_args(arguments)
    chosen.parts = chosen.parts.split(",")
    chosen.peers = [*ALWAYS, *(name for name in chosen.peers.split(",") if name)]
    for given, known in ((chosen.parts, PARTS), (chosen.peers, PEERS), (chosen.models.split(","), SHAPES)):
        if unknown := [name for name in given if name not in known]:
            parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
    return chosen


def _throughput(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for model in chosen.models.split(","):
        path = ensure_model(model)
        for concurrency in map(int, chosen.concurrency.split(",")):
            case = make_case(path, SHAPES[model].vocab_size, concurrency, chosen.threads, rounds=chosen.rounds)
            for repeat in range(chosen.repeats):
                outcomes = [measure_ours(case), *(measure(PEERS[name], case) for name in chosen.peers)]
                for outcome in outcomes:
                    ran = isinstance(outcome, PeerResult)
                    rows.append(
                        {"model": model, "concurrency": concurrency, "repeat": repeat, "ran": ran, **asdict(outcome)}
                    )
                print_throughput(rows, model, concurrency)
    return rows


if __name__ == "__main__":
    main()
