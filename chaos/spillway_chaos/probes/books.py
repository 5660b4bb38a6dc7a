"""What an instance holds, so that a drill can show that all of it was given back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil

from spillway_chaos.stage.targets import count_processes

KEPT_OPEN: Final = 4
"""Descriptors that a process may have more than before: the client of Redis keeps what a burst had it open. What leaks,
leaks with every request, of which a drill has many."""


class Books(msgspec.Struct, frozen=True, kw_only=True):
    """Counted while nothing is asked."""

    processes: dict[str, int]
    """Children by kind."""
    runtime_files: int
    descriptors: dict[str, int]
    """Open files and connections, by place and incarnation: only the same process can be compared."""


def read(supervisor: int, pool: Mapping[str, Any], runtime: Path) -> Books:
    """Look at an instance."""
    places = {f"{each['id']}/{each['incarnation']}": each["pid"] for each in pool["gateways"] if each["pid"]}
    descriptors: dict[str, int] = {}
    for name, pid in {"supervisor": supervisor, **places}.items():
        try:
            descriptors[name] = psutil.Process(pid).num_fds()
        except psutil.NoSuchProcess:
            continue
    return Books(
        processes=dict(count_processes(supervisor)),
        runtime_files=len(list(runtime.iterdir())) if runtime.exists() else 0,
        descriptors=descriptors,
    )


def owed(before: Books, now: Books) -> str:
    """Return what was not given back."""
    wrong = []
    for kind in sorted(before.processes.keys() | now.processes.keys()):
        change = now.processes.get(kind, 0) - before.processes.get(kind, 0)
        if change:
            wrong.append(f"{change:+d} processes {kind}")
    if now.runtime_files != before.runtime_files:
        wrong.append(f"{now.runtime_files - before.runtime_files:+d} files in the runtime folder")
    for name, count in now.descriptors.items():
        if count > before.descriptors.get(name, count) + KEPT_OPEN:
            wrong.append(f"{count - before.descriptors[name]:+d} descriptors of {name}")
    return "; ".join(wrong)
