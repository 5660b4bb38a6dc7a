"""What is kept of a run: Chaos Toolkit's journal, with ours beside it, one JSON file for each run."""

import os
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from spillway_chaos.judging.evidence import Evidence
from spillway_chaos.judging.findings import Finding
from spillway_chaos.judging.verdict import ControlVerdict, Verdict

HOME: Final = ".chaos"
"""In the working folder, unless said otherwise."""
VERSION: Final = 1


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """An activity that was carried out."""

    activity: str
    kind: str
    status: str
    """`succeeded`, or `failed`."""
    output: Any = None
    start: float
    """Seconds since the run began."""
    duration: float
    problem: str = ""


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """Where it was run."""

    node: str
    platform: str
    cores: int
    load: tuple[float, float, float]
    """Of the machine, before the run: a number that was measured on a busy one says so."""


class Journal(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    version: int = VERSION
    drill: str
    title: str
    contributions: dict[str, str]
    promise: int
    faults: tuple[str, ...]
    """Kinds."""
    seed: int
    is_control: bool
    turned_off: str = ""
    started: str
    """ISO 8601, UTC."""
    started_unix: float
    seconds: float
    status: str
    """As Chaos Toolkit has it: `completed`, `failed` (an activity did), `aborted` or `interrupted`."""
    deviated: bool
    verdict: Verdict
    control_verdict: ControlVerdict | None = None
    problem: str = ""
    """Why nothing can be concluded."""
    phases: dict[str, float]
    """Seconds since the run began, at which each began."""
    steady_states: dict[str, tuple[Step, ...]]
    run: tuple[Step, ...]
    rollbacks: tuple[Step, ...]
    findings: tuple[Finding, ...]
    goodput: dict[str, float | None] = {}
    detection_s: float | None = None
    recovery_s: float | None = None
    alert_s: float | None = None
    """From the blow to the first page that was wanted."""
    evidence: Evidence | None = None
    environment: Environment

    @property
    def broken(self) -> tuple[str, ...]:
        """Names of findings that do not hold."""
        return tuple(finding.name for finding in self.findings if not finding.holds)


def environment() -> Environment:
    """Look at this machine."""
    return Environment(
        node=platform.node(), platform=platform.platform(), cores=os.cpu_count() or 1, load=os.getloadavg()
    )


def write(journal: Journal, home: Path) -> Path:
    """Keep a journal; return its file."""
    folder = home / "journals" / journal.drill
    folder.mkdir(parents=True, exist_ok=True)
    stamp = datetime.fromtimestamp(journal.started_unix, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    path = folder / f"{stamp}{'-control' if journal.is_control else ''}.json"
    draft = path.with_suffix(".new")
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(journal), indent=1))
    draft.replace(path)
    return path


def read_all(home: Path) -> list[Journal]:
    """Return all journals that can be read, the oldest first; those of another version are left out."""
    found = []
    for path in sorted((home / "journals").glob("*/*.json")):
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=Journal))
        except (OSError, msgspec.MsgspecError):
            continue
    return sorted((journal for journal in found if journal.version == VERSION), key=lambda each: each.started_unix)


def now() -> float:
    """Unix time."""
    return time.time()


def iso(unix: float) -> str:
    """Write a time."""
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
