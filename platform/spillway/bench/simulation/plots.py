"""Plots of runs as SVG, drawn with a few lines of text: files that a browser shows and a diff can tell apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 720
HEIGHT: Final = 240
LEFT: Final = 56
RIGHT: Final = 150
TOP: Final = 32
BOTTOM: Final = 40
COLOURS: Final = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df")
STYLE: Final = (
    "text{font:12px sans-serif;fill:#57606a}.t{font-weight:bold}"
    ".g{stroke:#d0d7de;stroke-width:1}.l{fill:none;stroke-width:1.5}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line of a plot."""

    name: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False


def plot(title: str, series: Sequence[Series], *, x: str, y: str) -> str:
    """Return an SVG document; the y axis begins at 0."""
    points = [point for each in series for point in each.points]
    if not points:
        raise ValueError(f"{title!r} has nothing to plot")
    x_range = min(p[0] for p in points), max(p[0] for p in points)
    most = nice(max(p[1] for p in points))
    inner = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(point: tuple[float, float]) -> tuple[float, float]:
        across = (point[0] - x_range[0]) / max(1e-9, x_range[1] - x_range[0])
        return LEFT + inner[0] * across, TOP + inner[1] * (1.0 - point[1] / most)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text class="t" x="{LEFT}" y="18">{escape(title)}</text>',
    ]
    for step in range(5):
        value = most * step / 4
        _, line = at((x_range[0], value))
        out.append(f'<path class="g" d="M{LEFT} {line:.1f}H{LEFT + inner[0]}"/>')
        out.append(f'<text x="{LEFT - 6}" y="{line + 4:.1f}" text-anchor="end">{value:g}</text>')
        when = x_range[0] + (x_range[1] - x_range[0]) * step / 4
        place, _ = at((when, 0.0))
        out.append(f'<text x="{place:.1f}" y="{HEIGHT - 22}" text-anchor="middle">{when:g}</text>')
    out.append(f'<text x="{LEFT + inner[0] / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x)}</text>')
    out.append(f'<text x="{LEFT}" y="{TOP - 2}">{escape(y)}</text>')
    for number, each in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in map(at, each.points))
        dash = ' stroke-dasharray="4 3"' if each.dashed else ""
        out.append(f'<polyline class="l" stroke="{colour}"{dash} points="{path}"/>')
        level = TOP + 14 + 18 * number
        out.append(f'<path class="l" stroke="{colour}"{dash} d="M{WIDTH - RIGHT + 10} {level}h20"/>')
        out.append(f'<text x="{WIDTH - RIGHT + 36}" y="{level + 4}">{escape(each.name)}</text>')
    return "\n".join([*out, "</svg>", ""])


def nice(most: float) -> float:
    """Return a round number that is not below `most`."""
    unit = 1e-6
    while True:
        for factor in (1, 2, 4, 8):
            if factor * unit >= most:
                return factor * unit
        unit *= 10
