"""What of this machine each engine gets: a GPU, or a share of one, or a share of the cores. Without torch."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_DEVICE = re.compile(r"nvidia\d+")
_UUID = re.compile(r"^GPU UUID:\s*(GPU-\S+)$", re.MULTILINE)
_MINOR = re.compile(r"^Device Minor:\s*(\d+)$", re.MULTILINE)
_GPU_SHARE = 0.9
"""Of a GPU's memory, for all engines on it together."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is to share."""

    num_cores: int
    gpus: tuple[str, ...] = ()
    """As `CUDA_VISIBLE_DEVICES` names them."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one engine gets: settings that hold unless the user gave others, and its environment."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


def look(
    environment: Mapping[str, str] = os.environ,
    devices: Path = Path("/dev"),
    driver: Path = Path("/proc/driver/nvidia/gpus"),
) -> Machine:
    """Count the cores that this process may use and the GPUs that it may see.

    GPUs are named by UUID where the driver tells it: an index means another GPU to CUDA than to the driver, and another
    one again after a GPU was lost. Where it does not, or `CUDA_VISIBLE_DEVICES` names them, by what is known.
    """
    num_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        gpus = [name.strip() for name in visible.split(",") if name.strip() not in {"", "-1"}]
    else:
        minors = sorted(int(name.removeprefix("nvidia")) for name in _names(devices) if _DEVICE.fullmatch(name))
        uuids = _uuids(driver)
        gpus = [uuids[minor] for minor in minors] if uuids.keys() >= set(minors) else list(map(str, range(len(minors))))
    return Machine(num_cores, tuple(gpus))


def _names(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError:
        return []


def _uuids(driver: Path) -> dict[int, str]:
    """Return the driver's GPUs: minor number of the device file to UUID."""
    found = {}
    for name in _names(driver):
        try:
            text = (driver / name / "information").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        uuid, minor = _UUID.search(text), _MINOR.search(text)
        if uuid is not None and minor is not None:
            found[int(minor[1])] = uuid[1]
    return found


def gpus_for(machine: Machine, device: str) -> tuple[str, ...]:
    """Return the GPUs that engines with this device setting would use.

    Only an explicit `cuda` takes them: engines run on the CPU if the choice is left to them.
    """
    return machine.gpus if device == "cuda" else ()


def share(machine: Machine, num_active: int, device: str, *, num_standby: int = 0) -> list[Share]:
    """Share the machine among all engines: GPUs in turn, else cores in equal parts; one share for each engine.

    An engine on standby waits, so it takes no cores from those that serve: it has as many as the one that it replaces.
    What it loads fills a GPU's memory all the same.
    """
    num_engines = num_active + num_standby
    gpus = gpus_for(machine, device)
    if not gpus:
        threads = max(1, machine.num_cores // max(1, num_active))
        return [Share({"threads": threads})] * num_engines
    shares = []
    for number in range(num_engines):
        place = number % len(gpus)
        num_together = len(range(place, num_engines, len(gpus)))
        settings = {} if num_together == 1 else {"gpu_memory_utilization": round(_GPU_SHARE / num_together, 3)}
        shares.append(Share(settings, {"CUDA_VISIBLE_DEVICES": gpus[place]}))
    return shares
