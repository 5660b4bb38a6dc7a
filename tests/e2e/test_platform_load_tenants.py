"""Campaigns and Locust against a Spillway that knows its tenants, over https: real keys, several workers, a shape."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from playwright.sync_api import Error as PlaywrightError

from spillway.bench.kills import PATIENT
from spillway.bench.served import SERVES_ALL, Served

LOCUSTFILE = Path(__file__).parents[2] / "loadtests" / "locustfile.py"
DEADLINE_S = 180.0
BUSY = ("--lag-limit-ms", "10000")
CAMPAIGN = """
about = "For a test."
duration_s = 4
arrivals = { process = "poisson", rate = 6 }
shape = { kind = "spike", begins = 0.25, lasts = 0.5, times = 2.0 }
[good.all]
ttft_ms = 60000
tpot_ms = 60000
[[objectives]]
kind = "share"
measure = "available"
at_least = 100
"""


@dataclass(frozen=True)
class Secured:
    """An instance behind a certificate of its own, and two tenants' keys."""

    served: Served
    certificate: Path
    keys: Path

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.served.api[1]}"


def ran(*command: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE_S, cwd=folder)


@pytest.fixture(scope="module")
def secured() -> Iterator[Secured]:
    with tempfile.TemporaryDirectory(prefix="spillway-e2e-") as name:
        folder = Path(name)
        certificate, key = folder / "own.pem", folder / "own.key"
        openssl = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        named = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
        subprocess.run(
            [*openssl, *named, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True
        )
        environment = os.environ | {"SPILLWAY_STATE_DIR": str(folder / "state")}
        lines = []
        for tenant in ("acme", "globex"):
            add = [sys.executable, "-m", "spillway", "tenants", "add", tenant]
            done = subprocess.run(add, capture_output=True, text=True, check=True, timeout=60, env=environment)
            lines.append(f'{tenant} = "{done.stdout.split()[-1]}"\n')
        keys = folder / "keys.toml"
        keys.write_text("".join(lines), encoding="utf-8")
        tls = ("--tls-certificate", str(certificate), "--tls-key", str(key))
        flags = ("--engines", "1", "--drain-grace-s", "0", *PATIENT, *SERVES_ALL)
        instance = Served.start(*flags, *tls, folder=folder)
        try:
            yield Secured(instance, certificate, keys)
        finally:
            instance.end()


def test_a_campaign_of_tenants_over_https_on_three_workers(secured: Secured, tmp_path: Path) -> None:
    (tmp_path / "campaign.toml").write_text(CAMPAIGN, encoding="utf-8")
    command = [sys.executable, "-m", "spillway_load", "campaign.toml", "--url", secured.url, "--out", "out", *BUSY]
    trusting = ("--ca", str(secured.certificate))
    keyed = ("--keys", str(secured.keys))
    done = ran(*command, *trusting, *keyed, "--workers", "3", folder=tmp_path)
    assert done.returncode == 0, done.stderr + done.stdout
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["outcomes"] == {"completed": result["arrivals"]}
    assert result["exactness"]["exact"] == result["arrivals"]

    told = ran(*command, *trusting, "--duration", "1", folder=tmp_path)
    assert told.returncode == 1
    assert list(json.loads((tmp_path / "out" / "result.json").read_text())["outcomes"]) == ["unauthenticated"]
    told = ran(*command, *keyed, "--duration", "1", folder=tmp_path)
    assert told.returncode == 4
    assert "is not trusted: CERTIFICATE_VERIFY_FAILED; name the authority of its certificate with --ca" in told.stderr


def locust(secured: Secured, *more: str) -> list[str]:
    command = [str(Path(sys.executable).with_name("locust")), "-f", str(LOCUSTFILE), "--host", secured.url]
    own = ["--ca", str(secured.certificate), "--keys", str(secured.keys), "--campaign", "campaign.toml", *BUSY]
    return [*command, *own, *more]


def test_locust_follows_a_shape_on_three_workers_with_keys_over_https(secured: Secured, tmp_path: Path) -> None:
    (tmp_path / "campaign.toml").write_text(CAMPAIGN, encoding="utf-8")
    shaped = ("--headless", "--follow-shape", "--rate-per-user", "3", "--processes", "3", "--stop-timeout", "20")
    done = ran(*locust(secured, *shaped, "--out", "out", "--csv", "seen"), folder=tmp_path)
    assert done.returncode == 0, done.stderr + done.stdout
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["outcomes"] == {"completed": result["arrivals"]}
    assert "Shape test starting" in done.stderr
    assert "Shape test completed" in done.stderr or "Shape test stopping" in done.stderr


def test_locusts_own_page_starts_a_test_and_shows_our_report(
    secured: Secured, chromium: Browser, tmp_path: Path
) -> None:
    (tmp_path / "campaign.toml").write_text(CAMPAIGN, encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = locust(secured, "--web-host", "127.0.0.1", "--web-port", str(port), "-u", "4", "-r", "4")
    with (tmp_path / "locust.log").open("w") as log, subprocess.Popen(command, cwd=tmp_path, stderr=log) as process:
        try:
            page = chromium.new_context(viewport={"width": 1280, "height": 900}).new_page()
            opened(page, f"http://127.0.0.1:{port}/")
            page.get_by_role("button", name="Start", exact=False).first.click()
            expect(page.get_by_text("POST").first).to_be_visible()
            report = page.context.new_page()
            opened(report, f"http://127.0.0.1:{port}/spillway", until="For a test.")
            expect(report.locator("svg").first).to_be_visible()
            page.context.close()
        finally:
            process.terminate()


def opened(page: Page, url: str, *, until: str = "Locust") -> None:
    """Open a page that another process is about to serve, and again until it says something."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            page.goto(url)
            if until in page.content():
                return
        except PlaywrightError:
            pass
        assert time.monotonic() < deadline, url
        page.wait_for_timeout(200)
