"""Signals to processes of the platform, and to nothing else."""

import os
import signal
import time
from typing import Any

import psutil

from spillway_chaos.deadman import Continue
from spillway_chaos.errors import FaultError
from spillway_chaos.stage import targets
from spillway_chaos.stage.stage import current

_LOOK_S = 0.02


def signal_process(
    kind: targets.Kind, name: str = "SIGKILL", which: targets.Which = "drawn", jitter_s: float = 0.0
) -> dict[str, Any]:
    """Send a signal to one process of a kind, after a moment drawn by the seed; return whom it hit.

    `busiest` waits, a little, until one has something to do: a blow to the idle shows nothing.
    """
    stage = current()
    stage.pause(stage.randomness.uniform(0.0, jitter_s))
    number = _signal(name)
    stage.notes["struck_before"] = stage.scrape()
    target = stage.target(kind, which)
    if number == signal.SIGSTOP:
        stage.notes.setdefault("undo", []).append(stage.undo_later(Continue(pid=target.pid, born=target.born)))
    stage.notes["family"] = [child.pid for child in psutil.Process(stage.instance.pid).children(recursive=True)]
    stage.strike(name, kind, target.id, pid=target.pid, born=target.born, incarnation=target.incarnation)
    os.kill(target.pid, number)
    return {"id": target.id, "pid": target.pid, "incarnation": target.incarnation}


def continue_process(kind: targets.Kind) -> None:
    """Let what `signal_process` stopped of a kind go on, if it is still there."""
    stage = current()
    for number in stage.notes.pop("undo", []):
        stage.undo_now(number)


def restart_platform() -> None:
    """Start the platform again where it was, as a service manager would do after the death of its supervisor."""
    current().restart_platform()


def crash_loop(which: targets.Which = "drawn", within_s: float = 20.0) -> dict[str, Any]:
    """Kill an engine, and each of its successors as soon as it is there, until it is given up or the time is over."""
    stage = current()
    target = stage.target("engine", which)
    stage.strike("crash loop", "engine", target.id, pid=target.pid, born=target.born, incarnation=target.incarnation)
    killed: list[int] = []
    deadline = time.monotonic() + within_s
    state = ""
    while time.monotonic() < deadline and state != "parked":
        place = next(place for place in stage.instance.pool()["engines"] if place["id"] == target.id)
        state = str(place["state"])
        pid = place["pid"]
        if pid and pid not in killed and state != "parked":
            found = targets.owned(stage.instance.pid, place, "engine")
            os.kill(found.pid, signal.SIGKILL)
            killed.append(pid)
        stage.pause(_LOOK_S)
    stage.notes["crash_loop"] = {"id": target.id, "kills": len(killed), "state": state}
    return dict(stage.notes["crash_loop"])


def _signal(name: str) -> signal.Signals:
    try:
        return signal.Signals[name]
    except KeyError:
        raise FaultError(f"{name!r} is no signal; write SIGKILL, SIGSTOP, SIGTERM, …") from None
