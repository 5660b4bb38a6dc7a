"""A real Prometheus answers every query of every board: no name, no label and no value that does not exist."""

import asyncio
import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from spillway_dashboards.lint import Json, panels, variables
from spillway_dashboards.lint_queries import grouped, replaced, selectors

ROOT = Path(__file__).parents[2]
BOARDS = sorted((ROOT / "dashboards" / "json").glob("*.json"))
RULES = [ROOT / "slo" / "rules" / "laptop" / f"gold-{name}.yaml" for name in ("availability", "ttft")]
PATIENCE_S = 60.0
EVERY = "500ms"
CHOSEN = {
    "$__rate_interval": "5s",
    "$__range": "10s",
    "$job": "spillway",
    "$instance": ".+",
    "$model": "demo",
    "$tier": ".*",
    "$engine": "engine-.",
    "$service": ".*",
    "$slo": ".*",
    "[60s]": "[5s]",
}
"""What Grafana would put there; windows are shorter, so that two scrapes fill them."""
ADDED = frozenset({"job", "instance", "le", "__name__"})
"""Labels that a series can have beside its own."""


def boards() -> Iterator[tuple[str, Json]]:
    assert BOARDS
    for file in BOARDS:
        yield file.stem, json.loads(file.read_text(encoding="utf-8"))


def queries() -> Iterator[tuple[str, str, bool]]:
    """Yield where each query stands, the query, and whether its panel shows exemplars."""
    for name, board in boards():
        for panel in panels(board):
            for target in panel["targets"]:
                yield f"{name}: {panel['title']}: {target['refId']}", target["expr"], bool(target.get("exemplar"))
        for mark in board["annotations"]["list"]:
            if "expr" in mark:
                yield f"{name}: annotation {mark['name']}", mark["expr"], False


def ready_for_prometheus(expr: str) -> str:
    return replaced(expr.replace("[60s]", CHOSEN["[60s]"]), {k: v for k, v in CHOSEN.items() if k.startswith("$")})


def hurried(folder: Path) -> list[Path]:
    """Some of the objectives' rules, evaluated as often as the test scrapes: a real one waits for minutes."""
    for rules in RULES:
        text = re.sub(r"(?m)^( *interval:) \w+$", rf"\1 {EVERY}", rules.read_text(encoding="utf-8"))
        (folder / rules.name).write_text(text, encoding="utf-8")
    return [folder / rules.name for rules in RULES]


def asks_for(expr: str) -> set[str]:
    return {name for name, _ in selectors(expr)}


def test_every_query_has_an_answer_and_every_exemplar_a_trace(
    expositions: ModuleType, prometheus_server: ModuleType, tmp_path: Path
) -> None:
    async def test() -> None:
        folder = Path(tempfile.mkdtemp(prefix="boards-"))  # pytest's own are too long for a socket's path
        try:
            async with (
                expositions.exposed(folder, time.time) as target,
                prometheus_server.prometheus(tmp_path, target, rules=hurried(tmp_path), every=EVERY) as ask,
            ):
                await all_answered(ask)
                await labels_exist(ask)
                await exemplars_lead_to(ask, expositions.TRACE)
                await choices_exist(ask)
                await guide_is_understood(ask)
        finally:
            shutil.rmtree(folder)

    asyncio.run(test())


async def all_answered(ask: Any) -> None:
    """Wait until every query has an answer; those that have none in the end are named."""
    waiting = {where: ready_for_prometheus(expr) for where, expr, _ in queries()}
    assert len(waiting) > 100
    deadline = time.monotonic() + PATIENCE_S
    while waiting:
        for where, expr in list(waiting.items()):
            if (await ask("query", query=expr))["result"]:
                del waiting[where]
        assert time.monotonic() < deadline, waiting
        await asyncio.sleep(0.2)


async def labels_exist(ask: Any) -> None:
    """Hold the labels that queries match and keep against those of the series."""
    labels: dict[str, set[str]] = {}
    for _, expr, _ in queries():
        for name in asks_for(expr) - labels.keys():
            found = await ask("series", **{"match[]": name})
            labels[name] = {label for series in found for label in series} | ADDED
    for where, expr, _ in queries():
        for name, matched in selectors(expr):
            assert matched <= labels[name], (where, name)
        for kept, below in grouped(expr):
            assert kept <= set().union(*(labels[name] for name in below)), where


async def exemplars_lead_to(ask: Any, trace: str) -> None:
    """Hold every query whose panel shows exemplars to having some, each with the id of a trace."""
    now = time.time()
    shown = {where: ready_for_prometheus(expr) for where, expr, exemplars in queries() if exemplars}
    assert shown
    for where, expr in shown.items():
        found = await ask("query_exemplars", query=expr, start=str(now - 3600), end=str(now + 3600))
        ids = {each["labels"]["trace_id"] for series in found for each in series["exemplars"]}
        assert ids == {trace}, where


async def choices_exist(ask: Any) -> None:
    """Hold every variable at the top of a board to having something to choose from."""
    for name, board in boards():
        for variable in variables(board).values():
            if variable["type"] != "query":
                continue
            selector, _, label = variable["query"].removeprefix("label_values(").removesuffix(")").rpartition(", ")
            found = await ask("series", **{"match[]": ready_for_prometheus(selector)})
            assert any(series.get(label) for series in found), (name, variable["name"])


async def guide_is_understood(ask: Any) -> None:
    """Put the guide's queries to it; an answer may be empty, since most look for trouble."""
    guide = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```promql\n(.*?)```", guide, re.DOTALL)
    assert len(blocks) > 8
    for query in "".join(blocks).splitlines():
        await ask("query", query=query)
