"""Plots as SVG: lines, points and stacked bars over one x axis, with titles on hover and no script."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

Point = tuple[float, float | None]

WIDTH: Final = 860
HEIGHT: Final = 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 140, 34, 40
_INNER_WIDTH: Final = WIDTH - _LEFT - _RIGHT
_INNER_HEIGHT: Final = HEIGHT - _TOP - _BOTTOM
COLOURS: Final = ("#2f6db5", "#c2410c", "#15803d", "#a16207", "#7c3aed", "#be123c", "#0e7490", "#525252")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line; a point without a value interrupts it."""

    name: str
    points: Sequence[Point]
    colour: str
    is_dotted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """One layer of stacked bars, each a unit wide, at whole numbers."""

    name: str
    heights: Sequence[float]
    colour: str


def lines(title: str, series: Sequence[Line], *, x: str, y: str, limit: tuple[str, float] | None = None) -> str:
    """Return a plot of lines; a limit is drawn across."""
    values = [value for each in series for _, value in each.points if value is not None]
    xs = [at for each in series for at, _ in each.points]
    if not values:
        return f'<p class="empty">{escape(title)}: nothing to show</p>'
    frame = _Frame(min(xs), max(xs), nice(max([*values, *([limit[1]] if limit else [])])))
    out = frame.open(title, x, y)
    for number, each in enumerate(series):
        for run in _runs(each.points):
            path = "L".join(f"{frame.x(at):.1f} {frame.y(value):.1f}" for at, value in run)
            dash = ' stroke-dasharray="1 5" stroke-linecap="round"' if each.is_dotted else ""
            out.append(f'<path d="M{path}" fill="none" stroke="{each.colour}" stroke-width="1.8"{dash}/>')
            if len(run) == 1 or len(each.points) <= 24:
                out += [_dot(frame, point, each, f"{point[1]:.4g} {y} at {point[0]:.4g} {x}") for point in run]
        out.append(_legend(number, each.name, each.colour))
    if limit:
        at = frame.y(limit[1])
        out.append(f'<path d="M{_LEFT} {at:.1f}h{_INNER_WIDTH}" stroke="#dc2626" stroke-dasharray="6 4"/>')
        out.append(f'<text x="{_LEFT + _INNER_WIDTH + 8}" y="{at + 4:.1f}" fill="#dc2626">{escape(limit[0])}</text>')
    return "".join([*out, "</svg>"])


def stacked(title: str, layers: Sequence[Bars], *, x: str, y: str) -> str:
    """Return a plot of bars on top of each other."""
    num = max((len(layer.heights) for layer in layers), default=0)
    tops = [sum(layer.heights[at] for layer in layers) for at in range(num)]
    if not num or max(tops) <= 0:
        return f'<p class="empty">{escape(title)}: nothing to show</p>'
    frame = _Frame(0, num, nice(max(tops)))
    out = frame.open(title, x, y)
    width = max(0.6, _INNER_WIDTH / num - (1 if num < 200 else 0))
    for at in range(num):
        below = 0.0
        for layer in layers:
            height = layer.heights[at]
            if height > 0:
                top, bottom = frame.y(below + height), frame.y(below)
                out.append(
                    f'<rect x="{frame.x(at):.1f}" y="{top:.1f}" width="{width:.1f}" height="{bottom - top:.1f}" '
                    f'fill="{layer.colour}"><title>{at} s: {escape(layer.name)} {height:g}</title></rect>'
                )
                below += height
    out += [_legend(number, layer.name, layer.colour) for number, layer in enumerate(layers)]
    return "".join([*out, "</svg>"])


def nice(most: float) -> float:
    """Return a round number that is at least `most`."""
    if most <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= most * (1 - 1e-9))


@dataclass(frozen=True, slots=True)
class _Frame:
    low: float
    high: float
    top: float

    def x(self, at: float) -> float:
        return _LEFT + _INNER_WIDTH * (at - self.low) / max(1e-9, self.high - self.low)

    def y(self, value: float) -> float:
        return _TOP + _INNER_HEIGHT * (1 - value / self.top)

    def open(self, title: str, x: str, y: str) -> list[str]:
        """Begin a drawing: title, grid and axes."""
        out = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
            f"<title>{escape(title)}</title>",
            f'<text class="title" x="{_LEFT}" y="16">{escape(title)}</text>',
            f'<text x="{_LEFT}" y="{_TOP - 5}" class="unit">{escape(y)}</text>',
            f'<text x="{_LEFT + _INNER_WIDTH / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x)}</text>',
        ]
        for step in range(5):
            value, at = self.top * step / 4, self.low + (self.high - self.low) * step / 4
            out.append(f'<path class="grid" d="M{_LEFT} {self.y(value):.1f}h{_INNER_WIDTH}"/>')
            out.append(f'<text x="{_LEFT - 8}" y="{self.y(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
            out.append(f'<text x="{self.x(at):.1f}" y="{HEIGHT - 24}" text-anchor="middle">{at:.3g}</text>')
        return out


def _runs(points: Sequence[Point]) -> list[list[tuple[float, float]]]:
    runs: list[list[tuple[float, float]]] = [[]]
    for at, value in points:
        if value is None:
            runs.append([])
        else:
            runs[-1].append((at, value))
    return [run for run in runs if run]


def _dot(frame: _Frame, point: tuple[float, float], line: Line, told: str) -> str:
    place = f'cx="{frame.x(point[0]):.1f}" cy="{frame.y(point[1]):.1f}"'
    return f'<circle {place} r="3" fill="{line.colour}"><title>{escape(f"{line.name}: {told}")}</title></circle>'


def _legend(number: int, name: str, colour: str) -> str:
    x, y = _LEFT + _INNER_WIDTH + 10, _TOP + 10 + 18 * number
    return (
        f'<rect x="{x}" y="{y - 9}" width="10" height="10" rx="2" fill="{colour}"/>'
        f'<text x="{x + 15}" y="{y}">{escape(name)}</text>'
    )
