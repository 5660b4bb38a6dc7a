"""Objectives in a real ops process, with a supervisor on paper: `/slo`, a receiver, a reload, and brownout."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

from spillway.settings import SloSettings
from spillway.telemetry.metrics.requests import RequestMetrics, RequestRecord
from spillway_wire.label_book import LabelBook
from spillway_wire.outcomes import Outcome
from spillway_wire.plane import Reload
from spillway_wire.series import SeriesPage
from spillway_wire.series_page import LARGE_PAGE_BYTES, create_series

PATIENCE_S = 30.0


class Receiver(BaseHTTPRequestHandler):
    bodies: list[dict[str, Any]] = []  # noqa: RUF012 - one server, one test

    def do_POST(self) -> None:
        self.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        """Say nothing."""


def test_a_real_ops_process_answers_and_calls_a_real_receiver(with_ops: Callable[..., None]) -> None:
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    Thread(target=server.serve_forever, daemon=True).start()

    async def test(ops: Any) -> None:
        path = ops.supervisor.runtime.series("gateway-0", 1)
        create_series(path, LARGE_PAGE_BYTES)
        page = SeriesPage(path)
        metrics = RequestMetrics(page, LabelBook(None, most=9, other="other"))
        metrics.judged.expect(("gold",))

        async def firing() -> list[str]:
            body = (await ops.http.get("/slo")).json()
            return [
                alert["name"] for each in body["objectives"] for alert in each["alerts"] if alert["state"] == "firing"
            ]

        async with asyncio.timeout(PATIENCE_S):
            while "GoldAvailabilityPageQuick" not in await firing():
                for outcome in (Outcome.COMPLETED, Outcome.INTERNAL):
                    metrics.finished(RequestRecord(endpoint="chat", outcome=outcome, began=0.0, ended=1.0, tier="gold"))
                await asyncio.sleep(0.05)
            while not Receiver.bodies:  # noqa: ASYNC110 - another thread's
                await asyncio.sleep(0.05)
        scraped = (await ops.http.get("/metrics")).text
        assert (
            'spillway_slo_alert_firing{slo="gold-availability",alert="GoldAvailabilityPageQuick",severity="page"} 1.0'
            in scraped
        )
        status, out, _ = await ops.command("slo", "status")
        assert status == 0
        assert "gold-availability" in out

        settings = ops.supervisor.runtime.read_settings()
        ops.supervisor.runtime.write_settings(replace(settings, slo=replace(settings.slo, objectives="standard")))
        ops.supervisor.wires[0].send(Reload())
        body: dict[str, Any] = {}
        async with asyncio.timeout(PATIENCE_S):
            while body.get("profile") != "standard":
                body = (await ops.http.get("/slo")).json()
        found = {each["name"]: each for each in body["objectives"]}
        assert found["gold-availability"]["target"] == 0.9999
        assert found["gold-availability"]["bad"] > 0
        page.close()

    url = f"http://127.0.0.1:{server.server_port}/hook"
    with_ops(test, slo=SloSettings(time_scale=1 / 60, webhooks=(url,)))
    server.shutdown()
    server.server_close()
    assert {"version", "alerts", "groupKey"} <= Receiver.bodies[0].keys()


def test_a_real_ops_process_asks_for_brownout_while_objectives_burn(with_ops: Callable[..., None]) -> None:
    async def test(ops: Any) -> None:
        path = ops.supervisor.runtime.series("gateway-0", 1)
        create_series(path, LARGE_PAGE_BYTES)
        page = SeriesPage(path)
        metrics = RequestMetrics(page, LabelBook(None, most=9, other="other"))
        metrics.judged.expect(("gold",))
        async with asyncio.timeout(PATIENCE_S):
            while ops.supervisor.floors.empty():
                for outcome in (Outcome.COMPLETED, Outcome.OVERLOADED, Outcome.OVERLOADED, Outcome.OVERLOADED):
                    metrics.finished(RequestRecord(endpoint="chat", outcome=outcome, began=0.0, ended=0.1, tier="gold"))
                await asyncio.sleep(0.05)
            assert ops.supervisor.floors.get_nowait().steps in {1, 2}
            while (await ops.supervisor.floors.get()).steps:
                pass  # it is said again while it holds
        page.close()

    with_ops(test, slo=SloSettings(time_scale=1 / 600, brownout=True))
