"""What an instance holds, so that a drill can show that all of it was given back."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import psutil

from spillway.bench.served import Served


@dataclass(frozen=True, slots=True)
class Books:
    """Everything that a request, a stream or an engine's life takes and must return."""

    states: dict[str, str]
    """Of engines and gateways, by id."""
    running: int
    waiting: int
    used_blocks: int
    open_requests: int
    journal_entries: int
    """Of the gateways' pools, as of their last beat."""
    processes: dict[str, int]
    """How many children of each kind."""
    runtime_files: int
    file_descriptors: dict[str, int]
    """Of supervisor and gateways; idle connections of clients must be closed for these to compare."""
    resident_mb: dict[str, float]
    """Of supervisor and gateways."""

    def owed(self, before: "Books") -> dict[str, Any]:
        """Return what is not as it was; memory, which allocators keep, is left to the caller."""
        owed: dict[str, Any] = {
            "states": {id_: state for id_, state in self.states.items() if state != "ready"},
            "running": self.running,
            "waiting": self.waiting,
            "used_blocks": self.used_blocks,
            "open_requests": self.open_requests,
            "journal_entries": self.journal_entries,
            "processes": _changed(before.processes, self.processes),
            "runtime_files": self.runtime_files - before.runtime_files,
            "file_descriptors": {
                id_: count - before.file_descriptors[id_]
                for id_, count in self.file_descriptors.items()
                if count > before.file_descriptors.get(id_, count)
            },
        }
        return {what: amount for what, amount in owed.items() if amount}


async def read_books(served: Served) -> Books:
    """Look at an instance."""
    pool = await served.pool()
    engines, gateways = pool["engines"], pool["gateways"]
    supervisor = psutil.Process(served.process.pid)
    watched = {"supervisor": supervisor} | {each["id"]: psutil.Process(each["pid"]) for each in gateways}
    blocks = [engine["kv_blocks"] for engine in engines]
    return Books(
        states={each["id"]: each["state"] for each in (*engines, *gateways)},
        running=sum(engine["running"] for engine in engines),
        waiting=sum(engine["waiting"] for engine in engines),
        used_blocks=sum(each["total"] - each["free"] for each in blocks),
        open_requests=sum(gateway["open_requests"] for gateway in gateways),
        journal_entries=round(sum(_journal_entries(gateway) for gateway in gateways)),
        processes=dict(Counter(_kind(child) for child in supervisor.children(recursive=True))),
        runtime_files=len(list((served.folder / "run").iterdir())),
        file_descriptors={id_: process.num_fds() for id_, process in watched.items()},
        resident_mb={id_: process.memory_info().rss / 1e6 for id_, process in watched.items()},
    )


def _kind(process: psutil.Process) -> str:
    """What a child is, by its command line."""
    words = process.cmdline()
    return words[words.index("-m") + 1] if "-m" in words else process.name()


def _changed(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    kinds = before.keys() | after.keys()
    changes = {kind: after.get(kind, 0) - before.get(kind, 0) for kind in kinds}
    return {kind: change for kind, change in changes.items() if change}


def is_idle(pool: dict[str, Any]) -> bool:
    """Whether every engine and gateway is ready and holds no request; a condition for `Served.until`."""
    engines, gateways = pool["engines"], pool["gateways"]
    return (
        bool(pool["ready"])
        and all(each["state"] == "ready" for each in (*engines, *gateways))
        and not any(engine["running"] or engine["waiting"] for engine in engines)
        and all(engine["kv_blocks"]["free"] == engine["kv_blocks"]["total"] for engine in engines)
        and not any(gateway["open_requests"] or _journal_entries(gateway) for gateway in gateways)
    )


def _journal_entries(gateway: dict[str, Any]) -> float:
    """Requests in the pool of a gateway; none before its first beat."""
    entries: float = gateway["facts"].get("journal_entries", 0)
    return entries
