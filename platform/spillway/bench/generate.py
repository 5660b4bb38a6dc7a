"""`/generate` end to end with the demo model: `python -m spillway.bench generate`.

One request after another, each on a connection of its own, as a script with curl in a loop would do it: the time is
from before the connection is opened until the answer is whole.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import uvloop

from spillway.bench.client import Reply, post
from spillway.bench.figures import Spread, print_promises, print_table, write_json
from spillway.bench.served import Served
from spillway.bench.streams import Count

REQUEST: Final = {"prompt": "Hello, how are you?", "max_tokens": 50, "temperature": 0.7, "top_p": 0.95}
BATCH: Final = (Count(3, 9), Count(250, 270), Count(41, 44))
PER_SECOND: Final = 100.0
P50_MS: Final = 10.0
P95_MS: Final = 100.0


@dataclass(slots=True)
class Seen:
    """What all requests together saw."""

    seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    total_s: float = 0.0
    batch_is_right: bool = False


async def run(served: Served, num_requests: int) -> Seen:
    """Send the requests one after another, then a batch."""
    seen = Seen()
    for _ in range(20):  # warm: prefix cache, connections of the pool, the interpreter's caches
        await _fresh(served, "/generate", REQUEST)
    started = time.perf_counter()
    for _ in range(num_requests):
        sent = time.perf_counter()
        reply = await _fresh(served, "/generate", REQUEST)
        seen.seconds.append(time.perf_counter() - sent)
        if not _ended_by_itself(reply):
            seen.wrong.append(f"{reply.status} {reply.body.decode()}")
    seen.total_s = time.perf_counter() - started
    reply = await _fresh(
        served, "/generate_batch", {"prompts": [count.prompt for count in BATCH], "temperature": 0, "max_tokens": 50}
    )
    texts = [output["text"].strip() for output in reply.json()["outputs"]] if reply.status == 200 else []
    seen.batch_is_right = texts == [count.answer for count in BATCH]
    return seen


async def _fresh(served: Served, path: str, body: object) -> Reply:
    connection = await served.connect()
    try:
        return await connection.exchange(post(path, body, keep=False))
    finally:
        connection.close()


def _ended_by_itself(reply: Reply) -> bool:
    if reply.status != 200:
        return False
    (output,) = reply.json()["outputs"]
    return bool(output["text"].strip()) and output["finish_reason"] == "stop"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m spillway.bench generate", description=__doc__)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--out", type=Path, help="write what was found as JSON")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="spillway-generate-") as folder:
        served = Served.start(folder=Path(folder))
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                seen = runner.run(run(served, given.requests))
        finally:
            served.end()
    spread, per_second = Spread.of(seen.seconds), given.requests / seen.total_s
    row: dict[str, Any] = {"p50": spread.p50, "p95": spread.p95, "p99": spread.p99, "longest": spread.longest}
    print_table("POST /generate, one fresh connection each, ms", [{**row, "a second": per_second}])
    for wrong in seen.wrong[:5]:
        sys.stdout.write(f"  {wrong}\n")
    promises = {
        f"every answer ends by itself ({len(seen.wrong)} did not)": not seen.wrong,
        f"more than {PER_SECOND:g} a second, one after another": per_second > PER_SECOND,
        f"p50 at most {P50_MS:g} ms": spread.p50 <= P50_MS,
        f"p95 below {P95_MS:g} ms": spread.p95 < P95_MS,
        "a batch of three is answered in order": seen.batch_is_right,
    }
    write_json(given.out, {"generate": spread, "per_second": per_second, "promises": promises})
    return 0 if print_promises(promises) else 1


if __name__ == "__main__":
    sys.exit(main())
