"""A drill as a picture (SVG): answers a second, the fault, states of places and pages, on one axis of time."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from spillway_chaos.journal import Journal
from spillway_chaos.judging.evidence import Evidence
from spillway_chaos.stage.load import LoadResult
from spillway_chaos.stage.recorder import Change

_WIDTH: Final = 880
_LEFT: Final = 190
_BARS: Final = 150
_LANE: Final = 20
_AT_REST: Final = frozenset({"ready", "standby"})
_STYLE: Final = """
  .axis { stroke: var(--line); }
  .good { fill: var(--bar); } .failed { fill: var(--bad); } .refused { fill: var(--warn); }
  .fault { fill: var(--bad); opacity: .12; } .away { fill: var(--warn); } .ready { fill: var(--bar); opacity: .35; }
  .page { fill: var(--bad); } text { font: 11px system-ui, sans-serif; fill: var(--soft); } .name { text-anchor: end; }
"""


def picture(found: Journal) -> str:
    """Return the SVG; empty if the run has no load's result."""
    evidence = found.evidence
    if evidence is None or evidence.load is None or not evidence.load.timeline:
        return ""
    load = evidence.load
    seconds = max(second.second for second in load.timeline) + 1
    lanes = list(_lanes(evidence, load, seconds))
    height = _BARS + 40 + _LANE * len(lanes)
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(found.title)}">',
        f"<style>{_STYLE}</style>",
        *_fault(evidence, load, seconds, height),
        *_bars(load, seconds),
        *_axis(seconds),
        *(part for row, (name, spans) in enumerate(lanes) for part in _lane(row, name, spans, seconds)),
        "</svg>",
    ]
    return "\n".join(parts)


def _x(second: float, seconds: int) -> float:
    return round(_LEFT + max(0.0, min(second, seconds)) / seconds * (_WIDTH - _LEFT - 10), 1)


def _fault(evidence: Evidence, load: LoadResult, seconds: int, height: int) -> Iterator[str]:
    if evidence.struck_at is not None:
        begin = _x(evidence.struck_at - load.started_monotonic, seconds)
        ended = evidence.fault_ended_at
        end = _x(seconds if ended is None else ended - load.started_monotonic, seconds)
        yield f'<rect class="fault" x="{begin}" y="0" width="{max(1.0, end - begin):.1f}" height="{height - 16}"/>'
        yield f'<text x="{begin + 4}" y="12">fault</text>'


def _bars(load: LoadResult, seconds: int) -> Iterator[str]:
    most = max(second.good + second.failed + second.refused for second in load.timeline) or 1
    width = (_WIDTH - _LEFT - 10) / seconds
    for second in load.timeline:
        top = float(_BARS)
        for name in ("good", "failed", "refused"):
            tall = getattr(second, name) / most * (_BARS - 20)
            if tall:
                top -= tall
                x = _x(second.second, seconds) + 1
                title = f"<title>second {second.second}: {getattr(second, name)} {name}</title>"
                box = f'x="{x}" y="{top:.1f}" width="{max(1.0, width - 2):.1f}" height="{tall:.1f}"'
                yield f'<rect class="{name}" {box}>{title}</rect>'
    yield f'<text class="name" x="{_LEFT - 8}" y="26">{most} a second</text>'
    yield f'<text class="name" x="{_LEFT - 8}" y="{_BARS}">good, failed, refused</text>'


def _axis(seconds: int) -> Iterator[str]:
    yield f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - 10}" y1="{_BARS + 1}" y2="{_BARS + 1}"/>'
    for second in range(0, seconds, max(1, seconds // 10)):
        yield f'<text x="{_x(second, seconds)}" y="{_BARS + 14}">{second} s</text>'


_Span = tuple[str, float, float, str]
"""Class, begin and end in seconds of the load, and what it is."""


def _lanes(evidence: Evidence, load: LoadResult, seconds: int) -> Iterator[tuple[str, list[_Span]]]:
    by_place: dict[str, list[Change]] = {}
    for change in evidence.changes:
        by_place.setdefault(change.id, []).append(change)
    for name, changes in by_place.items():
        spans = []
        for number, change in enumerate(changes):
            begin = change.at - load.started_monotonic
            end = changes[number + 1].at - load.started_monotonic if number + 1 < len(changes) else float(seconds)
            style = "ready" if change.state in _AT_REST else "away"
            spans.append((style, begin, end, f"{change.state}, incarnation {change.incarnation}"))
        yield name, spans
    families = sorted({alert.family for alert in evidence.alerts if alert.severity == "page"})
    for family in families:
        spans = [
            ("page", alert.began - load.started_unix, (alert.ended or 1e12) - load.started_unix, alert.name)
            for alert in evidence.alerts
            if alert.family == family and alert.severity == "page"
        ]
        yield f"page: {family}", spans


def _lane(row: int, name: str, spans: Sequence[_Span], seconds: int) -> Iterator[str]:
    top = _BARS + 26 + row * _LANE
    yield f'<text class="name" x="{_LEFT - 8}" y="{top + 11}">{escape(name)}</text>'
    for style, begin, end, what in spans:
        left, right = _x(begin, seconds), _x(end, seconds)
        if right > left:
            box = f'x="{left}" y="{top}" width="{right - left:.1f}" height="{_LANE - 6}"'
            yield f'<rect class="{style}" {box}><title>{escape(what)}</title></rect>'
