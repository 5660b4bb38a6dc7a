"""Whom a fault may hit: processes that this stage's own Spillway started, on this host, and no more than was said."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import psutil

from spillway_chaos.errors import BlastError, FaultError

Kind = Literal["engine", "gateway", "ops", "redis", "supervisor"]
DRAWN: Final = "drawn"
BUSIEST: Final = "busiest"
Which = str
"""`drawn`: by the seed; `busiest`: the one with most requests; else an id, such as `engine-1`."""


@dataclass(frozen=True, slots=True)
class Target:
    """A process."""

    kind: str
    id: str
    pid: int
    born: float
    incarnation: int


@dataclass(slots=True)
class BlastRadius:
    """Counts whom faults have hit, and refuses one too many."""

    allowed: Mapping[str, int]
    hit: dict[str, set[str]] = field(default_factory=dict)

    def claim(self, kind: str, id_: str) -> None:
        """Take note that something is about to be hit. Raises `BlastError`; hitting the same one again is no more."""
        already = self.hit.setdefault(kind, set())
        if len(already | {id_}) > self.allowed.get(kind, 0):
            raise BlastError(
                f"{kind} {id_!r} is outside of the blast radius: at most {self.allowed.get(kind, 0)} of this kind "
                f"may be hit ({', '.join(sorted(already)) or 'none was so far'})"
            )
        already.add(id_)


def places(pool: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    """Return what the pool says of all of a kind."""
    match kind:
        case "engine" | "gateway":
            return list(pool[kind + "s"])
        case "supervisor":
            return [{"id": "supervisor", "incarnation": 1, "state": "ready", **pool["supervisor"]}]
        case _:
            return [pool[kind]]


def choose(pool: Mapping[str, Any], kind: str, which: Which, randomness: random.Random) -> dict[str, Any]:
    """Choose one of those that have a process. Raises `FaultError` if there is none."""
    running = [place for place in places(pool, kind) if place.get("pid")]
    if which not in {DRAWN, BUSIEST}:
        running = [place for place in running if place["id"] == which]
    if not running:
        raise FaultError(f"there is no {kind} to hit ({which})")
    if which == BUSIEST:
        return max(running, key=load_of)
    return randomness.choice(running)


def load_of(place: Mapping[str, Any]) -> int:
    """Return how many requests a place has."""
    return int(place.get("running", 0)) + int(place.get("waiting", 0)) + int(place.get("open_requests", 0))


def owned(supervisor: int, place: Mapping[str, Any], kind: str) -> Target:
    """Return the process of a place, if the supervisor is, or started, it. Raises `BlastError` or `FaultError`."""
    pid = int(place["pid"])
    try:
        process = psutil.Process(pid)
        born = process.create_time()
        family: Sequence[int] = [pid, *(parent.pid for parent in process.parents())]
    except psutil.NoSuchProcess:
        raise FaultError(f"{place['id']} (process {pid}) is gone already") from None
    if supervisor not in family:
        raise BlastError(
            f"process {pid} is no child of the platform that this drill started ({supervisor}); it is let alone"
        )
    return Target(kind, str(place["id"]), pid, born, int(place.get("incarnation", 1)))


def count_processes(supervisor: int) -> Counter[str]:
    """Return how many processes of each kind a supervisor has, by their command lines."""
    try:
        children = psutil.Process(supervisor).children(recursive=True)
    except psutil.NoSuchProcess:
        return Counter()
    found: Counter[str] = Counter()
    for child in children:
        try:
            words = child.cmdline()
        except psutil.NoSuchProcess:
            continue
        found[words[words.index("-m") + 1] if "-m" in words else (words or ["?"])[0].rpartition("/")[2]] += 1
    return found
