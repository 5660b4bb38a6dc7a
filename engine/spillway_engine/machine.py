"""What this machine gives: cores and memory, as far as the cgroup (version 2) of this process allows.

A container sees its host's cores and memory; what it may take of them stands in its cgroup alone.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def num_threads() -> int:
    """Return how many cores this process may use: whole ones, for threads that wait for each other, and at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = (quota for folder in cgroup_folders() if (quota := cpu_quota(folder)) is not None)
    return max(1, int(min(cores, *quotas, cores)))


def available_bytes() -> int:
    """Return how much memory can be taken now without swapping and without passing a limit."""
    free = int(psutil.virtual_memory().available)
    left = (left for folder in cgroup_folders() if (left := memory_left(folder)) is not None)
    return min(free, *left, free)


def cgroup_folders(mount: Path = CGROUPS, membership: Path = MEMBERSHIP) -> Iterator[Path]:
    """Return the folder of this process's cgroup and those of all around it: each may have limits of its own.

    Not all need exist: a container may see the path that it has outside, but only its own part of the tree.
    """
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("0::"):
            path = Path(line.removeprefix("0::").strip("/"))
            yield from (mount / part for part in (path, *path.parents))
            return


def memory_left(folder: Path) -> int | None:
    """Return how many bytes processes in a cgroup may still take, or None without a limit.

    Cached file pages count as left: the kernel gives them up when they are in the way.
    """
    limit, current = _number(folder / "memory.max"), _number(folder / "memory.current")
    if limit is None or current is None:
        return None
    fields = dict(line.split(maxsplit=1) for line in _read(folder / "memory.stat").splitlines())
    cached = sum(int(fields.get(key, 0)) for key in ("active_file", "inactive_file"))
    return max(0, limit - current + cached)


def cpu_quota(folder: Path) -> float | None:
    """Return how many cores' time a cgroup gets, or None without a limit."""
    match _read(folder / "cpu.max").split():
        case [quota, period] if quota != "max":
            return int(quota) / int(period)
    return None


def _number(file: Path) -> int | None:
    text = _read(file).strip()
    return int(text) if text.isdigit() else None


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""
