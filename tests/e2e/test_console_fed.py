"""The console in a real browser, before an ops port that is told what to say: what a healthy machine does not show."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from spillway.pool.contract import Refused
from spillway_wire.outcomes import Outcome
from spillway_wire.plane import EngineDied, ExitCause


@pytest.fixture
def house(console_house: ModuleType, tmp_path: Path) -> Iterator[Any]:
    with console_house.ConsoleHouse(tmp_path) as house:
        yield house


def objective(page: Page, title: str) -> Any:
    """Return the row of an objective, without those of one kind of call each."""
    return page.locator("#objectives tbody tr").filter(has_text=re.compile(re.escape(title) + r"(?! \()"))


def test_objectives_say_what_fires_and_what_of_the_budget_is_left(browse: Callable[..., Page], house: Any) -> None:
    house.judge()
    house.serve(Outcome.COMPLETED, 60)
    house.judge()
    page = browse(house.url)
    healthy = objective(page, "Availability, gold")
    expect(healthy).to_contain_text("100 % left")
    expect(healthy).to_contain_text("99.5 %")
    expect(page.locator("#objectives .bad-ink")).to_have_count(0)

    house.serve(Outcome.ENGINE_FAILED, 20)
    house.judge()
    burning = objective(page, "Availability, gold")
    expect(burning).to_contain_text("firing: GoldAvailabilityPageQuick")
    expect(burning).to_contain_text(re.compile(r"50\.0 \S"))  # 20 of 80 failed, where 0.5 % may
    expect(burning).to_contain_text("spent 50.0")
    expect(burning.locator(".bar.high")).to_be_visible()
    expect(page.locator("#objectives tbody tr").first.locator(".bad-ink").first).to_be_visible()  # the loudest first
    expect(page.locator("#alerts .bad")).to_contain_text(
        re.compile(r"objectives fire \(page\) since .*: .*Availability, gold")
    )
    expect(page.locator("#alerts .warn")).to_contain_text("Good request, gold")

    for _ in range(30):
        house.serve(Outcome.COMPLETED, 60)
        house.judge()
    expect(burning).not_to_contain_text("GoldAvailabilityPageQuick")
    expect(page.locator("#alerts")).not_to_contain_text("Availability, gold;")


def test_who_failed_and_who_was_refused_is_seen_with_the_reason(browse: Callable[..., Page], house: Any) -> None:
    world = house.traced
    failed = world.begin("request-that-broke")
    entry = world.submit(failed)
    world.dispatch(entry, "engine-0")
    world.token(entry, first=True)
    failed.first_token()
    world.die(entry)
    world.end(failed, entry, Refused(Outcome.ENGINE_FAILED, "the engine died, and no attempt was left"))
    refused = world.begin("request-that-was-refused")
    world.end(refused, None, Refused(Outcome.OVERLOADED, "it would be late", limit="ttft=1s (gold)", measured="3.1 s"))
    house.keep_traces()
    page = browse(house.url)
    house.serve(Outcome.COMPLETED, 30)
    house.serve(Outcome.ENGINE_FAILED, 3)
    house.serve(Outcome.OVERLOADED, 12, limit="ttft=1s (gold)", prompt_tokens=0)

    expect(page.locator("#tiles")).to_contain_text(re.compile(r"Refused\s*12"))
    expect(page.locator("#tiles")).to_contain_text(re.compile(r"Failed\s*3"))
    outcomes = page.locator("#outcomes tbody tr")
    expect(outcomes.filter(has_text="engine failed")).to_contain_text("a fault of ours")
    expect(outcomes.filter(has_text="overloaded")).to_contain_text(re.compile(r"refused\s*12\s*12"))
    expect(page.locator("#reasons")).to_contain_text(re.compile(r"ttft\s*12"))
    expect(page.locator("#decided")).to_contain_text("12 refused (27 %)")

    page.get_by_role("radio", name="Failed").click()
    rows = page.locator("#requests tbody tr")
    expect(rows.filter(has_text="request-that-broke").locator(".badge.bad")).to_contain_text("engine failed")
    page.get_by_role("radio", name="Latest").click()
    expect(rows.filter(has_text="request-that-was-refused").locator(".badge")).to_contain_text("overloaded")
    rows.filter(has_text="request-that-broke").locator("button").click()
    expect(page.locator("#waterfall [data-span=attempt] .name").first).to_have_text("✕ attempt 1 · engine-0")


def test_brownout_is_seen_with_its_steps(browse: Callable[..., Page], house: Any) -> None:
    page = browse(house.url)
    house.do(lambda: house.gateway.admission({"brownout_level.demo": 0.0, "pressure.demo": 0.4}))
    expect(page.locator("#brownout")).to_contain_text("level 0 of")
    house.do(lambda: house.gateway.admission({"brownout_level.demo": 2.0, "pressure.demo": 1.25}))

    expect(page.locator("#brownout .step.on")).to_have_count(2)
    expect(page.locator("#brownout")).to_contain_text("pressure 1.25")
    expect(page.locator("#tiles")).to_contain_text(re.compile(r"Brownout\s*level 2"))
    expect(page.locator("#timeline li[data-kind=brownout]").first).to_contain_text("brownout level 2")


def test_without_engines_for_long_it_says_so_and_stays(browse: Callable[..., Page], house: Any) -> None:
    page = browse(house.url)
    parked = {"state": "parked", "pid": None, "running": 0, "waiting": 0}
    for one in house.overseer.said["engines"]:
        house.is_told(died(one["id"]))
    house.says(engines=[one | parked for one in house.overseer.said["engines"]], ready=False)

    expect(page.locator("#standing")).to_contain_text("not ready")
    expect(page.locator("#alerts")).to_contain_text("model demo: no engine is ready (2 parked)")
    expect(page.locator("#pool-note")).to_have_text("no engine is ready")
    expect(page.locator("#engines .badge.bad")).to_have_count(2)
    expect(page.locator("#tiles")).to_contain_text("0/2")
    expect(page.locator("#timeline li[data-kind=died]")).to_have_count(2)
    house.says(engines=[], models=[])
    expect(page.locator("#pool-note")).to_contain_text("no engines are known")
    expect(page.locator("#alerts")).to_contain_text("no model is served yet")


def died(engine_id: str) -> EngineDied:
    cause, message = ExitCause.OUT_OF_MEMORY, "out of memory, status 3"
    return EngineDied(engine_id=engine_id, incarnation=1, cause=cause, message=message, aboard=(), detected_ns=1)


def test_without_gateways_for_long_it_says_so_and_stays(browse: Callable[..., Page], house: Any) -> None:
    page = browse(house.url)
    gone = {"state": "backoff", "pid": None, "open_requests": 0, "loop_lag_ms": None}
    house.says(gateways=[one | gone for one in house.overseer.said["gateways"]])

    expect(page.locator("#standing")).to_contain_text("not ready")
    expect(page.locator("#alerts")).to_contain_text("no gateway is running")
    expect(page.locator("#pool-note")).to_contain_text("1 of 1 gateways gone")
    page.locator("#prompt-text").press("Control+Enter")
    expect(page.locator("#answer")).to_contain_text("does not say where its gateways listen")


def test_a_supervisor_that_is_silent_for_long_leaves_what_it_said(browse: Callable[..., Page], house: Any) -> None:
    page = browse(house.url)
    house.do(lambda: setattr(house.overseer, "problem", "the supervisor did not answer within 2 s"))

    expect(page.locator("#standing")).to_contain_text("supervisor silent")
    expect(page.locator("#alerts")).to_contain_text(
        re.compile(r"The pool is shown as it was|the pool is shown as it was")
    )
    expect(page.locator("#engines tbody tr")).to_have_count(2)
