"""The console in a real browser, before a real Spillway: a kill and its recovery, a prompt, orders, and losses."""

import asyncio
import os
import re
import signal
import threading
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, expect

from spillway.bench.served import Served
from spillway.bench.streams import Count, stream


def on_another_thread(work: Callable[[], None]) -> threading.Thread:
    """Playwright has a loop of its own in this one."""
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def pool(served: Served) -> dict[str, Any]:
    found: list[dict[str, Any]] = []
    on_another_thread(lambda: found.append(asyncio.run(served.pool()))).join()
    return found[0]


def kill_under_load(served: Served) -> None:
    """Kill an engine while streams run on it, and see all of them to their right end."""

    async def follow(count: Count, begun: asyncio.Event) -> None:
        link = await served.connect()
        answer = await stream(link, count.fields(), on_text=lambda _: begun.set())
        link.close()
        assert answer.texts[0] == count.answer

    async def drive() -> None:
        begun = asyncio.Event()
        counts = [Count(number, number + 250) for number in range(1, 320, 40)]
        streams = [asyncio.create_task(follow(count, begun)) for count in counts]
        await begun.wait()
        engines = (await served.pool())["engines"]
        os.kill(max(engines, key=lambda engine: engine["running"])["pid"], signal.SIGKILL)
        await asyncio.gather(*streams)

    failures: list[BaseException] = []

    def work() -> None:
        try:
            asyncio.run(drive())
        except BaseException as error:  # noqa: BLE001 - it is raised where the test sees it
            failures.append(error)

    on_another_thread(work).join()
    assert failures == []


def give_key(page: Page, key: str) -> None:
    page.get_by_label("Key", exact=True).fill(key)
    page.get_by_role("button", name="Keep it").click()


# ---- what it shows ----


def test_it_shows_a_kill_its_recovery_and_the_waterfall_of_what_was_recovered(
    open_console: Callable[..., Page], served: Served
) -> None:
    page = open_console()
    died, returned = page.locator("#timeline li[data-kind=died]"), page.locator("#timeline li[data-kind=returned]")
    num_died, num_returned = died.count(), returned.count()

    kill_under_load(served)

    expect(died).to_have_count(num_died + 1)
    expect(died.first).to_contain_text("SIGKILL")
    expect(returned).to_have_count(num_returned + 1)
    expect(returned.first).to_contain_text(re.compile(r"ready again, [\d.]+ s after it died"))
    expect(returned.first.locator(".phases")).to_have_attribute("aria-label", re.compile("spawn .*load .*warm "))
    expect(page.locator("#engines .badge.good")).to_have_count(2)

    page.get_by_role("radio", name="Recovered").click()
    page.locator("#requests tbody button").first.click()
    spans = page.locator("#waterfall .span .name")
    expect(spans.first).to_have_text("chat demo")
    attempts = page.locator("#waterfall [data-span=attempt] .name")
    assert attempts.count() >= 2
    expect(attempts.first).to_have_text(re.compile(r"✕ attempt 1 · engine-\d"))
    expect(page.locator("#waterfall")).to_contain_text("stalled")
    page.locator("#waterfall [data-span=attempt]").first.click()
    expect(page.locator("#waterfall .detail:visible")).to_contain_text("spillway.engine")


def test_a_prompt_streams_with_its_timings_and_its_waterfall(open_console: Callable[..., Page]) -> None:
    page = open_console()
    page.locator("#prompt-text").fill("Count from 37 to 90.")
    page.locator("#prompt-text").press("Control+Enter")

    expect(page.locator("#answer")).to_have_text(" ".join(str(number) for number in range(37, 91)))
    expect(page.locator("#timings")).to_contain_text(re.compile(r"TTFT[\d.]+ m?s"))
    expect(page.locator("#timings")).to_contain_text("tokens55")
    expect(page.locator("#strip canvas")).to_be_visible()
    page.get_by_role("button", name="Show its waterfall").click()
    expect(page.locator("#waterfall .span .name").first).to_have_text("chat demo")


def test_what_was_asked_is_text_and_never_markup(open_console: Callable[..., Page]) -> None:
    page = open_console()
    page.locator("#prompt-text").fill("<img src=x onerror=alert(1)>")
    page.evaluate("() => document.querySelector('#prompt-model').append(new Option('<b>none</b>', '<b>none</b>'))")
    page.locator("#prompt-model").select_option("<b>none</b>")
    with page.expect_response("**/console/prompt") as answered:
        page.get_by_role("button", name="Send").click()
    assert answered.value.status == 404
    expect(page.locator("#answer")).to_contain_text("<b>none</b>")
    assert page.locator("#answer b").count() == 0


# ---- what it changes ----


def test_drain_and_restart_need_the_key_once(open_console: Callable[..., Page], served: Served) -> None:
    page = open_console()
    page.get_by_role("button", name="Drain engine-1").click()
    page.get_by_role("button", name="Drain", exact=True).last.click()
    expect(page.locator("#key-dialog")).to_be_visible()
    give_key(page, served.admin_key)
    row = page.locator("#engines tr[data-engine=engine-1]")
    expect(row.locator(".badge")).to_contain_text("stopped")
    expect(page.locator("#timeline")).to_contain_text("engine-1 ordered to drain")

    page.get_by_role("button", name="Restart engine-1").click()
    page.get_by_role("button", name="Restart", exact=True).last.click()
    expect(row.locator(".badge")).to_contain_text("ready")
    assert page.evaluate("Object.keys(sessionStorage)") == ["spillway.adminKey"]
    assert served.admin_key not in page.content()


def test_a_fault_is_ordered_and_seen(open_console: Callable[..., Page], served: Served) -> None:
    page = open_console()
    page.get_by_role("button", name="Choose a fault").click()
    give_key(page, served.admin_key)
    page.locator("#fault-name").select_option("slow_step")
    page.locator("#fault-value").fill("0.01")
    page.get_by_role("button", name="Order it").click()
    expect(page.locator("#timeline li[data-kind=fault]").first).to_contain_text("fault ordered: slow_step")


def test_a_profile_of_a_gateway_is_a_file(open_console: Callable[..., Page], served: Served) -> None:
    page = open_console()
    page.get_by_role("button", name="Admin key").click()
    give_key(page, served.admin_key)
    with page.expect_download() as download:
        page.get_by_role("button", name="Profile gateway-0").click()
    assert re.fullmatch(r"gateway-0-\d+\.speedscope\.json", download.value.suggested_filename)


# ---- what it bears ----


def test_a_lost_stream_is_told_and_found_again(open_console: Callable[..., Page], served: Served) -> None:
    page = open_console()
    started = page.locator("#timeline li[data-kind=started]")
    expect(started).not_to_have_count(0)
    num_started = started.count()
    os.kill(pool(served)["ops"]["pid"], signal.SIGKILL)

    expect(page.locator("#alerts")).to_contain_text("The stream was lost at")
    expect(page.locator("#alerts")).not_to_contain_text("The stream was lost at")
    expect(page.locator("#standing")).to_contain_text("serving")
    expect(started).to_have_count(num_started)  # what the one before knew is told again


def test_it_stays_up_without_gateways(open_console: Callable[..., Page], served: Served) -> None:
    page = open_console()
    os.kill(pool(served)["gateways"][0]["pid"], signal.SIGKILL)

    expect(page.locator("#timeline li[data-kind=died]").first).to_contain_text("gateway-0")
    expect(page.locator("#services tr[data-service=gateway-0] .badge")).to_contain_text("ready")
    expect(page.locator("#standing")).to_contain_text("serving")
