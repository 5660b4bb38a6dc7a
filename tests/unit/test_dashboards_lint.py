"""The rules of boards: one that keeps them all, and for each rule the least change that breaks it."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from spillway_dashboards.boards import BOARDS
from spillway_dashboards.grafana import as_json
from spillway_dashboards.lint import faults

Board = dict[str, Any]
GOOD: Board = as_json(BOARDS[0])
RECORDED: Board = next(as_json(board) for board in BOARDS if not board.scope.target)
TARGET = '{job=~"$job", instance=~"$instance"}'


def variable(board: Board, name: str) -> Board:
    return next(each for each in board["templating"]["list"] if each["name"] == name)


def panel(board: Board, kind: str = "timeseries") -> Board:
    return next(each for each in board["panels"] if each["type"] == kind)


def asking(expr: str) -> Callable[[Board], None]:
    def change(board: Board) -> None:
        panel(board)["targets"][0]["expr"] = expr

    return change


def marking(expr: str) -> Callable[[Board], None]:
    def change(board: Board) -> None:
        board["annotations"]["list"][1]["expr"] = expr

    return change


BREAKS: dict[str, tuple[str, Callable[[Board], Any]]] = {
    "editable": ("uneditable-dashboard-rule", lambda b: b.update(editable=True)),
    "no data source": ("template-datasource-rule", lambda b: variable(b, "datasource").update(name="other")),
    "its label": ("template-datasource-rule", lambda b: variable(b, "datasource").update(label="Source")),
    "no job": ("template-job-rule", lambda b: variable(b, "job").update(type="custom")),
    "one instance": ("template-instance-rule", lambda b: variable(b, "instance").update(multi=False)),
    "all instances": ("template-instance-rule", lambda b: variable(b, "instance").update(allValue=".*")),
    "job's label": ("template-job-rule", lambda b: variable(b, "job").update(label="Which")),
    "reload": ("template-on-time-change-reload-rule", lambda b: variable(b, "model").update(refresh=1)),
    "choices": ("template-label-promql-rule", lambda b: variable(b, "model").update(query="model")),
    "choice's query": (
        "template-label-promql-rule",
        lambda b: variable(b, "model").update(query="label_values(a{, b)"),
    ),
    "choice's source": ("panel-datasource-rule", lambda b: variable(b, "model").update(datasource={"uid": "mine"})),
    "panel's source": ("panel-datasource-rule", lambda b: panel(b).update(datasource={"uid": "mine"})),
    "query's source": ("panel-datasource-rule", lambda b: panel(b)["targets"][0].update(datasource={"uid": "mine"})),
    "title": ("panel-title-description-rule", lambda b: panel(b).update(title="")),
    "description": ("panel-title-description-rule", lambda b: panel(b).update(description="")),
    "no unit": ("panel-units-rule", lambda b: panel(b)["fieldConfig"]["defaults"].pop("unit")),
    "unit": ("panel-units-rule", lambda b: panel(b)["fieldConfig"]["defaults"].update(unit="tokens")),
    "no query": ("panel-no-targets-rule", lambda b: panel(b).update(targets=[])),
    "syntax": ("target-promql-rule", asking(f"sum(rate(a_total{TARGET}[$__rate_interval])")),
    "job": ("target-job-rule", asking('sum(a{instance=~"$instance"})')),
    "instance": ("target-instance-rule", asking('sum(a{job=~"$job"})')),
    "second selector": ("target-job-rule", asking(f'sum(a{TARGET}) / sum(b{{instance=~"$instance"}})')),
    "window": ("target-rate-interval-rule", asking(f"sum(rate(a_total{TARGET}[5m]))")),
    "bare counter": ("target-counter-agg-rule", asking(f"sum(a_total{TARGET})")),
    "range of a gauge": ("target-counter-agg-rule", asking(f"sum(rate(a{TARGET}[$__rate_interval]))")),
    "range of another": ("target-counter-agg-rule", asking(f"sum(max_over_time(a_total{TARGET}[$__rate_interval]))")),
    "sum": ("aggregation", asking(f"a{TARGET}")),
    "half a sum": ("aggregation", asking(f"sum(a{TARGET}) / a{TARGET}")),
    "legend": ("legend", lambda b: panel(b)["targets"][0].update(legendFormat="")),
    "order": (
        "thresholds",
        lambda b: panel(b)["fieldConfig"]["defaults"]["thresholds"]["steps"].insert(0, {"value": 1}),
    ),
    "right edge": ("place", lambda b: panel(b)["gridPos"].update(x=23)),
    "overlap": ("place", lambda b: panel(b)["gridPos"].update(panel(b, "stat")["gridPos"])),
    "uid": ("uid", lambda b: b.update(uid="")),
    "clock": ("timezone", lambda b: b.update(timezone="utc")),
    "what for": ("description", lambda b: b.update(description="")),
    "tag": ("tags", lambda b: b.update(tags=[])),
    "numbers": ("id", lambda b: panel(b).update(id=1)),
    "mark": ("annotation Engine restarts: target-promql-rule", marking("sum(")),
    "mark's counter": ("annotation Engine restarts: target-counter-agg-rule", marking("sum(a_total)")),
}


@pytest.mark.parametrize("board", [GOOD, RECORDED], ids=["scraped", "recorded"])
def test_our_boards_keep_all_rules(board: Board) -> None:
    assert list(faults(board)) == []


@pytest.mark.parametrize(("rule", "change"), BREAKS.values(), ids=list(BREAKS))
def test_a_broken_rule_is_named(rule: str, change: Callable[[Board], Any]) -> None:
    board = copy.deepcopy(GOOD)
    change(board)
    found = list(faults(board))
    assert found
    assert all(rule in fault for fault in found), found


def test_a_board_without_a_job_may_show_recorded_series_alone() -> None:
    for board, rules in ((GOOD, {"template-job-rule"}), (RECORDED, set())):
        changed = copy.deepcopy(board)
        changed["templating"]["list"] = [each for each in changed["templating"]["list"] if each["name"] != "job"]
        assert {fault.partition(":")[0] for fault in faults(changed)} == rules
