"""Campaigns against a real instance, as a user and as a drill start them; and plain Locust, on two workers."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from spillway.bench.served import Served

LOCUSTFILE = Path(__file__).parents[2] / "loadtests" / "locustfile.py"
DEADLINE_S = 180.0
BUSY = ("--lag-limit-ms", "10000")
"""The machine of these tests is nobody's own: that a generator lagged there says nothing."""
CAMPAIGN = """
about = "For a test."
duration_s = 5
arrivals = {{ process = "poisson", rate = 6 }}
[clients]
leave = 0.2
[good.all]
ttft_ms = 60000
tpot_ms = 60000
[[objectives]]
kind = "latency"
measure = "ttft"
percentile = 50
at_most_ms = {at_most_ms}
"""


def ran(*command: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE_S, cwd=folder)


def load(served: Served, folder: Path, *, at_most_ms: float, more: tuple[str, ...] = BUSY) -> Any:
    (folder / "campaign.toml").write_text(CAMPAIGN.format(at_most_ms=at_most_ms), encoding="utf-8")
    command = [sys.executable, "-m", "spillway_load", "campaign.toml", "--url", served.api_url, "--out", "out"]
    return ran(*command, "--progress", "json", *more, folder=folder)


def test_a_campaign_of_five_seconds(served: Served, tmp_path: Path) -> None:
    done = load(served, tmp_path, at_most_ms=60_000, more=("--workers", "2", *BUSY))
    assert done.returncode == 0, done.stderr + done.stdout
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    fates = result["fates"]
    assert sum(fates.values()) == result["arrivals"] == sum(result["outcomes"].values()) > 0
    assert fates["good"] == result["exactness"]["exact"] > 0
    assert fates["left"] == result["arrivals"] - fates["good"] > 0
    assert sum(second["due"] for second in result["timeline"]) == result["arrivals"]
    assert result["server"]["n"] == fates["good"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<svg") >= 6
    assert "http" not in page.replace(served.api_url, "").replace("http://www.w3.org/2000/svg", "")
    assert "started" in json.loads(done.stderr.splitlines()[0])


def test_a_missed_objective_is_an_exit_status(served: Served, tmp_path: Path) -> None:
    done = load(served, tmp_path, at_most_ms=0.001, more=("--duration", "1", *BUSY))
    assert done.returncode == 1, done.stderr + done.stdout
    assert json.loads((tmp_path / "out" / "result.json").read_text())["met"] is False


def test_a_generator_that_lags_is_an_exit_status(served: Served, tmp_path: Path) -> None:
    done = load(served, tmp_path, at_most_ms=60_000, more=("--duration", "1", "--lag-limit-ms", "0.0001"))
    assert done.returncode == 3, done.stderr + done.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("steady", "--url", "http://127.0.0.1:1"), 4, "nothing answers at http://127.0.0.1:1"),
        (("stedy",), 2, "did you mean 'steady'"),
        (("steady", "--url", "ftp://x"), 2, "is no address"),
        (("steady", "--rate", "-1"), 2, "is not above 0"),
    ],
    ids=["unreachable", "name", "address", "argument"],
)
def test_what_cannot_be_run_is_told_in_a_line(
    arguments: tuple[str, ...], status: int, told: str, tmp_path: Path
) -> None:
    done = ran(sys.executable, "-m", "spillway", "load", *arguments, folder=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (status, 1), done.stderr
    assert told in done.stderr


def locust(served: Served, folder: Path, *more: str, at_most_ms: float) -> "subprocess.CompletedProcess[str]":
    (folder / "campaign.toml").write_text(CAMPAIGN.format(at_most_ms=at_most_ms), encoding="utf-8")
    command = [str(Path(sys.executable).with_name("locust")), "-f", str(LOCUSTFILE), "--headless", "-u", "4", "-r", "4"]
    return ran(*command, "--host", served.api_url, "--campaign", "campaign.toml", *more, *BUSY, folder=folder)


def test_locust_on_two_workers(served: Served, tmp_path: Path) -> None:
    more = ("--processes", "2", "-t", "3s", "--rate-per-user", "3", "--stop-timeout", "20")
    done = locust(served, tmp_path, *more, "--out", "out", "--json-file", "locust", at_most_ms=60_000)
    assert done.returncode == 0, done.stderr + done.stdout
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    entries = json.loads((tmp_path / "locust.json").read_text())
    assert result["arrivals"] == sum(entry["num_requests"] for entry in entries) > 0
    assert result["exactness"]["inexact"] == 0
    assert {entry["method"] for entry in entries} == {"POST"}, "TTFT and the like are no requests of their own"


def test_locust_tells_a_missed_objective_by_its_exit_status(served: Served, tmp_path: Path) -> None:
    done = locust(served, tmp_path, "-t", "1s", at_most_ms=0.001)
    assert done.returncode == 1, done.stderr + done.stdout
    assert "MISSED ttft p50" in done.stdout


def test_locust_alone_patches_what_it_imports() -> None:
    code = "import socket, spillway_load.command, spillway_load.worker; print(socket.socket.__module__)"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COV")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "socket\n"
