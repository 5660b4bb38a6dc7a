"""Overload: `spillway bench overload`. What is left of goodput when more is asked than can be done.

One engine, requests of mixed lengths at the times of a Poisson process, streamed; the clients never wait for each
other. First its capacity is found, then it is asked 1, 2, 4 and 10 times as much, and then at once 4 times instead of
half. An answer is good when it is complete and exact, and its tokens are within the tier's objective, first and later.
The drills (--priorities, --fairness, --retries, --burst) run instead of the levels, or with them (--all).
"""

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from spillway.bench.figures import write_json
from spillway.bench.overload import suite
from spillway.bench.overload.models import find_model
from spillway.bench.overload.promises import print_verdict
from spillway.errors import SpillwayError, UsageError
from spillway.settings import Settings

DRILLS: Final = ("priorities", "fairness", "retries", "burst")
PEERS: Final = ("vllm",)


def _numbers(text: str) -> tuple[float, ...]:
    numbers = tuple(float(part) for part in text.split(",") if part)
    if not numbers or min(numbers) <= 0:
        raise ValueError(text)
    return numbers


def _positive(text: str) -> float:
    number = float(text)
    if number <= 0:
        raise ValueError(text)
    return number


def _parser() -> argparse.ArgumentParser:
    gold = Settings().tiers["gold"]
    parser = argparse.ArgumentParser(
        prog="spillway bench overload", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="small", help="demo, small, tiny or a Hugging Face folder (small)")
    parser.add_argument("--seconds", type=_positive, default=60.0, help="of each level (60)")
    parser.add_argument("--levels", type=_numbers, default=(1.0, 2.0, 4.0, 10.0), help="times the capacity (1,2,4,10)")
    parser.add_argument("--capacity", type=_positive, help="requests a second, instead of searching for it")
    parser.add_argument("--ttft", type=_positive, default=gold.ttft_s, help="objective for the first token, seconds")
    parser.add_argument(
        "--tpot", type=_positive, help="objective between later tokens, seconds; else twice what 32 in flight have"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--generators", type=int, default=1, help="load generator processes (1)")
    parser.add_argument("--no-step", action="store_true", help="leave out the step from 0.5 to 4 times")
    parser.add_argument("--all", action="store_true", help="levels, step and all drills")
    parser.add_argument("--priorities", action="store_true", help="drill: a tenth is interactive, the rest bulk")
    parser.add_argument("--fairness", action="store_true", help="drill: of two tenants one asks ten times as much")
    parser.add_argument("--retries", action="store_true", help="drill: the refused come back when they are told to")
    parser.add_argument("--burst", action="store_true", help="drill: ten times the queue at once")
    parser.add_argument("--queue", type=int, default=64, help="the queue's bound in the burst (64)")
    parser.add_argument("--peers", default="", help="vllm: its server under the same arrivals")
    parser.add_argument("--peer-python", type=Path, help="a Python that has vLLM; else an environment is made")
    parser.add_argument(
        "--peer-queues",
        type=_numbers,
        default=(8.0, 16.0, 32.0, 64.0),
        help="bounds that it is tuned with (8,16,32,64)",
    )
    parser.add_argument("--json", "--out", type=Path, dest="out", help="write what was found as JSON")
    parser.add_argument("--serve", action="append", default=[], metavar="FLAG", help="a flag more for `spillway serve`")
    return parser


def _plan(given: argparse.Namespace) -> suite.Suite:
    peers = [name for name in given.peers.split(",") if name]
    if unknown := [name for name in peers if name not in PEERS]:
        raise UsageError(f"--peers {','.join(unknown)}: known are {', '.join(PEERS)}")
    chosen = [drill for drill in DRILLS if given.all or getattr(given, drill)]
    model = find_model(given.model)
    if peers and model.is_demo:
        raise UsageError("--peers vllm needs a model that it can serve: --model small, tiny or a folder")
    return suite.Suite(
        model=model,
        seconds=given.seconds,
        levels=() if chosen and not given.all else given.levels,
        has_step=not given.no_step and (given.all or not chosen),
        drills=tuple(chosen),
        capacity=given.capacity,
        ttft_s=given.ttft,
        tpot_s=given.tpot,
        seed=given.seed,
        generators=given.generators,
        queue=given.queue,
        flags=tuple(given.serve),
        peers=tuple(peers),
        peer_python=given.peer_python,
        peer_queues=tuple(int(bound) for bound in given.peer_queues),
    )


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """Make of SIGTERM an ordinary exit, which ends the servers that are running; else they would be left behind."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return 1 if a promise was missed."""
    given = _parser().parse_args(arguments)
    try:
        with _ending_in_order():
            found = suite.run(_plan(given))
    except SpillwayError as error:
        sys.stderr.write(f"spillway bench overload: {error}\n")
        return error.exit_status
    held = print_verdict(found.promises)
    write_json(given.out, found.as_dict())
    return 0 if held else 1
