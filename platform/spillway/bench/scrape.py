"""What metrics cost: one observation, one request, and one scrape of a large instance that exists on paper.

`python -m spillway.bench.scrape [--engines 64] [--tenants 100] [--json PATH]`. Pages are real files that were filled by
the code that fills them in a gateway and in an engine; the supervisor's status is made up. Aims: an observation takes
at most 1.5 µs, a scrape of 64 engines and 100 tenants at most 50 ms.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final

from spillway.ops.metrics import Scraper
from spillway.ops.overseer import Overseer
from spillway.telemetry.metrics.gpu import Gpus
from spillway.telemetry.metrics.requests import Price, RequestMetrics, RequestRecord
from spillway_wire import names
from spillway_wire.label_book import LabelBook
from spillway_wire.outcomes import Outcome
from spillway_wire.page import Counter
from spillway_wire.plane import Status
from spillway_wire.series import SeriesPage
from spillway_wire.series_page import LARGE_PAGE_BYTES, SMALL_PAGE_BYTES, create_series
from spillway_wire.series_totals import series_file
from spillway_wire.tally import COUNTERS

TRACE: Final = "0af7651916cd43dd8448eb211c80319c"
TIERS: Final = ("gold", "silver", "bronze")
BANDS: Final = ("interactive", "default", "bulk")
OPENMETRICS: Final = "application/openmetrics-text"


def per_call_us(call: Callable[[], object], *, number: int = 20_000, rounds: int = 5) -> float:
    """Return how many microseconds a call takes: the best of some rounds, as others can only make it slower."""
    best = float("inf")
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(number):
            call()
        best = min(best, time.perf_counter() - began)
    return best / number * 1e6


def record(random: Random, num_tenants: int) -> RequestRecord:
    """Return some request that has ended, one of ten badly."""
    went_well = random.random() < 0.9
    return RequestRecord(
        endpoint=random.choice(("chat", "completions", "generate")),
        outcome=Outcome.COMPLETED if went_well else random.choice((Outcome.OVERLOADED, Outcome.QUOTA)),
        began=0.0,
        ended=random.expovariate(0.5),
        model="demo",
        tenant=f"tenant-{random.randrange(num_tenants)}",
        tier=random.choice(TIERS),
        band=random.choice(BANDS),
        limit=None if went_well else "ttft=1s (gold)",
        first_token=random.random() / 2 if went_well else None,
        prompt_tokens=random.randrange(1, 4000) if went_well else 0,
        output_tokens=random.randrange(2, 500) if went_well else 0,
        predicted_ttft_s=0.25,
        retry_after_s=None if went_well else 2.0,
        trace_id=TRACE,
        at=1.7e9,
    )


def costs() -> dict[str, float]:
    """Return microseconds for each thing that is counted."""
    page = SeriesPage(num_bytes=LARGE_PAGE_BYTES)
    counter = page.counters(names.REQUESTS)
    labels = ("demo", "gold", "default", "chat", "completed")
    histogram = page.histograms(names.REQUEST_DURATION).of("chat", names.PROVIDER, "demo", "gold", "")
    requests = RequestMetrics(page, LabelBook(None, most=100, other="other"), price=Price(input=1.0, output=2.0))
    one = record(Random(1), 1)
    return {
        "counter": per_call_us(counter.of(*labels).add),
        "counter, found by its labels": per_call_us(lambda: counter.of(*labels).add()),
        "histogram": per_call_us(lambda: histogram.observe(0.3)),
        "histogram with an exemplar": per_call_us(lambda: histogram.observe(0.3, TRACE, 1.7e9)),
        "a whole request": per_call_us(lambda: requests.finished(one)),
    }


def fill(folder: Path, num_engines: int, num_tenants: int, num_requests: int = 5000) -> None:
    """Make the pages of two gateways and all engines."""
    random = Random(7)
    tenants = LabelBook(folder / "tenants.labels", most=names.MAX_TENANTS, other=names.OTHER)
    for number in range(2):
        page = _page(folder, f"gateway-{number}", LARGE_PAGE_BYTES)
        metrics = RequestMetrics(page, tenants, price=Price(input=1.0, output=2.0))
        for _ in range(num_requests):
            metrics.finished(record(random, num_tenants))
        page.close()
    for number in range(num_engines):
        page = _page(folder, f"engine-{number}", SMALL_PAGE_BYTES)
        for metric in (
            names.STEP_DURATION,
            names.STEP_SEQUENCES,
            names.STEP_PREFILL_TOKENS,
            names.STEP_DECODE_TOKENS,
        ):
            series = page.histograms(metric).of("demo")
            for _ in range(100):
                series.observe(random.expovariate(10.0))
        page.close()


def _page(folder: Path, place: str, num_bytes: int) -> SeriesPage:
    path = series_file(folder, place, 1)
    create_series(path, num_bytes)
    return SeriesPage(path)


def status(num_engines: int) -> dict[str, Any]:
    """Return what a supervisor of so many engines would say."""
    engine: dict[str, Any] = {
        "pid": 1,
        "state": "ready",
        "incarnation": 3,
        "model": "demo",
        "running": 12,
        "waiting": 3,
        "kv_blocks": {"total": 8192, "free": 4096, "size": 16},
        "exactness": "exact",
        "restarts": {"signal": 2},
        "counters": {counter.name.lower(): 1_000_000 + counter for counter in Counter},
    }
    gateway = {
        "pid": 2,
        "state": "ready",
        "incarnation": 1,
        "loop_lag_ms": 0.3,
        "counters": {name: 1000 + place for place, name in enumerate(COUNTERS)},
        "facts": {"queued_requests": 3.0, "pressure.demo": 0.5},
    }
    return {
        "engines": [engine | {"id": f"engine-{number}"} for number in range(num_engines)],
        "gateways": [gateway | {"id": f"gateway-{number}"} for number in range(2)],
        "redis": {"pid": 3, "state": "ready", "answer_s": 0.0002},
        "supervisor": {"rss_bytes": 1, "uptime_s": 1.0, "stalls": 0},
    }


async def scrapes(num_engines: int, num_tenants: int, num_scrapes: int) -> dict[str, float]:
    """Return milliseconds and sizes of scrapes of a large instance."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill(folder, num_engines, num_tenants)
        said = status(num_engines)
        overseer = Overseer(lambda question: overseer.received(Status(token=_token(question), status=said)))
        scraper = Scraper(overseer, folder, SeriesPage(), gpus=Gpus(None, clock=time.monotonic))
        found: dict[str, float] = {}
        for form, accept in (("text", ""), ("openmetrics", OPENMETRICS)):
            took, body = [], b""
            for _ in range(num_scrapes):
                began = time.perf_counter()
                body, _ = await scraper.scrape(accept)
                took.append((time.perf_counter() - began) * 1e3)
            found |= {
                f"{form}, first, ms": took[0],
                f"{form}, median, ms": median(took[1:]),
                f"{form}, worst after the first, ms": max(took[1:]),
                f"{form}, lines": body.count(b"\n"),
                f"{form}, KiB": len(body) / 1024,
            }
        scraper.close()
        return found


def _token(question: object) -> int:
    token: int = getattr(question, "token", 0)
    return token


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print what came out."""
    parser = argparse.ArgumentParser(prog="python -m spillway.bench.scrape", description=__doc__)
    parser.add_argument("--engines", type=int, default=64)
    parser.add_argument("--tenants", type=int, default=100)
    parser.add_argument("--scrapes", type=int, default=30, help="at least 2")
    parser.add_argument("--json", type=Path, metavar="PATH")
    given = parser.parse_args(arguments)
    found: Mapping[str, Mapping[str, float]] = {
        "microseconds": costs(),
        f"scrape of {given.engines} engines and {given.tenants} tenants": asyncio.run(
            scrapes(given.engines, given.tenants, max(2, given.scrapes))
        ),
    }
    for title, values in found.items():
        sys.stdout.write(title + "\n")
        for name, value in values.items():
            sys.stdout.write(f"  {name:36}{value:12.2f}\n")
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
