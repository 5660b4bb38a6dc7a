"""The benchmark's tables."""

import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def print_throughput(rows: Sequence[Mapping[str, Any]], model: str, concurrency: int) -> None:
    """Print everybody's output tokens per second for one case, and how many times that is ours; medians of repeats."""
    mine = [row for row in rows if row["model"] == model and row["concurrency"] == concurrency]
    ours = _median(mine, "spillway")
    sys.stdout.write(f"\n{model}, {concurrency} in flight{'output tokens/s':>33}{'ours is':>10}\n")
    for name in dict.fromkeys(row["name"] for row in mine):
        rate = _median(mine, name)
        if rate is None or ours is None:
            reason = next((row.get("reason", "") for row in mine if row["name"] == name), "")
            sys.stdout.write(f"  {name:28} unavailable: {reason}\n")
        else:
            sys.stdout.write(f"  {name:28}{rate:18.1f}{ours / rate:9.2f}x\n")
    sys.stdout.flush()


def print_rows(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print mappings of the same keys as a table."""
    sys.stdout.write(f"\n{title}\n")
    cells = [list(rows[0])] + [[_cell(value) for value in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        sys.stdout.write("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + "\n")
    sys.stdout.flush()


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_cell, value))
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _median(rows: Sequence[Mapping[str, Any]], name: str) -> float | None:
    rates = [row["tokens_per_s"] for row in rows if row["name"] == name and row["ran"]]
    return statistics.median(rates) if rates else None
