"""Takes the pictures of the console: `python docs/take_pictures.py` writes docs/pictures/console-*.png.

It starts a Spillway of its own, lets clients count, kills an engine on which some of them are, and photographs what the
console shows of it: the death and the return, the waterfall of a request that was recovered, a prompt's timings.
"""

import asyncio
import os
import random
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Final

from playwright.async_api import Browser, Page, async_playwright

from spillway.bench.kills import PATIENT
from spillway.bench.served import Served
from spillway.bench.streams import Count, stream

PICTURES: Final = Path(__file__).parent / "pictures"
NUM_CLIENTS: Final = 5
BEFORE_S: Final = 25.0
AFTER_S: Final = 12.0
SEED: Final = 1
WIDE: Final = {"width": 1440, "height": 1330}
PHONE: Final = {"width": 390, "height": 844}


async def main() -> None:
    """Take them all."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="spillway-pictures-") as folder:
        served = Served.start("--engines", "2", "--drain-grace-s", "0", *PATIENT, folder=Path(folder))
        try:
            await photograph(served)
        finally:
            served.end()


async def photograph(served: Served) -> None:
    """Have something happen, and take pictures of it."""
    async with async_playwright() as playwright:
        program = shutil.which("chromium") or "chromium"
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = await open_page(browser, served)
        clients = [asyncio.create_task(client(served, number)) for number in range(NUM_CLIENTS)]
        await asyncio.sleep(BEFORE_S)
        await kill(served)
        await page.locator("#timeline li[data-kind=returned]").wait_for()
        await asyncio.sleep(AFTER_S)
        await choose(page)
        await page.screenshot(path=PICTURES / "console-light.png")
        await page.emulate_media(color_scheme="dark")
        await asyncio.sleep(1.5)
        await page.screenshot(path=PICTURES / "console-dark.png")
        await page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
        await asyncio.sleep(1.5)
        await page.screenshot(path=PICTURES / "console-phone.png")
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        await browser.close()


async def open_page(browser: Browser, served: Served) -> Page:
    """Open the console, and wait until it shows the pool."""
    page = await browser.new_page(viewport={"width": WIDE["width"], "height": WIDE["height"]}, color_scheme="light")
    await page.goto(f"{served.ops_url}/console")
    await page.locator("#engines tbody tr").first.wait_for()
    return page


async def choose(page: Page) -> None:
    """Show a recovered request, and send a prompt."""
    await page.locator("#which [data-value=recovered]").click()
    await page.locator("#requests tbody button").first.click()
    await page.locator("#waterfall .span").first.wait_for()
    await page.locator("#prompt-send").click()
    await page.locator("#strip canvas").wait_for()
    await asyncio.sleep(1.5)
    await page.evaluate("scrollTo(0, 0)")


async def client(served: Served, number: int) -> None:
    """Ask for ever, with pauses."""
    randomness = random.Random(SEED + number)
    while True:
        link = await served.connect()
        for _ in range(20):
            await stream(link, Count.draw(randomness, randomness.randint(10, 90)).fields())
            await asyncio.sleep(randomness.uniform(0.02, 0.25))
        link.close()


async def kill(served: Served) -> None:
    """Kill an engine while requests run on it."""
    state = await served.until(lambda pool: any(engine["running"] for engine in pool["engines"]))
    os.kill(max(state["engines"], key=lambda engine: engine["running"])["pid"], signal.SIGKILL)


if __name__ == "__main__":
    asyncio.run(main())
