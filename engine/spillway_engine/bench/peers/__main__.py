"""Try the peers from a command line: ``python -m spillway_engine.bench.peers --peer vllm --model small``.

Prints one line per case as it ends, and keeps them all in a JSON file.
"""

import argparse
import json
import os
import random
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from spillway_engine.bench.models import SHAPES, ensure_model
from spillway_engine.bench.peers import PEERS, PeerCase, PeerOutcome, PeerResult, measure

LEAST_REQUESTS = 4
SEED = 20_25


class Line(NamedTuple):
    """One measured case and how busy the machine was just before."""

    model: str
    concurrency: int
    load_before: float
    outcome: PeerOutcome


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; exits with status 2 where it is wrong."""
    parser = argparse.ArgumentParser(prog="python -m spillway_engine.bench.peers", description=__doc__.split("\n")[0])
    parser.add_argument("--peer", default=",".join(PEERS), help="names, separated by commas (default: all)")
    parser.add_argument("--model", default="small", help=f"names of {', '.join(SHAPES)}, separated by commas")
    parser.add_argument("--concurrency", default="1,8,32", help="requests in flight, separated by commas")
    parser.add_argument("--rounds", type=int, default=2, help="requests per request in flight")
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds that one case may take")
    parser.add_argument("--out", type=Path, default=Path(".bench/peers.json"))
    chosen = parser.parse_args(arguments)
    for key, known in (("peer", PEERS), ("model", SHAPES)):
        names = getattr(chosen, key).split(",")
        setattr(chosen, key, names)
        if unknown := [name for name in names if name not in known]:
            parser.error(f"unknown --{key} {', '.join(unknown)}; known: {', '.join(known)}")
    chosen.concurrency = [int(each) for each in chosen.concurrency.split(",")]
    return chosen


def cases(chosen: argparse.Namespace) -> Iterator[tuple[str, PeerCase]]:
    """Yield each model's cases; the same seed makes the same prompts for every peer."""
    for model in chosen.model:
        path = ensure_model(model)
        for concurrency in chosen.concurrency:
            source = random.Random(SEED)
            num_requests = concurrency * max(chosen.rounds, -(-LEAST_REQUESTS // concurrency))
            vocabulary = range(SHAPES[model].vocab_size)
            prompts = [source.choices(vocabulary, k=chosen.prompt_tokens) for _ in range(num_requests)]
            yield (
                model,
                PeerCase(
                    model_path=path,
                    concurrency=concurrency,
                    prompts=prompts,
                    max_tokens=chosen.max_tokens,
                    threads=chosen.threads,
                ),
            )


def describe(line: Line) -> str:
    """Return one row of the table."""
    start = f"{line.outcome.name:26} {line.model:6} {line.concurrency:4} "
    if not isinstance(line.outcome, PeerResult):
        return f"{start} unavailable: {line.outcome.reason}"
    result = line.outcome
    first = "?" if result.first_token_ms_p50 is None else f"{result.first_token_ms_p50:.0f}"
    way = "served" if result.served else "in process"
    return (
        f"{start}{result.tokens_per_s:9.1f} tok/s {first:>7} ms to first  {line.load_before:5.1f} load  "
        f"{way}, {result.version}{', ' * bool(result.note)}{result.note}"
    )


def write(lines: list[Line], out: Path) -> None:
    """Write everything measured so far, as a later case may be interrupted."""
    rows = [{**line._asdict(), "outcome": asdict(line.outcome)} for line in lines]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(rows, indent=1) + "\n")


def main() -> None:
    """Measure every chosen peer on every chosen case."""
    chosen = parse_arguments()
    # An ordinary exit ends the peer that is running; the default would leave it behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    lines: list[Line] = []
    for model, case in cases(chosen):
        for name in chosen.peer:
            load = os.getloadavg()[0]
            outcome = measure(PEERS[name], case, timeout_s=chosen.timeout)
            lines.append(Line(model, case.concurrency, load, outcome))
            sys.stdout.write(describe(lines[-1]) + "\n")
            sys.stdout.flush()
            write(lines, chosen.out)


if __name__ == "__main__":
    main()
