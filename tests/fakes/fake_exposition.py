"""A whole exposition: every family that there is, counted by the recorders that count in earnest, and growing.

What only a running platform counts is written by its definition: for each metric a series, with plausible labels.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from spillway.admission.contract import Band
from spillway.ops.metrics import Scraper
from spillway.runtime import RuntimeFolder
from spillway.telemetry.metrics.gateway import GatewayMetrics
from spillway.telemetry.metrics.gpu import GpuReading
from spillway.telemetry.metrics.requests import Price, RequestMetrics, RequestRecord
from spillway_wire import names
from spillway_wire import status_names as status_of
from spillway_wire.label_book import LabelBook
from spillway_wire.metric import Kind, Metric
from spillway_wire.outcomes import Outcome
from spillway_wire.plane import ExitCause
from spillway_wire.series import SeriesPage
from spillway_wire.series_page import LARGE_PAGE_BYTES, create_series

from . import fake_supervisor

TRACE = "0af7651916cd43dd8448eb211c80319c"
LABELS = {
    "model": "demo",
    "tier": "gold",
    "band": "default",
    "phase": "decode",
    "role": "engine",
    "cause": "signal",
    "reason": "lost",
    "kind": "chat",
    "verdict": "good",
    "type": "output",
}
"""For what is written by its definition."""
GPU = GpuReading(
    gpu="0",
    name="H200",
    utilization=0.5,
    memory_used=10,
    memory=40,
    power_w=350.0,
    temperature_c=60.0,
    energy_j=7.0,
)


class Gpus:
    """One card, whose energy grows."""

    def __init__(self) -> None:
        self.num_asked = 0

    def __len__(self) -> int:
        return 1

    def read(self) -> tuple[GpuReading, ...]:
        self.num_asked += 1
        return (GpuReading(**{field: getattr(GPU, field) for field in GPU.__slots__} | {"energy_j": self.num_asked}),)


class Overseer:
    """Says a status that is full, and grows."""

    def __init__(self) -> None:
        self.num_asked = 0

    async def status(self) -> dict[str, Any]:
        self.num_asked += 1
        number = self.num_asked
        counters = dict.fromkeys(status_of.ENGINE_COUNTERS, number)
        restarts = {cause.value: number for cause in ExitCause}
        engine: dict[str, Any] = {
            "counters": counters,
            "restarts": restarts,
            "exactness": "exact",
            "kv_blocks": {"total": 100, "free": 75, "size": 16},
        }
        outcomes = {f"outcome_{outcome.value}": number for outcome in Outcome}
        sent = {"arrivals": number * (len(Outcome) + 1), **dict.fromkeys(status_of.GATEWAY_COUNTERS, number)}
        return fake_supervisor.status(
            engines=[fake_supervisor.engine(f"engine-{index}", **engine) for index in range(2)],
            gateways=[fake_supervisor.gateway(counters=sent | outcomes, restarts=restarts)],
            redis={"pid": 401, "state": "ready", "answer_s": 0.0002, "restarts": restarts},
            ops={"pid": 301, "state": "ready", "restarts": restarts},
            supervisor={"pid": 1, "rss_bytes": 30_000_000, "uptime_s": 12.5, "stalls": number},
        )


class Counting:
    """The pages of a gateway, an engine and the rest; each `tick` counts something in every family."""

    def __init__(self, runtime: RuntimeFolder) -> None:
        self._pages: dict[str, SeriesPage] = {}
        for place in ("gateway-0", "engine-0", "supervisor", "ops"):
            create_series(runtime.series(place, 1), LARGE_PAGE_BYTES)
            self._pages[place] = SeriesPage(runtime.series(place, 1))
        self.ops = self._pages["ops"]
        tenants = LabelBook(runtime.tenant_labels, most=100, other="other")
        self._requests = RequestMetrics(self._pages["gateway-0"], tenants, price=Price(input=1.0, output=2.0))
        self._gateway = GatewayMetrics(self._pages["gateway-0"])
        self._at = 0.0

    def tick(self, now: float) -> None:
        """Count, at this unix time."""
        for outcome in Outcome:
            self._requests.finished(record(outcome, now))
        self._gateway.in_flight(3)
        self._gateway.queue("demo", {Band.DEFAULT: 2})
        said = ("brownout_level", "pressure", "shedding_threshold", "retry_budget", "prediction_factor_default")
        self._gateway.admission({f"{name}.demo": 0.5 for name in said})
        self._gateway.lagged(0.001)
        self._gateway.asked_redis(0.0005, answered=False)
        self._gateway.limiter(degraded=False)
        for metric in names.METRICS:
            if metric.place in {"engine", "process"} or metric in (names.TIME_TO_DETECT, names.TIME_TO_RECOVER):
                self._write(metric)

    def _write(self, metric: Metric) -> None:
        page = self._pages[{"engine": "engine-0", "process": "gateway-0"}.get(metric.place, "supervisor")]
        labels = [LABELS[label] for label in metric.labels]
        if metric.kind is Kind.HISTOGRAM:
            page.histograms(metric).of(*labels).observe(metric.buckets[1])
        else:
            page.counters(metric).of(*labels).add()

    def close(self) -> None:
        for page in self._pages.values():
            page.close()


def record(outcome: Outcome, now: float) -> RequestRecord:
    """A request that ended so."""
    refused = {Outcome.OVERLOADED: "ttft=1s (gold)", Outcome.QUOTA: "requests_per_minute=600"}
    has_begun = outcome in {Outcome.COMPLETED, Outcome.ENGINE_FAILED, Outcome.CLIENT_GONE}
    return RequestRecord(
        endpoint="chat",
        outcome=outcome,
        began=0.0,
        first_token=0.25 if has_begun else None,
        ended=1.0,
        model="demo",
        tenant="acme",
        tier="gold",
        band="default",
        limit=refused.get(outcome),
        queue_s=0.01,
        prompt_tokens=100,
        cached_tokens=10,
        output_tokens=10,
        predicted_ttft_s=0.2,
        retry_after_s=2.0 if outcome in refused else None,
        trace_id=TRACE,
        at=now,
    )


@asynccontextmanager
async def exposed(folder: Path, wall: Callable[[], float]) -> AsyncIterator[str]:
    """Serve it on loopback; yield host and port. Each scrape finds more than the one before, counted at `wall`."""
    counting = Counting(RuntimeFolder(folder))
    scraper = Scraper(Overseer(), folder, counting.ops, gpus=Gpus())  # type: ignore[arg-type]  # doubles

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        accept = re.search(r"(?im)^accept: *(.*)$", head)
        counting.tick(wall())
        body, kind = await scraper.scrape(accept[1] if accept else "")
        said = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        writer.write(said.encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()
        scraper.close()
        counting.close()
