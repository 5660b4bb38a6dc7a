"""What a metric is, as data: its name, kind, labels, buckets, and whose it is.

The catalogue is `names`. Names are Prometheus's own form of them; where OpenTelemetry names the same thing, that name
stands beside it, and its dots become underscores here.
"""

import zlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

MAX_LABEL_CHARS: Final = 128
"""What is longer is cut: a label is a name, never a text."""


class Kind(StrEnum):
    """How values of a metric behave; the names are Prometheus's."""

    COUNTER = "counter"
    """Only grows, also over the death of whoever counts."""
    GAUGE = "gauge"
    """How things are now; it dies with whoever says so."""
    HISTOGRAM = "histogram"
    """Observations by bucket; they only grow, like counters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One family of series."""

    name: str
    """As exposed, without `_total`."""
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    """Whoever counts gives their values, in this order."""
    place: str = ""
    """The label that names the process whose series it is, added when it is read (such as `engine`). Empty: the
    series of all processes are added up. There is never one for the incarnation."""
    unit: str = ""
    """Prometheus's base unit, with which the name ends: seconds, bytes, ratio, …; empty where there is none."""
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets, inclusive, ascending, without the infinite one."""
    exemplars: bool = False
    """Whether each bucket keeps the trace of its latest observation."""
    attribute: str = ""
    """The OpenTelemetry name, where it has one."""
    id: int = field(init=False)
    """Tells one definition from every other one: readers skip what they do not know."""

    def __post_init__(self) -> None:
        if self.unit and not self.name.endswith("_" + self.unit):
            raise ValueError(f"the name {self.name!r} must end with its unit, {self.unit!r}")
        if (self.kind is Kind.HISTOGRAM) != bool(self.buckets):
            raise ValueError(f"{self.name}: histograms have buckets, and nothing else has")
        if any(low >= high for low, high in zip(self.buckets, self.buckets[1:], strict=False)):
            raise ValueError(f"{self.name}: bounds of buckets must ascend")
        said = repr((self.name, self.kind.value, self.labels, self.place, self.buckets, self.exemplars))
        object.__setattr__(self, "id", zlib.crc32(said.encode()))

    @property
    def num_values(self) -> int:
        """Slots of one series: a histogram has one for each bucket, and the sum."""
        return len(self.buckets) + 2 if self.kind is Kind.HISTOGRAM else 1

    @property
    def is_kept(self) -> bool:
        """Whether its values outlive whoever counted them."""
        return self.kind is not Kind.GAUGE

    @property
    def exposed(self) -> str:
        """The name of its samples; of a histogram, what stands before `_bucket`, `_sum` and `_count`."""
        return self.name + "_total" if self.kind is Kind.COUNTER else self.name


def counter(name: str, help_text: str, *labels: str, place: str = "", unit: str = "") -> Metric:
    """Return a counter."""
    return Metric(name=name, kind=Kind.COUNTER, help=help_text, labels=labels, place=place, unit=unit)


def gauge(name: str, help_text: str, *labels: str, place: str = "", unit: str = "") -> Metric:
    """Return a gauge."""
    return Metric(name=name, kind=Kind.GAUGE, help=help_text, labels=labels, place=place, unit=unit)


def histogram(
    name: str,
    help_text: str,
    *labels: str,
    buckets: tuple[float, ...],
    place: str = "",
    unit: str = "",
    exemplars: bool = False,
    attribute: str = "",
) -> Metric:
    """Return a histogram."""
    return Metric(
        name=name,
        kind=Kind.HISTOGRAM,
        help=help_text,
        labels=labels,
        place=place,
        unit=unit,
        buckets=buckets,
        exemplars=exemplars,
        attribute=attribute,
    )
