"""The load of a drill: begun before the fault, ended after it."""

from typing import Any

import psutil

from spillway_chaos import drill
from spillway_chaos.deadman import End
from spillway_chaos.errors import FaultError
from spillway_chaos.stage.load import LoadRun, together
from spillway_chaos.stage.stage import MAIN, Stage, current


def start_load(campaign: str = "steady", rate: float | None = None, duration_s: float = 12.0) -> None:
    """Start asking; returns when the first request can be due."""
    stage = current()
    stage.before = stage.scrape()
    begin(stage, MAIN, campaign, rate, duration_s)


def begin(stage: Stage, name: str, campaign: str, rate: float | None, duration_s: float) -> LoadRun:
    """Start a campaign: one that is shipped with drills, one that is shipped with the load, or a file."""
    ours = next((folder / "loads" / f"{campaign}.toml" for folder in drill.SHIPPED if folder.exists()), None)
    given = str(ours) if ours is not None and ours.exists() else campaign
    out = stage.folder / f"load-{name}"
    url, keys = stage.instance.api, stage.keys_file
    load = LoadRun(given, url, out, rate=rate, duration_s=duration_s, seed=stage.seed, keys=keys)
    stage.loads[name] = load
    stage.undo_later(End(pid=load.process.pid, born=psutil.Process(load.process.pid).create_time()))
    load.wait_for_start()
    return load


def finish_load() -> dict[str, Any]:
    """Wait until all has been asked and answered; return how it ended."""
    stage = current()
    load = stage.loads.get(MAIN)
    if load is None:
        raise FaultError("no load was started")
    result, more = load.finish(), stage.notes.get("more")
    stage.result = result if more is None else together(result, more)
    return {"arrivals": stage.result.arrivals, "fates": stage.result.fates, "outcomes": stage.result.outcomes}


def restore() -> None:
    """Undo every fault of the stage."""
    current().restore()
