"""An objective's alert on a real Spillway: quiet while all is well, there soon after a real fault, and gone after.

One instance, whose defence against the death of engines is off (`--max-recoveries 0`), with windows of hours shrunk to
minutes: what the console, `/slo`, `/metrics` and the terminal say is one and the same.
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Thread
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from spillway.bench.kills import PATIENT
from spillway.bench.served import SERVES_ALL, Served
from spillway.bench.streams import Count, stream

SCALE = 1 / 60
TICK_S = 15 * SCALE
NUM_HEALTHY, NUM_BROKEN = 40, 8
PATIENCE_S = 60.0
ALERT = "GoldAvailabilityPageQuick"
"""Whoever comes without a key is gold, as shipped."""


class Receiver:
    """A webhook's other end."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, float]] = []
        """Alert, status, and when it came."""
        self._news = Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                receiver.take(body)
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/alerts"
        Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, body: dict[str, Any]) -> None:
        with self._news:
            self.told += [(one["labels"]["alertname"], one["status"], time.time()) for one in body["alerts"]]
            self._news.notify_all()

    def wait_for(self, alert: str, status: str) -> float:
        """Return when it came. Raises `TimeoutError`."""

        def came() -> list[float]:
            return [at for name, how, at in self.told if (name, how) == (alert, status)]

        with self._news:
            if not self._news.wait_for(came, PATIENCE_S):
                raise TimeoutError(f"no word that {alert} is {status}; there were {self.told}")
            return came()[0]


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


@pytest.fixture(scope="module")
def frail(receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    flags = ("--engines", "1", "--max-recoveries", "0", "--drain-grace-s", "0", *PATIENT, *SERVES_ALL)
    slo = ("--slo-time-scale", str(SCALE), "--slo-webhooks", receiver.url)
    instance = Served.start(*flags, *slo, folder=tmp_path_factory.mktemp("alerts"))
    try:
        yield instance
    finally:
        instance.end()


def on_another_thread(work: Callable[[], Any]) -> Any:
    """Playwright has a loop of its own in this one."""
    found: list[Any] = []
    thread = Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


async def served_well(served: Served) -> None:
    link = await served.connect()
    for number in range(1, NUM_HEALTHY + 1):
        count = Count(number, number + 5)
        assert (await stream(link, count.fields())).texts[0] == count.answer
    link.close()


async def broken_by_a_kill(served: Served) -> float:
    """Kill the engine while it writes; return when the last of its streams had failed, unix time."""

    async def follow(count: Count, begun: asyncio.Event) -> None:
        link = await served.connect()
        answer = await stream(link, count.fields(), on_text=lambda _: begun.set())
        link.close()
        assert not answer.is_success

    events = [asyncio.Event() for _ in range(NUM_BROKEN)]
    streams = [
        asyncio.create_task(follow(Count(number + 1, number + 400), event)) for number, event in enumerate(events)
    ]
    await asyncio.gather(*(event.wait() for event in events))
    os.kill((await served.pool())["engines"][0]["pid"], signal.SIGKILL)
    await asyncio.gather(*streams)
    return time.time()


def standing(served: Served) -> dict[str, Any]:
    body = httpx.get(f"{served.ops_url}/slo", trust_env=False).json()
    return {each["name"]: each for each in body["objectives"]}


def firing(served: Served) -> list[str]:
    return [
        alert["name"]
        for each in standing(served).values()
        for alert in each["alerts"]
        if alert["state"] == "firing" and each["family"] == "availability"
    ]


def terminal(served: Served) -> str:
    command = [sys.executable, "-m", "spillway", "slo", "status", "--ops", served.ops_url]
    environment = os.environ | {"SPILLWAY_STATE_DIR": str(served.folder / "state")}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return next(line for line in done.stdout.splitlines() if line.strip().startswith("gold-availability "))


def report(served: Served) -> dict[str, Any]:
    command = [sys.executable, "-m", "spillway", "slo", "report", "--state-dir", str(served.folder / "state")]
    done = subprocess.run([*command, "--last", "1h", "--format", "json"], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def judged(served: Served, total: int) -> dict[str, Any]:
    """Return how availability stands when so many requests are in its period, which is told at every mark."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found: dict[str, Any] = standing(served)["gold-availability"]
        if found["total"] >= total:
            return found
        assert time.monotonic() < deadline, found


def test_an_alert_comes_with_the_fault_and_goes_after_it(
    frail: Served, receiver: Receiver, browse: Callable[..., Page]
) -> None:
    total = NUM_HEALTHY + NUM_BROKEN
    on_another_thread(lambda: asyncio.run(served_well(frail)))
    assert judged(frail, NUM_HEALTHY)["bad"] == 0
    assert firing(frail) == []
    assert receiver.told == []
    page = browse(frail.ops_url)

    failed_at = on_another_thread(lambda: asyncio.run(broken_by_a_kill(frail)))
    receiver.wait_for(ALERT, "firing")
    since = next(each["since"] for each in standing(frail)["gold-availability"]["alerts"] if each["name"] == ALERT)
    assert since - failed_at <= 2 * TICK_S + 1.0  # the second is a busy machine's
    metrics = httpx.get(f"{frail.ops_url}/metrics", trust_env=False).text
    assert f'spillway_slo_alert_firing{{slo="gold-availability",alert="{ALERT}",severity="page"}} 1.0' in metrics
    expect(page.locator("#alerts .bad").filter(has_text="(page) since")).to_contain_text("Availability, gold")

    assert (judged(frail, total)["bad"], judged(frail, total)["total"]) == (NUM_BROKEN, total)
    assert f"{1 - NUM_BROKEN / total:.4%}" in terminal(frail)
    row = page.locator("#objectives tbody tr").filter(has_text=re.compile(r"Availability, gold(?! \()"))
    expect(row).to_contain_text(f"spent {NUM_BROKEN / total / 0.005:.1f}")

    assert receiver.wait_for(ALERT, "resolved") > since
    assert ALERT not in firing(frail)
    assert [how for name, how, _ in receiver.told if name == ALERT] == ["firing", "resolved"]
    written = report(frail)
    availability = next(each for each in written["objectives"] if each["name"] == "gold-availability")
    assert (availability["bad"], availability["total"]) == (NUM_BROKEN, total)
    assert any(ALERT in incident["alerts"] for incident in written["incidents"])
