"""The table of all metrics in docs/operating.md, made from their definitions: it cannot say what is not so."""

from collections.abc import Iterator, Sequence
from typing import Final

from spillway_dashboards.promql import labels_of
from spillway_wire import names
from spillway_wire import status_names as status
from spillway_wire.fact_names import FACT_METRICS
from spillway_wire.metric import Kind, Metric

BEGIN: Final = "<!-- metrics: made by python -m spillway_dashboards.render from their definitions -->"
END: Final = "<!-- end of metrics -->"

_STATUS: Final = "Seen by the supervisor, and read of the machine"
_FACTS: Final = "A gateway's inside, as of its last beat"
_BY_PLACE: Final = {
    "": "Added up over all processes",
    "gateway": "Of each gateway",
    "engine": "Of each engine",
    "process": "Of telemetry itself, in each process",
}
"""Headings of what processes count in their pages, by whose series they are."""


def with_table(guide: str) -> str:
    """Return the guide with the table between its marks. Raises ValueError if it has no marks."""
    before, found, rest = guide.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise ValueError(f"the guide has no place for the table: put {BEGIN} and {END} on lines of their own")
    return f"{before}{BEGIN}\n\n{table()}\n{END}{after}"


def table() -> str:
    """Return all metrics as Markdown, under a heading for each group."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    for place, heading in _BY_PLACE.items():
        yield from _group(heading, [metric for metric in names.METRICS if metric.place == place])
    yield from _group(_STATUS, status.STATUS_METRICS)
    yield from _group(_FACTS, FACT_METRICS)


def _group(heading: str, metrics: Sequence[Metric]) -> Iterator[str]:
    yield from (f"### {heading}", "", "| metric | kind | labels | what it says |", "|---|---|---|---|")
    yield from (_row(metric) for metric in metrics)
    yield ""


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in labels_of(metric)) or "none"
    kind = metric.kind.value
    if metric.kind is Kind.HISTOGRAM:
        kind += f", {metric.buckets[0]:g} to {metric.buckets[-1]:g}"
        kind += f" {metric.unit}" if metric.unit else ""
        kind += ", exemplars" if metric.exemplars else ""
    return f"| `{metric.exposed}` | {kind} | {labels} | {metric.help} |"
