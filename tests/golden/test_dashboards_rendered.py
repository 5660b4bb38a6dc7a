"""What stands in git is what the code gives: boards, and the guide's table of metrics."""

import json
import re
import shutil
from pathlib import Path

import pytest

from spillway_dashboards.boards import BOARDS, slo
from spillway_dashboards.grafana import as_json
from spillway_dashboards.lint_queries import grouped, selectors
from spillway_dashboards.promql import labels_of
from spillway_dashboards.render import FOLDER, GUIDE, main, stale
from spillway_dashboards.signals import BEGIN, table, with_table
from spillway_wire import names
from spillway_wire.fact_names import FACT_METRICS
from spillway_wire.status_names import STATUS_METRICS

ROOT = Path(__file__).parents[2]
NOT_SHOWN = {
    "spillway_judged_requests": "the rules of objectives make what is shown of it",
    "spillway_short_request_duration_seconds": "the same",
    "spillway_exported_spans": "what went well",
    "spillway_supervisor_uptime_seconds": "a restart of it is a gap in everything",
    "spillway_redis_state": "whether it is up is shown",
    "spillway_gateway_incarnation": "its restarts are shown",
    "spillway_gateway_loop_lag_seconds": "the histogram of the same is shown",
    "spillway_prompt_tokens": "the tokens of models are shown",
    "spillway_output_tokens": "the same",
    "spillway_clients_disconnected": "the outcomes are shown",
    "spillway_engine_step_tokens": "the computed tokens by phase are shown",
    "spillway_engine_output_tokens": "the same",
    "spillway_engine_output_frames": "it is as many as there are steps with output",
}
"""Metrics that are on no board, and why."""


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The files that are rendered, somewhere else."""
    shutil.copytree(ROOT / FOLDER, tmp_path / FOLDER)
    (tmp_path / GUIDE).parent.mkdir()
    shutil.copy(ROOT / GUIDE, tmp_path / GUIDE)
    return tmp_path


def test_boards_and_guide_are_current() -> None:
    assert list(stale(ROOT)) == [], "run python -m spillway_dashboards.render"
    assert main(["--check"]) == 0


def test_a_change_of_a_board_or_of_the_table_is_seen(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board, guide = copied / FOLDER / f"{BOARDS[0].uid}.json", copied / GUIDE
    board.write_text(board.read_text().replace("Serving", "serving"))
    guide.write_text(guide.read_text().replace("| counter |", "| gauge |", 1))
    (copied / FOLDER / "old.json").write_text("{}")
    assert main(["--check", "--root", str(copied)]) == 1
    said = capsys.readouterr().err
    for path in (board, guide, copied / FOLDER / "old.json"):
        assert f"{path}: not current; run python -m spillway_dashboards.render" in said


def test_rendering_mends_it(copied: Path) -> None:
    board = copied / FOLDER / f"{BOARDS[1].uid}.json"
    board.unlink()
    assert main(["--root", str(copied)]) == 0
    assert board.read_text() == (ROOT / FOLDER / board.name).read_text()


def test_another_folder_than_a_checkout_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert said.endswith("; give the folder of a checkout by --root\n")
    assert said.count("\n") == 1


def test_a_guide_without_a_place_for_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="has no place for the table"):
        with_table("# Operating\n")


def test_the_table_has_every_metric_once() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", table(), re.MULTILINE)
    assert rows == sorted(set(rows), key=rows.index)
    assert set(rows) == {metric.exposed for metric in (*names.METRICS, *STATUS_METRICS, *FACT_METRICS)}
    assert BEGIN in (ROOT / GUIDE).read_text()


def test_boards_are_told_apart_by_uid_and_title_and_linked_by_their_tag() -> None:
    boards = [as_json(board) for board in BOARDS]
    assert len({board["uid"] for board in boards}) == len({board["title"] for board in boards}) == len(boards) == 5
    for board in boards:
        (link,) = board["links"]
        assert (link["type"], link["tags"]) == ("dashboards", board["tags"])


def test_panels_of_latency_show_the_traces_behind_them() -> None:
    with_exemplars = {metric.name for metric in names.METRICS if metric.exemplars}
    shown = set()
    for board in BOARDS:
        for panel in as_json(board)["panels"]:
            for target in panel.get("targets", ()):
                if target.get("exemplar"):
                    shown |= {name.removesuffix("_bucket") for name, _ in selectors(target["expr"])}
    assert shown == with_exemplars


def test_the_board_of_objectives_asks_only_for_recorded_series() -> None:
    asked = {
        name
        for panel in json.loads((ROOT / FOLDER / "spillway-slo.json").read_text())["panels"]
        for target in panel.get("targets", ())
        for name, _ in selectors(target["expr"])
    }
    assert asked == {metric.name for metric in (*slo.RECORDED, slo.ALERTS)}


def test_every_metric_is_on_a_board_unless_there_is_a_reason() -> None:
    asked = {
        name
        for board in BOARDS
        for panel in as_json(board)["panels"]
        for target in panel.get("targets", ())
        for name, _ in selectors(target["expr"])
    }
    missing = {
        metric.name
        for metric in (*names.METRICS, *STATUS_METRICS)
        if not {metric.exposed, *(f"{metric.name}_{part}" for part in ("bucket", "sum", "count"))} & asked
    }
    assert missing == NOT_SHOWN.keys()


# ---- the guide ----


def blocks() -> list[str]:
    """The queries in the guide."""
    text = (ROOT / GUIDE).read_text(encoding="utf-8")
    return [query for block in re.findall(r"```promql\n(.*?)```", text, re.DOTALL) for query in block.splitlines()]


def test_the_guide_names_panels_that_are_there() -> None:
    text = " ".join((ROOT / GUIDE).read_text(encoding="utf-8").split())
    named = re.findall(r"\*(overview|engines|admission|slo|chaos): ([^*]+)\*", text)
    there = {
        (board.uid.removeprefix("spillway-"), panel.title)
        for board in BOARDS
        for row in board.rows
        for panel in row.panels
    }
    assert len(named) > 20
    assert set(named) <= there


def test_the_guides_queries_use_series_and_labels_that_exist() -> None:
    every = (*names.METRICS, *STATUS_METRICS, *FACT_METRICS)
    labels = {metric.exposed: {*labels_of(metric), "le"} for metric in every}
    labels |= {f"{metric.name}_bucket": {*labels_of(metric), "le"} for metric in every}
    assert len(blocks()) > 8
    for query in blocks():
        for name, matched in selectors(query):
            assert matched <= labels[name], query
        for kept, below in grouped(query):
            assert all(kept <= labels[name] for name in below), query


def test_the_guide_names_metrics_that_exist() -> None:
    every = {metric.exposed for metric in (*names.METRICS, *STATUS_METRICS, *FACT_METRICS)}
    every |= {f"{metric.name}_{part}" for metric in names.METRICS for part in ("bucket", "sum", "count")}
    every |= {label for metric in names.METRICS for label in metric.labels}
    named = set(re.findall(r"\b(?:spillway|gen_ai)_[a-z0-9_]+", (ROOT / GUIDE).read_text(encoding="utf-8")))
    assert named - every == {"spillway_dashboards"}
