"""A board as data: rows of panels, each with its queries, its unit, what it means and where it begins to be bad."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from spillway_dashboards.promql import BY_MODEL_AND_TIER, Scope

GREEN: Final = "green"
ORANGE: Final = "orange"
RED: Final = "red"


class Shape(StrEnum):
    """How a panel shows what it asks for; the values are Grafana's names of panels."""

    LINES = "timeseries"
    NUMBER = "stat"
    HEATMAP = "heatmap"
    STATES = "state-timeline"
    TABLE = "table"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One question to Prometheus."""

    expr: str
    legend: str = ""
    exemplars: bool = False
    """Whether the traces behind single observations are shown, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """From which value on which colour holds."""

    at: float
    color: str


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A number that stands for a word."""

    value: int
    text: str
    color: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel. Without a threshold it says how things are, not how they should be."""

    title: str
    description: str
    """What it shows, and what to make of it."""
    unit: str
    """Grafana's name of it."""
    queries: tuple[Query, ...]
    shape: Shape = Shape.LINES
    base: str = GREEN
    """The colour below the first threshold."""
    thresholds: tuple[Threshold, ...] = ()
    states: tuple[State, ...] = ()
    stacked: bool = False
    least: float | None = 0.0
    most: float | None = None
    decimals: int | None = None
    empty: str = "-"
    """What stands there while there is nothing to show."""
    width: int = 8
    """Of 24 columns."""
    height: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A choice at the top of a board, of the values that a label has."""

    name: str
    label: str
    query: str
    """Grafana's `label_values(…)`."""
    all_value: str = ".*"
    """What stands for all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Moments that are marked on every panel of time."""

    name: str
    expr: str
    """Has an answer at a moment that is to be marked."""
    color: str
    title: str
    text: str
    tags: tuple[str, ...]
    """Labels that become tags."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One board."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]
    scope: Scope = BY_MODEL_AND_TIER
    variables: tuple[Variable, ...] = ()
    """Beside those of the scope."""
    period: str = "now-1h"


def rising(*, orange: float, red: float) -> tuple[Threshold, ...]:
    """Return thresholds of what is bad when it is high."""
    return (Threshold(at=orange, color=ORANGE), Threshold(at=red, color=RED))


def falling(*, orange: float, green: float) -> tuple[Threshold, ...]:
    """Return thresholds of what is bad when it is low; its base is `RED`."""
    return (Threshold(at=orange, color=ORANGE), Threshold(at=green, color=GREEN))


def never(at: float = 1.0) -> tuple[Threshold, ...]:
    """Return the threshold of what must not happen at all."""
    return (Threshold(at=at, color=RED),)
