"""The rules that boards keep: those of Grafana's dashboard linter, by their names there, and some of our own.

They are checked on the JSON, as somebody else's board would be: nothing is taken from the code that made it.
(github.com/grafana/dashboard-linter; its rules for Loki have nothing to check here.)
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from spillway_dashboards.lint_queries import asked_for, faults_of_query, is_aggregated

Json = Mapping[str, Any]

DATASOURCE: Final = "datasource"
_TEMPLATED: Final = frozenset({f"${DATASOURCE}", f"${{{DATASOURCE}}}"})
_UNITS: Final = frozenset(
    {
        *("short", "percent", "percentunit", "bytes", "s", "ms", "reqps", "ops", "cps", "watt", "joule", "celsius"),
        *("bool", "bool_yes_no", "bool_on_off", "string", "none"),
    }
)
"""Of Grafana's units those that a board of ours may use."""
_COLUMNS: Final = 24


def faults(board: Json) -> Iterator[str]:
    """Yield what is wrong with a board: where, which rule, and why. Nothing: it keeps all rules."""
    recorded = is_recorded(board)
    yield from _of_board(board)
    for variable in board["templating"]["list"]:
        yield from (f"variable {variable['name']}: {fault}" for fault in _of_variable(variable))
    for name in ("job", "instance"):
        yield from _of_target_variable(board, name, recorded=recorded)
    for panel in panels(board):
        yield from (f"panel {panel['title']!r}: {fault}" for fault in _of_panel(panel, recorded=recorded))
    yield from _of_places(board)
    for mark in board["annotations"]["list"]:
        if "expr" in mark:
            yield from (f"annotation {mark['name']}: {fault}" for fault in faults_of_query(mark["expr"], ()))


def panels(board: Json) -> Iterator[Json]:
    """Yield the panels of a board, without the headings of its rows."""
    yield from (panel for panel in board["panels"] if panel["type"] != "row")


def variables(board: Json) -> Mapping[str, Json]:
    """Return the variables of a board by their names."""
    return {variable["name"]: variable for variable in board["templating"]["list"]}


def is_recorded(board: Json) -> bool:
    """Whether a board shows only series that rules record, and alerts: they have no job and no instance."""
    asked = [
        name for panel in panels(board) for target in panel.get("targets", ()) for name in asked_for(target["expr"])
    ]
    return bool(asked) and all(":" in name or name == "ALERTS" for name in asked)


# ---- the board ----


def _of_board(board: Json) -> Iterator[str]:
    if board.get("editable") is not False:
        yield "uneditable-dashboard-rule: a provisioned board must not be editable: changes would be lost"
    if variables(board).get(DATASOURCE, {}).get("type") != "datasource":
        yield f"template-datasource-rule: there must be a variable {DATASOURCE!r} of the type datasource"
    if variables(board).get(DATASOURCE, {}).get("label") != "Data source":
        yield "template-datasource-rule: it must be labelled 'Data source'"
    if not board.get("uid") or len(board["uid"]) > 40:
        yield "uid: a board needs one, of 40 characters at most: links to it break otherwise"
    if board.get("timezone") != "browser":
        yield "timezone: times are shown in the reader's own"
    if not board.get("description"):
        yield "description: there must be one"
    if "spillway" not in board.get("tags", ()):
        yield "tags: the tag spillway makes the list of links"
    numbers = [panel["id"] for panel in board["panels"]]
    if len(numbers) != len(set(numbers)):
        yield "id: each panel needs a number of its own"


def _of_variable(variable: Json) -> Iterator[str]:
    if not variable.get("label"):
        yield "label: there must be one"
    if variable["type"] != "query":
        return
    if variable.get("refresh") != 2:
        yield "template-on-time-change-reload-rule: refresh must be 2, on change of the time range"
    if variable["datasource"].get("uid") not in _TEMPLATED:
        yield "panel-datasource-rule: it must ask the templated data source"
    query = str(variable["query"])
    if not query.startswith("label_values(") or not query.endswith(")"):
        yield "template-label-promql-rule: it must ask for label_values(selector, label)"
    else:
        selector = query.removeprefix("label_values(").rpartition(",")[0]
        yield from (f"template-label-promql-rule: {fault}" for fault in faults_of_query(selector, (), is_selector=True))


def _of_target_variable(board: Json, name: str, *, recorded: bool) -> Iterator[str]:
    """Check a variable that the linter wants on every board. Recorded series have no such label: none is wanted."""
    variable = variables(board).get(name)
    if recorded and variable is None:
        return
    rule = f"template-{name}-rule"
    if variable is None or variable["type"] != "query":
        yield f"{rule}: there must be a variable {name!r} that is a query"
        return
    if variable.get("label") != name.title():
        yield f"{rule}: it must be labelled {name.title()!r}"
    if variable.get("multi") is not True:
        yield f"{rule}: it must allow several values"
    if variable.get("allValue") != ".+":
        yield f"{rule}: all of them must stand for '.+'"


# ---- panels ----


def _of_panel(panel: Json, *, recorded: bool) -> Iterator[str]:
    if not panel.get("title") or not panel.get("description"):
        yield "panel-title-description-rule: there must be a title and a description"
    if panel["datasource"].get("uid") not in _TEMPLATED:
        yield "panel-datasource-rule: it must ask the templated data source"
    defaults = panel["fieldConfig"]["defaults"]
    if defaults.get("unit") not in _UNITS:
        yield f"panel-units-rule: {defaults.get('unit')!r} is no unit"
    if not panel.get("targets"):
        yield "panel-no-targets-rule: it asks nothing"
    at = [step.get("value") for step in defaults["thresholds"]["steps"]]
    if at[:1] != [None] or at[1:] != sorted(at[1:]):
        yield "thresholds: they begin without a value, and ascend"
    wanted = () if recorded else ("job", "instance")
    for target in panel.get("targets", ()):
        yield from (f"query {target['refId']}: {fault}" for fault in _of_target(panel, target, wanted))


def _of_target(panel: Json, target: Json, wanted: tuple[str, ...]) -> Iterator[str]:
    if target["datasource"].get("uid") not in _TEMPLATED:
        yield "panel-datasource-rule: it must ask the templated data source"
    found = list(faults_of_query(target["expr"], wanted))
    yield from found
    if panel["type"] != "table" and not target.get("legendFormat"):
        yield "legend: a series without a name is a riddle"
    if panel["type"] == "timeseries" and not found and not is_aggregated(target["expr"]):
        yield "aggregation: a panel of time must add up by labels, or it has as many lines as there are series"


def _of_places(board: Json) -> Iterator[str]:
    """Check that no two panels overlap, and none sticks out."""
    taken: dict[tuple[int, int], str] = {}
    for panel in board["panels"]:
        at = panel["gridPos"]
        left, top = at.get("x", 0), at.get("y", 0)
        if left + at["w"] > _COLUMNS:
            yield f"panel {panel['title']!r}: place: it sticks out on the right"
        for cell in ((x, y) for x in range(left, left + at["w"]) for y in range(top, top + at["h"])):
            if cell in taken:
                yield f"panel {panel['title']!r}: place: it lies on {taken[cell]!r}"
                break
            taken[cell] = panel["title"]
