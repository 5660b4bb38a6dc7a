"""`python -m spillway.bench PART`, also as `spillway bench PART`; see the package."""

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Final

PARTS: Final = {
    "engine": "the engine alone, against peers (spillway_engine.bench)",
    "gateway": "requests, tokens and added latency of one gateway process on one core",
    "generate": "/generate end to end, one fresh connection each",
    "one_kill": "one engine of the running instance, while it counts for you to see",
    "kills": "engines killed while streams count",
    "overload": "goodput when more is asked than can be done, and what admission promises",
    "ledger": "what quotas in Redis cost, how exact they are, and what happens while Redis is away",
    "simulation": "admission in virtual time, and the plots of docs/admission.md",
    "telemetry": "what telemetry costs",
    "truth": "whether a client's stopwatch, the metrics and the traces tell the same while engines die",
    "recovered": "traces of requests that outlived their engine, and counters that outlive any process",
    "scrape": "how long a scrape of a large pool takes",
    "mixed": "requests of all kinds, a tenth of them leaving",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one part and return its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] not in PARTS:
        wanted = given and given[0] in {"-h", "--help"}
        lines = ["usage: spillway bench PART [--help]", "", *(f"  {part:12}{says}" for part, says in PARTS.items()), ""]
        (sys.stdout if wanted else sys.stderr).write("\n".join(lines))
        return 0 if wanted else 2
    part, *rest = given
    if part == "engine":  # a process of its own: this one must not load torch
        os.execv(sys.executable, [sys.executable, "-m", "spillway_engine.bench", *rest])  # noqa: S606 - ourselves
    status: int = importlib.import_module(f"spillway.bench.{part}").main(rest)
    return status


if __name__ == "__main__":
    sys.exit(main())
