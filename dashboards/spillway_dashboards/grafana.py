"""A board as Grafana's JSON, by the types of Grafana's own SDK: a field that Grafana does not know cannot be written.

What the SDK has no field for (how annotations made of metrics are worded) is added to its JSON; nothing else is.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import heatmap, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from spillway_dashboards import around
from spillway_dashboards.model import Board, Mark, Panel, Query, Shape, Variable

TAG: Final = "spillway"
"""All boards bear it; the list of links at their top is made of it."""
SCHEMA: Final = 41
"""Grafana 11.6's version of the model."""
REFRESH: Final = "10s"
DATASOURCE: Final = "datasource"
"""The variable that chooses a Prometheus."""
_PROMETHEUS: Final = dashboard.DataSourceRef(type_val="prometheus", uid=f"${{{DATASOURCE}}}")
_GRAFANA: Final = dashboard.DataSourceRef(type_val="grafana", uid="-- Grafana --")
_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_Builder = timeseries.Panel | stat.Panel | heatmap.Panel | statetimeline.Panel | table.Panel


def document(board: Board) -> str:
    """Return a board as the text of its file."""
    return json.dumps(as_json(board), indent=2, ensure_ascii=False) + "\n"


def as_json(board: Board) -> dict[str, Any]:
    """Return a board as Grafana's JSON. The same board gives the same JSON."""
    made = (
        builders.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags([TAG])
        .timezone("browser")
        .readonly()
        .refresh(REFRESH)
        .time(board.period, "now")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .variables([_datasource(), *(_variable(each) for each in _variables(board))])
        .annotations([_own_marks(), *(_mark(each) for each in around.marks(board.scope))])
        .links([_links()])
    )
    number = 0
    for row in board.rows:
        number += 1
        made = made.with_row(builders.Row(row.title).id(number))
        for panel in row.panels:
            number += 1
            made = made.with_panel(_panel(panel).id(number))
    found: dict[str, Any] = json.loads(JSONEncoder().encode(made.build()))
    found["schemaVersion"] = SCHEMA
    worded = {mark.name: _words(mark) for mark in around.marks(board.scope)}
    for annotation in found["annotations"]["list"]:
        annotation.update(worded.get(annotation["name"], {}))
    return found


# ---- panels ----


def _panel(panel: Panel) -> _Builder:
    builder = _shaped(panel)
    builder.title(panel.title).description(panel.description).datasource(_PROMETHEUS)
    builder.unit(panel.unit).no_value(panel.empty).span(panel.width).height(panel.height)
    if panel.least is not None:
        builder.min(panel.least)
    if panel.most is not None:
        builder.max(panel.most)
    if panel.decimals is not None:
        builder.decimals(panel.decimals)
    steps = [dashboard.Threshold(value=None, color=panel.base)]
    steps += [dashboard.Threshold(value=each.at, color=each.color) for each in panel.thresholds]
    builder.thresholds(builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps))
    if panel.states:
        words = {
            str(state.value): dashboard.ValueMappingResult(text=state.text, color=state.color, index=index)
            for index, state in enumerate(panel.states)
        }
        builder.mappings([dashboard.ValueMap(words)])
    for letter, query in zip(_LETTERS, panel.queries, strict=False):
        builder.with_target(_target(query, letter, panel.shape))
    return builder


def _shaped(panel: Panel) -> _Builder:
    match panel.shape:
        case Shape.LINES:
            return _lines(panel)
        case Shape.NUMBER:
            newest = common_builders.ReduceDataOptions().calcs(["lastNotNull"])
            mode = common.BigValueColorMode.BACKGROUND if panel.thresholds or panel.states else None
            return (
                stat.Panel()
                .reduce_options(newest)
                .graph_mode(common.BigValueGraphMode.NONE if panel.states else common.BigValueGraphMode.AREA)
                .color_mode(mode or common.BigValueColorMode.NONE)
            )
        case Shape.HEATMAP:
            colors = heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Viridis").steps(64)
            axis = heatmap.YAxisConfig().unit(panel.unit)
            return heatmap.Panel().calculate(calculate=False).color(colors).y_axis(axis)
        case Shape.STATES:
            return statetimeline.Panel().merge_values(merge_values=True).show_value(common.VisibilityMode.AUTO)
        case Shape.TABLE:
            return table.Panel()


def _lines(panel: Panel) -> timeseries.Panel:
    legend = (
        common_builders.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.TABLE)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(show_legend=True)
        .calcs(["lastNotNull", "max"])
    )
    tooltip = (
        common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
    )
    lines = timeseries.Panel().legend(legend).tooltip(tooltip).show_points(common.VisibilityMode.NEVER)
    if panel.stacked:
        lines.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL)).fill_opacity(40)
    if panel.thresholds:
        dashed = common_builders.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        lines.thresholds_style(dashed)
    return lines


def _target(query: Query, letter: str, shape: Shape) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expr).ref_id(letter).legend_format(query.legend).datasource(_PROMETHEUS)
    match shape:
        case Shape.HEATMAP:
            return target.range().format(PromQueryFormat.HEATMAP)
        case Shape.TABLE:
            return target.instant().format(PromQueryFormat.TABLE)
        case _:
            target = target.range()
            return target.exemplar(exemplar=True) if query.exemplars else target


# ---- what stands around them ----


def _variables(board: Board) -> Sequence[Variable]:
    return (*around.variables(board.scope), *board.variables)


def _datasource() -> builders.DatasourceVariable:
    return builders.DatasourceVariable(DATASOURCE).label("Data source").type("prometheus")


def _variable(variable: Variable) -> builders.QueryVariable:
    everything = dashboard.VariableOption(selected=True, text=["All"], value=["$__all"])
    return (
        builders.QueryVariable(variable.name)
        .label(variable.label)
        .query(variable.query)
        .datasource(_PROMETHEUS)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(variable.all_value)
        .current(everything)
    )


def _mark(mark: Mark) -> builders.AnnotationQuery:
    return (
        builders.AnnotationQuery()
        .name(mark.name)
        .datasource(_PROMETHEUS)
        .enable(enable=True)
        .icon_color(mark.color)
        .expr(mark.expr)
    )


def _words(mark: Mark) -> Mapping[str, str]:
    return {
        "step": f"{around.STEP_S}s",
        "titleFormat": mark.title,
        "textFormat": mark.text,
        "tagKeys": ",".join(mark.tags),
    }


def _own_marks() -> builders.AnnotationQuery:
    """What people and programs have posted to Grafana about drills."""
    target = (
        builders.AnnotationTarget().limit(100).match_any(match_any=False).tags(list(around.DRILL_TAGS)).type("tags")
    )
    return (
        builders.AnnotationQuery()
        .name("Drills")
        .datasource(_GRAFANA)
        .enable(enable=True)
        .icon_color("blue")
        .target(target)
    )


def _links() -> builders.DashboardLink:
    return (
        builders.DashboardLink("Spillway")
        .type(dashboard.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(as_dropdown=False)
        .include_vars(include_vars=True)
        .keep_time(keep_time=True)
    )
