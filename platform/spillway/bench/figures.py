"""Numbers as people and machines read them: quantiles, tables, JSON."""

import json
import math
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of all do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True)
class Spread:
    """How durations are spread, in milliseconds."""

    count: int
    p50: float
    p95: float
    p99: float
    longest: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Spread":
        """Describe `seconds`, of which there must be at least one."""
        p50, p95, p99, longest = (1e3 * quantile(seconds, share) for share in (0.5, 0.95, 0.99, 1.0))
        return cls(len(seconds), p50, p95, p99, longest)


def print_table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print mappings of the same keys as a table, on standard output."""
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    sys.stdout.write(f"\n{title}\n")
    for line in cells:
        sys.stdout.write("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + "\n")
    sys.stdout.flush()


def print_promises(promises: Mapping[str, bool]) -> bool:
    """Print which promises held; return whether all did."""
    sys.stdout.write("\n")
    for promise, held in promises.items():
        sys.stdout.write(f"  {'held  ' if held else 'BROKEN'}  {promise}\n")
    sys.stdout.flush()
    return all(promises.values())


def write_json(path: Path | None, found: Mapping[str, Any]) -> None:
    """Write what was found, with the machine it was found on; without a path nothing is written."""
    if path is None:
        return
    machine = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine, **found}, indent=1, default=str) + "\n", encoding="utf-8")
    sys.stdout.write(f"\nwritten to {path}\n")


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
