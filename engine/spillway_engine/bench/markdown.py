"""`python -m spillway_engine.bench.markdown RESULTS.json`: the tables of docs/benchmarks.md, from a run's results."""

import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

Rows = Sequence[dict[str, Any]]


def main() -> None:
    """Print every part that the file holds."""
    found = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.stdout.write("\n".join(_document(found)) + "\n")


def _document(found: dict[str, Any]) -> Iterator[str]:
    machine = found["machine"]
    yield (
        f"Machine: {machine['processor']}, {machine['cores']} cores, {', '.join(machine['features'])}; "
        f"load before: {machine['load_average']:.1f}; Python {machine['python']}.\n"
    )
    if "throughput" in found:
        for model in dict.fromkeys(row["model"] for row in found["throughput"]):
            yield f"**{model}**: output tokens/s (how many times that is ours)\n"
            yield from _throughput([row for row in found["throughput"] if row["model"] == model])
            yield ""
    for part in ("policies", "step"):
        if part in found:
            yield from _table(found[part])
            yield ""
    if "soak" in found:
        yield from _table([{key: value for key, value in found["soak"].items() if key != "snapshot"}])


def _throughput(rows: Rows) -> Iterator[str]:
    sizes = sorted({row["concurrency"] for row in rows})
    table = []
    for name in dict.fromkeys(row["name"] for row in rows):
        cells: dict[str, Any] = {"": _titled(rows, name)}
        for size in sizes:
            rate, ours = _rate(rows, name, size), _rate(rows, "spillway", size)
            ratio = "" if rate is None or ours is None or name == "spillway" else f" ({ours / rate:.2f}x)"
            cells[f"{size} in flight"] = "-" if rate is None else f"{rate:,.0f}{ratio}"
        table.append(cells)
    yield from _table(table)


def _titled(rows: Rows, name: str) -> str:
    ran = next((row for row in rows if row["name"] == name and row["ran"]), None)
    if ran is None:
        return f"{name}: {next(row for row in rows if row['name'] == name).get('reason', '')[:80]}"
    way = "its own process" if name == "spillway" else "served over HTTP" if ran["served"] else "in-process"
    return f"{name} {ran['version']}, {way}"


def _rate(rows: Rows, name: str, concurrency: int) -> float | None:
    rates = [
        row["tokens_per_s"] for row in rows if row["name"] == name and row["concurrency"] == concurrency and row["ran"]
    ]
    return statistics.median(rates) if rates else None


def _table(rows: Rows) -> Iterator[str]:
    keys = list(rows[0])
    yield "| " + " | ".join(keys) + " |"
    yield "|" + "---|" * len(keys)
    for row in rows:
        yield "| " + " | ".join(_cell(row[key]) for key in keys) + " |"


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_cell, value))
    return f"{value:,.1f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
