"""One Spillway for all end-to-end tests of the platform, started as a user would, and a browser to look at it."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from spillway.bench.kills import PATIENT
from spillway.bench.served import SERVES_ALL, Served


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    with tempfile.TemporaryDirectory(prefix="spillway-e2e-") as folder:
        flags = ("--engines", "2", "--chaos", "--drain-grace-s", "0", *PATIENT, *SERVES_ALL)
        instance = Served.start(*flags, folder=Path(folder))
        try:
            yield instance
        finally:
            instance.end()


# ---- the console, in a browser ----

PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser for the tests of one file: while it is there, an event loop runs in this thread, and no other can."""
    with sync_playwright() as playwright:
        program = shutil.which("chromium") or "chromium"  # Debian's; nothing is downloaded
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


def is_wrong(said: ConsoleMessage) -> bool:
    """Whether a script or the page's policy complains; a refusal by ops is for the page to tell."""
    return said.type == "error" and not said.text.startswith("Failed to load resource")


@pytest.fixture
def browse(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Opens the console of an ops port as a new visitor; at the end nothing may have gone wrong in it."""
    pages: list[Page] = []
    wrong: list[str] = []

    def visit(ops_url: str, **how: Any) -> Page:
        page = chromium.new_context(**({"viewport": {"width": 1440, "height": 1000}} | how)).new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if is_wrong(said) else None)
        pages.append(page)
        page.goto(f"{ops_url}/console")
        expect(page.locator("#standing")).to_contain_text("serving")
        return page

    yield visit
    for page in pages:
        page.context.close()
    assert wrong == []


@pytest.fixture
def open_console(browse: Callable[..., Page], served: Served) -> Callable[..., Page]:
    """Opens the console of the one Spillway."""
    return lambda **how: browse(served.ops_url, **how)
