"""Objectives in ops: judged from the pages of all processes, told to receivers, and remembered over a death."""

import asyncio
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx

from spillway.ops.objectives.keeper import Keeper
from spillway.ops.objectives.opening import reload_keeper
from spillway.ops.objectives.webhooks import Webhooks
from spillway.settings import Settings, SloSettings
from spillway.telemetry.metrics.requests import RequestMetrics, RequestRecord
from spillway_slo.alerts import AlertState
from spillway_slo.loading import load
from spillway_wire.label_book import LabelBook
from spillway_wire.outcomes import Outcome
from spillway_wire.series import SeriesPage
from spillway_wire.series_page import LARGE_PAGE_BYTES, create_series
from spillway_wire.series_totals import SeriesFolder

PATIENCE_S = 30.0


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, event: str, **more: Any) -> None:
        self.lines.append((event, more))

    def told(self, event: str) -> list[str]:
        return [more["alert"] for name, more in self.lines if name == event]


class House:
    """A gateway's page, and a keeper that reads it at moments of the test's choice."""

    def __init__(
        self, folder: Path, urls: tuple[str, ...] = (), answer: Callable[[httpx.Request], httpx.Response] | None = None
    ) -> None:
        self.folder, self.log, self.now = folder, Log(), 1.7e9
        self.bodies: list[dict[str, Any]] = []
        path = folder / "gateway-0.1.series"
        if not path.exists():
            create_series(path, LARGE_PAGE_BYTES)
        self.page = SeriesPage(path)
        self.metrics = RequestMetrics(self.page, LabelBook(None, most=9, other="other"))
        self.metrics.judged.expect(("gold", "silver", "bronze"))
        client = httpx.AsyncClient(transport=httpx.MockTransport(answer or self.receive))
        self.webhooks = Webhooks(urls, external_url="http://ops", log=self.log, client=client, pause_s=0.0)
        self.series = SeriesFolder(folder)
        self.keeper = self.keep()

    def keep(self) -> Keeper:
        return Keeper(
            load("laptop"),
            self.series,
            scale=Fraction(1),
            profile="laptop",
            file=self.folder / "slo.state",
            webhooks=self.webhooks,
            log=self.log,
            wall=lambda: self.now,
            monotonic=lambda: 0.0,
        )

    def receive(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(json.loads(request.content))
        return httpx.Response(200)

    def serve(self, outcome: Outcome, number: int) -> None:
        for _ in range(number):
            self.metrics.finished(
                RequestRecord(
                    endpoint="chat",
                    outcome=outcome,
                    began=0.0,
                    ended=0.2,
                    first_token=0.1 if outcome is Outcome.COMPLETED else None,
                    tier="gold",
                    tenant="acme",
                    model="demo",
                    prompt_tokens=10,
                    output_tokens=5,
                )
            )

    def tick(self, keeper: Keeper | None = None) -> None:
        self.now += 15.0
        (keeper or self.keeper).look(self.now)

    def standing(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(each for each in self.keeper.answer()["objectives"] if each["name"] == name)
        return found

    def alerts(self) -> list[AlertState]:
        return list(self.keeper.alerts.firing.values())

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():  # noqa: ASYNC110 - what is waited for is no event
                await asyncio.sleep(0)


def fail(house: House) -> None:
    house.tick()
    house.serve(Outcome.COMPLETED, 20)
    house.tick()
    house.serve(Outcome.ENGINE_FAILED, 20)
    house.tick()


def test_what_gateways_count_is_judged_and_told(tmp_path: Path) -> None:
    async def test() -> None:
        house = House(tmp_path, ("http://one/hook?secret=x", "http://two/hook"))
        house.webhooks.start()
        fail(house)
        standing = house.standing("gold-availability")
        assert (standing["bad"], standing["total"]) == (20, 40)
        firing = {alert["name"]: alert for alert in standing["alerts"] if alert["state"] == "firing"}
        assert firing["GoldAvailabilityPageQuick"]["since"] == house.now
        assert "GoldAvailabilityPageQuick" in house.log.told("alert_firing")
        for _ in range(30):
            house.serve(Outcome.COMPLETED, 20)
            house.tick()
        assert "GoldAvailabilityPageQuick" in house.log.told("alert_resolved")
        await house.until(lambda: any(body["status"] == "resolved" for body in house.bodies))
        await house.keeper.close()
        receivers = {body["receiver"] for body in house.bodies}
        assert receivers == {"one", "two"}
        names = {family.name for family in house.keeper.families()}
        assert {"spillway_slo_burn_rate", "spillway_slo_alert_firing", "spillway_slo_notifications"} <= names

    asyncio.run(test())


def test_a_receiver_that_is_dead_costs_the_others_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        reached: list[str] = []

        def answer(request: httpx.Request) -> httpx.Response:
            reached.append(request.url.host)
            return httpx.Response(503 if request.url.host == "dead" else 200)

        house = House(tmp_path, ("http://dead/", "http://alive/"), answer)
        house.webhooks.start()
        fail(house)
        await house.until(lambda: house.webhooks.counts["failed"] > 0)
        assert house.webhooks.counts["sent"] > 0
        assert reached.count("dead") >= 6
        assert ("webhook_failed", {"receiver": "dead", "tries": 6, "error": "status 503"}) in house.log.lines
        await house.keeper.close()

    asyncio.run(test())


def test_receivers_that_never_answer_fill_a_bounded_queue(tmp_path: Path) -> None:
    async def test() -> None:
        house = House(tmp_path, ("http://dead/",))  # never started: nothing is taken out
        fail(house)
        for _ in range(300):
            house.webhooks.offer(house.alerts())
        assert house.webhooks.counts["dropped"] > 0
        assert house.webhooks.num_waiting <= 256
        await house.keeper.close()

    asyncio.run(test())


def test_a_successor_goes_on_where_ops_died(tmp_path: Path) -> None:
    async def test() -> None:
        house = House(tmp_path)
        fail(house)
        await house.keeper.close()
        house.serve(Outcome.ENGINE_FAILED, 7)  # counted while nobody looked
        house.series = SeriesFolder(tmp_path)
        successor = house.keep()
        house.tick(successor)
        standing = next(each for each in successor.answer()["objectives"] if each["name"] == "gold-availability")
        assert standing["bad"] >= 20
        short = next(each for each in successor.families() if each.name == "spillway_slo_alert_firing")
        assert any(value == 1.0 and ("alert", "GoldAvailabilityPageQuick") in labels for labels, value in short.points)
        assert house.log.told("alert_firing").count("GoldAvailabilityPageQuick") == 1

    asyncio.run(test())


def test_a_memory_that_is_spoilt_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "slo.state").write_bytes(b"nonsense")
    house = House(tmp_path)
    assert [event for event, _ in house.log.lines] == ["objectives_memory_lost"]
    assert (tmp_path / "slo.state.broken").read_bytes() == b"nonsense"
    house.tick()


def test_other_objectives_are_taken_over_and_those_that_stay_keep_their_past(tmp_path: Path) -> None:
    async def test() -> None:
        house = House(tmp_path)
        fail(house)
        stays = [each for each in load("laptop") if each.family == "availability"]
        house.keeper.reload(stays, scale=Fraction(1), profile="/elsewhere")
        answer = house.keeper.answer()
        assert {each["family"] for each in answer["objectives"]} == {"availability"}
        assert answer["profile"] == "/elsewhere"
        assert (house.standing("gold-availability")["bad"], house.standing("gold-availability")["total"]) == (20, 40)
        assert "GoldAvailabilityPageQuick" in house.keeper.alerts.firing
        house.tick()
        assert all(alert.objective.startswith("gold-availability") for alert in house.alerts())
        assert "GoldGoodRequestTicketQuick" in house.log.told("alert_resolved")

        house.keeper.reload(stays, scale=Fraction(1, 60), profile="laptop")
        assert house.keeper.tick_s == 0.25
        assert house.standing("gold-availability")["total"] == 0
        assert "objectives_begin_anew" in [event for event, _ in house.log.lines]

        nothing = str(tmp_path / "nothing.yaml")
        reload_keeper(house.keeper, Settings(slo=SloSettings(objectives=nothing)), house.log)
        assert nothing in house.log.lines[-1][1]["error"]
        assert house.keeper.answer()["profile"] == "laptop"
        await house.keeper.close()

    asyncio.run(test())


def test_other_receivers_are_told_and_who_stays_misses_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        house = House(tmp_path, ("http://goes/", "http://stays/"))
        house.webhooks.reload(("http://stays/", "http://comes/"), external_url="http://new")
        house.webhooks.start()
        fail(house)
        house.webhooks.reload(("http://comes/",), external_url="http://new")
        waiting = house.webhooks.num_waiting
        house.webhooks.reload(("http://comes/", "http://later/"), external_url="http://new")
        house.webhooks.offer(house.alerts())
        await house.until(lambda: {body["receiver"] for body in house.bodies} == {"comes", "stays", "later"})
        assert waiting > 0
        assert {body["externalURL"] for body in house.bodies} == {"http://new"}
        await house.keeper.close()

    asyncio.run(test())
