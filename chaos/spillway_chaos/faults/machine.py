"""Faults of the machine, as far as they can be kept to processes of the platform."""

import os
import resource
import subprocess
import sys
from typing import Any

import psutil

from spillway_chaos.deadman import End, Limit
from spillway_chaos.errors import FaultError
from spillway_chaos.stage import clock, targets
from spillway_chaos.stage.stage import Stage, current

_SPIN = "while True: pass"


def starve_cpu(per_core: int = 2) -> dict[str, Any]:
    """Have other processes compete for every core; `end_starve` ends them."""
    stage = current()
    stage.strike("CPU starvation", "machine", "cpu")
    stage.notes["struck_before"] = stage.scrape()
    count = per_core * len(os.sched_getaffinity(0))
    spinners = [_spinner() for _ in range(count)]
    stage.notes["spinners"] = [spinner.pid for spinner in spinners]
    for spinner in spinners:
        undo = End(pid=spinner.pid, born=psutil.Process(spinner.pid).create_time())
        stage.notes.setdefault("undo", []).append(stage.undo_later(undo))

    def stop() -> None:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()

    stage.notes.setdefault("stop", []).append(stop)
    return {"spinners": count}


def _spinner() -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", _SPIN])  # noqa: S603 - our own


def end_starve() -> None:
    """End what `starve_cpu` started. Idempotent."""
    for stop in current().notes.pop("stop", []):
        stop()


def exhaust_descriptors(
    kind: targets.Kind = "gateway", left: int = 8, which: targets.Which = "drawn"
) -> dict[str, Any]:
    """Let a process open no more than so many further files and connections; `end_limits` gives its limit back."""
    stage = current()
    target = stage.target(kind, which)
    used = max(int(name) for name in os.listdir(f"/proc/{target.pid}/fd")) + 1  # noqa: PTH208 - numbers, not paths
    return _limit(stage, target, resource.RLIMIT_NOFILE, used + left, "descriptors")


def fill_disk(kind: targets.Kind = "gateway", which: targets.Which = "drawn") -> dict[str, Any]:
    """Let every further write of a process to a file fail, as on a full disk; `end_limits` gives its limit back."""
    stage = current()
    target = stage.target(kind, which)
    return _limit(stage, target, resource.RLIMIT_FSIZE, 0, "disk full")


def end_limits() -> None:
    """Give limits back. Idempotent."""
    stage = current()
    for number in stage.notes.pop("undo", []):
        stage.undo_now(number)


def jump_clock(seconds: float) -> None:
    """Move the wall clock of the whole platform; `end_jump` moves it back."""
    stage = current()
    if not stage.terms.platform.clock:
        raise FaultError("the platform's clock cannot be moved; the drill's platform needs `clock: true`")
    stage.strike("clock jump", "machine", "clock")
    stage.notes["clock"] = seconds
    clock.move(stage.folder, seconds)


def end_jump() -> None:
    """Let the clock be what it is."""
    clock.move(current().folder, 0.0)


def _limit(stage: Stage, target: targets.Target, what: int, soft: int, name: str) -> dict[str, Any]:
    before = resource.prlimit(target.pid, what)
    undo = Limit(pid=target.pid, born=target.born, what=what, soft=before[0], hard=before[1])
    stage.notes.setdefault("undo", []).append(stage.undo_later(undo))
    stage.notes["struck_before"] = stage.scrape()
    stage.strike(name, target.kind, target.id, pid=target.pid, born=target.born, incarnation=target.incarnation)
    resource.prlimit(target.pid, what, (soft, before[1]))
    stage.notes["limit"] = (target.pid, what, soft)
    return {"id": target.id, "limit": soft}
