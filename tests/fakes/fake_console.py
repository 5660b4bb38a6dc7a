"""The ops port as a browser sees it, with a supervisor on paper: the real application, keeper, pages and trace store.

What a gateway counts and traces is counted and traced by the recorders that do so in earnest; a test says what is.
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from fractions import Fraction
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import uvloop

from spillway.ops.access import AdminKey
from spillway.ops.app import build_app
from spillway.ops.console.console import Console
from spillway.ops.metrics import Scraper
from spillway.ops.objectives.keeper import Keeper
from spillway.ops.objectives.webhooks import Webhooks
from spillway.ops.overseer import Overseer, SilentError
from spillway.server import Server, uvicorn_config
from spillway.settings import Settings
from spillway.telemetry.metrics.gateway import GatewayMetrics
from spillway.telemetry.metrics.requests import RequestMetrics, RequestRecord
from spillway.telemetry.trace_store.schema import FILE_NAME
from spillway.telemetry.trace_store.writer import StoreWriter
from spillway_slo.loading import load
from spillway_wire.label_book import LabelBook
from spillway_wire.outcomes import Outcome
from spillway_wire.plane import FromSupervisor
from spillway_wire.series import SeriesPage
from spillway_wire.series_page import LARGE_PAGE_BYTES, create_series
from spillway_wire.series_totals import SeriesFolder

from . import fake_supervisor, fake_traced

PATIENCE_S = 30.0
TICK_S = 15.0
T = TypeVar("T")


class PaperOverseer:
    """Says what the test says; `problem` makes it silent."""

    def __init__(self) -> None:
        self.said: dict[str, Any] = fake_supervisor.status()
        self.problem = ""

    async def status(self) -> Mapping[str, Any]:
        if self.problem:
            raise SilentError(self.problem)
        return self.said


class ConsoleHouse:
    """Ops on a thread of its own. Use it with `with`; all that changes it goes through `do`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.overseer = PaperOverseer()
        path = folder / "gateway-0.1.series"
        create_series(path, LARGE_PAGE_BYTES)
        self.page = SeriesPage(path)
        self.requests = RequestMetrics(self.page, LabelBook(None, most=9, other="other"))
        self.requests.judged.expect(("gold", "silver", "bronze"))
        self.gateway = GatewayMetrics(self.page)
        self.traced = fake_traced.World()
        self.url = ""
        self._now = 1.7e9
        self._loop = uvloop.new_event_loop()
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.result(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self.do(self._end)
        self._thread.join(PATIENCE_S)
        self.page.close()

    def _end(self) -> None:
        self.console.end()
        self._server.end()

    def do(self, work: Callable[[], T]) -> T:
        """Do something on the thread of ops, and return what it returned."""
        done: Future[T] = Future()

        def on_loop() -> None:
            try:
                done.set_result(work())
            except BaseException as error:  # noqa: BLE001 - it is raised where the test sees it
                done.set_exception(error)

        self._loop.call_soon_threadsafe(on_loop)
        return done.result(PATIENCE_S)

    # ---- what is so ----

    def says(self, **more: Any) -> None:
        """Have the supervisor say something else."""
        self.do(lambda: self.overseer.said.update(more))

    def is_told(self, message: FromSupervisor) -> None:
        self.do(lambda: self.console.received(message))

    def serve(self, outcome: Outcome, number: int, **more: Any) -> None:
        """Count so many requests."""
        facts: dict[str, Any] = {
            "endpoint": "chat",
            "outcome": outcome,
            "began": 0.0,
            "ended": 0.2,
            "tier": "gold",
            "band": "default",
            "tenant": "acme",
            "model": "demo",
            "prompt_tokens": 10,
        }
        if outcome is Outcome.COMPLETED:
            facts |= {"first_token": 0.1, "output_tokens": 50}
        record = RequestRecord(**(facts | more))

        def count() -> None:
            for _ in range(number):
                self.requests.finished(record)
            counters = self.overseer.said["gateways"][0]["counters"]
            for name in ("arrivals", f"outcome_{outcome.value}"):
                counters[name] = counters.get(name, 0) + number

        self.do(count)

    def judge(self) -> None:
        """Let ops judge what was counted, a tick later."""
        self._now += TICK_S
        self.do(lambda: self.keeper.look(self._now))

    def keep_traces(self) -> None:
        """Write what was traced into the store."""
        offered, self.traced.offered = self.traced.offered, []
        traces = [each.build() for each in offered]
        writer = StoreWriter(self.folder / FILE_NAME, log=lambda *_, **__: None, max_age_s=1e10)
        writer.write([trace for trace in traces if trace is not None])
        writer.close(1.0)

    # ---- ops ----

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:
            if not self._started.done():
                self._started.set_exception(error)
                return
            raise
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        settings, overseer = Settings(), cast("Overseer", self.overseer)
        self.console = Console(overseer, self.folder, self.folder / FILE_NAME, settings)
        self.keeper = Keeper(
            load("laptop"),
            SeriesFolder(self.folder),
            scale=Fraction(1),
            profile="laptop",
            file=self.folder / "slo.state",
            webhooks=Webhooks((), external_url="http://ops", log=lambda *_, **__: None),
            log=lambda *_, **__: None,
            wall=lambda: self._now,
            monotonic=lambda: 0.0,
        )
        own = SeriesPage(num_bytes=LARGE_PAGE_BYTES)
        scraper = Scraper(overseer, self.folder, own, more=self.keeper.families)
        key = AdminKey("secret")
        app = build_app(overseer, key, scraper, self.console, self.keeper, chaos=False, pages_need_key=False)
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._server = Server(
            uvicorn_config(app, settings.network, farewell_s=1, http="httptools", proxy_headers=False),
            on_started=lambda: self._started.set_result(None),
        )
        try:
            await self._server.serve(sockets=[listener])
        finally:
            await self.console.close()
            await self.keeper.close()
            scraper.close()
            own.close()
