"""Drills against whole Spillways of their own, as a user runs them: they hold, they can fail, and they leave nothing.

They share a worker with the other tests of running platforms: what a drill measures, a neighbour would disturb.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
import yaml

from spillway.bench.served import SERVES_ALL
from spillway_chaos import drill as drills

PATIENCE_S = 240.0
CHAOS = [sys.executable, "-m", "spillway_chaos"]


def chaos(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*CHAOS, *words], cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE_S)


def journals(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob(".chaos/journals/*/*.json"))]


def unhurried(folder: Path, name: str) -> Path:
    """A shipped drill as it is, but for its times: on a machine that others use, too, they are for drills to judge."""
    content = yaml.safe_load(drills.shipped()[name].read_text(encoding="utf-8"))
    terms = content["extensions"][0]
    terms["platform"]["flags"] += SERVES_ALL
    terms["expect"] |= {
        "served_at_least": 0.1, "pause_at_most_s": 60, "detected_within_s": 30, "recovered_within_s": 60,
    }  # fmt: skip
    for step in content["method"]:
        if step["name"] == "a successor is ready":
            step["provider"]["arguments"]["within_s"] = 60
    file = folder / f"{name}-unhurried.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def test_a_kill_holds_and_its_control_turns_red(tmp_path: Path) -> None:
    done = chaos(tmp_path, "run", str(unhurried(tmp_path, "engine-kill")), "--quiet")
    assert done.returncode == 0, done.stdout + done.stderr
    held, control = journals(tmp_path)
    assert (held["verdict"], held["is_control"], held["deviated"]) == ("passed", False, False)
    assert all(finding["holds"] for finding in held["findings"])
    assert (control["verdict"], control["control_verdict"]) == ("failed", "red")
    broken = {finding["name"] for finding in control["findings"] if not finding["holds"]}
    assert {"complete", "resumed"} <= broken
    assert held["evidence"]["recoveries"] > 0 == control["evidence"]["recoveries"]


def test_a_fault_that_cannot_take_hold_shows_nothing(tmp_path: Path) -> None:
    content = yaml.safe_load(drills.shipped()["engine-kill"].read_text(encoding="utf-8"))
    content["method"][1]["provider"]["arguments"] |= {"name": "SIGCONT", "which": "drawn", "jitter_s": 0}
    content["method"][0]["provider"]["arguments"]["duration_s"] = 4
    content["extensions"][0].pop("control")
    content["extensions"][0]["without_control"] = "this drill is itself one"
    file = tmp_path / "harmless.yaml"
    file.write_text(yaml.safe_dump(content))
    done = chaos(tmp_path, "run", str(file), "--quiet")
    assert done.returncode == 3
    assert "engine-sigkill did not take hold" in done.stdout


def test_a_killed_runner_leaves_no_platform_nothing_stopped_and_no_folder(tmp_path: Path) -> None:
    before = set(Path(tempfile.gettempdir()).glob("spillway-drill-*"))
    runner = subprocess.Popen([*CHAOS, "run", "engine-hang", "--no-control"], cwd=tmp_path, stderr=subprocess.PIPE)
    assert runner.stderr is not None
    for line in runner.stderr:
        if b"the engine is stopped" in line:
            break
    children = psutil.Process(runner.pid).children(recursive=True)
    deadman = next(child for child in children if "spillway_chaos.deadman" in child.cmdline())
    os.kill(runner.pid, signal.SIGKILL)
    runner.wait()
    runner.stderr.close()
    _, alive = psutil.wait_procs([*children, deadman], timeout=PATIENCE_S)
    assert alive == []
    assert set(Path(tempfile.gettempdir()).glob("spillway-drill-*")) <= before
