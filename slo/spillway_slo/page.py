"""A report as one HTML file that needs nothing else: no script, no font, no picture from elsewhere."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from spillway_slo.report import Report

_BAR: Final = 3
"""Pixels of one stretch's bar; and of the space after it, 1."""
_HEIGHT: Final = 24
_MOST_BURN: Final = 14.4
"""A burn rate of this much is a full bar."""


def page(report: Report) -> str:
    """Return the page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": _percent, "time": _time, "seconds": _seconds, "count": _count, "bars": _bars}
    tiers = list(dict.fromkeys(row.tier for row in report.objectives))
    quiet = {tier: [row.name for row in report.objectives if row.tier == tier and not row.total] for tier in tiers}
    order = [tier for tier in ("gold", "silver", "bronze") if tier in tiers]
    return environment.get_template("page.html.j2").render(
        report=report, tiers=[*order, *(tier for tier in tiers if tier not in order)], height=_HEIGHT, quiet=quiet
    )


_UNKNOWN: Final = "\N{EN DASH}"


def _percent(ratio: float | None, places: int = 3) -> str:
    return _UNKNOWN if ratio is None else f"{ratio * 100:.{places}f} %"


def _time(at: float | None) -> str:
    return _UNKNOWN if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return _UNKNOWN
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return (
        f"{seconds:.1f} s"
        if seconds < 120
        else f"{seconds / 60:.1f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


def _count(number: float) -> str:
    return f"{number:,.0f}"


def _bars(course: tuple[float | None, ...]) -> list[tuple[int, float, float, str]]:
    """Return x, y, height and class of each bar."""
    found = []
    for place, burn in enumerate(course):
        if burn is None:
            found.append((place * (_BAR + 1), _HEIGHT - 1.0, 1.0, "none"))
            continue
        height = 2 + (_HEIGHT - 2) * min(burn / _MOST_BURN, 1.0)
        found.append((place * (_BAR + 1), _HEIGHT - height, height, "good" if burn <= 1 else "bad"))
    return found
