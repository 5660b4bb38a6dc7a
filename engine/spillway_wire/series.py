"""Counters, gauges and histograms in a page of shared memory (`series_page`): the side that counts.

One process writes a page, from one thread. Counting is one addition to eight bytes; there are no locks and no messages,
and what was counted is still there when the process is not. ::

    requests = page.counters(names.REQUESTS)
    requests.of("demo", "gold", "default", "completed").add()

What does not fit into the page is counted in one series that every page has (`spillway_series_overflow_total`). What
would make a sum go backwards (a negative amount, or no number) is left out, and counted there, too.
"""

import math
import mmap
import zlib
from abc import ABC, abstractmethod
from bisect import bisect_left
from pathlib import Path
from typing import Final, Generic, TypeVar

from spillway_wire.metric import MAX_LABEL_CHARS, Kind, Metric, counter
from spillway_wire.series_page import (
    EXEMPLAR,
    EXEMPLAR_BODY,
    RECORDS_AT,
    SMALL_PAGE_BYTES,
    USED_AT,
    WORD,
    Record,
    map_page,
    new_page,
    records,
)

OVERFLOW: Final = counter(
    "spillway_series_overflow",
    "Observations that were not counted where they belong: their page was full, or they were no numbers.",
    place="process",
)
_NOWHERE: Final = -1
_INFINITY: Final = math.inf
_UNSET: Final = math.nan


class SeriesPage:
    """The writing side of a page. Ask it for the families once, and keep them."""

    def __init__(self, path: Path | None = None, *, num_bytes: int = SMALL_PAGE_BYTES) -> None:
        """Write into the page at `path`, or into memory of its own that nobody reads.

        Raises OSError, and SeriesError if the file is no page.
        """
        if path is None:
            self._page = mmap.mmap(-1, num_bytes)
            self._page[:num_bytes] = new_page(num_bytes)
        else:
            self._page = map_page(path, writable=True).page
        self._words = memoryview(self._page).cast("Q")
        self._values = memoryview(self._page).cast("d")
        self._end = RECORDS_AT
        self._places: dict[tuple[int, tuple[str, ...]], int] = {}
        """Of every series, the byte where its values begin."""
        for record, values_at, end in records(self._page, RECORDS_AT):
            self._places[record.metric_id, record.labels] = values_at
            self._end = end
        self._overflow = self.place(OVERFLOW, ()) // WORD

    def counters(self, metric: Metric) -> "Counters":
        """Return the family of a counter."""
        return Counters(self, metric)

    def gauges(self, metric: Metric) -> "Gauges":
        """Return the family of a gauge."""
        return Gauges(self, metric)

    def histograms(self, metric: Metric) -> "Histograms":
        """Return the family of a histogram."""
        return Histograms(self, metric)

    @property
    def memory(self) -> mmap.mmap:
        """The page."""
        return self._page

    @property
    def values(self) -> "memoryview[float]":
        """The page as eight-byte numbers."""
        return self._values

    def place(self, metric: Metric, labels: tuple[str, ...]) -> int:
        """Return the byte where a series' values begin, and add it if it is new; `_NOWHERE` if there is no room."""
        known = self._places.get((metric.id, labels))
        if known is not None:
            return known
        record = Record.of(metric, labels)
        head = record.head()
        values_at = self._end + len(head)
        end = values_at + record.num_body_bytes
        if end > len(self._page):
            return _NOWHERE
        self._page[self._end : values_at] = head
        if metric.kind is Kind.GAUGE:
            self._values[values_at // WORD] = _UNSET
        self._end = end
        self._words[USED_AT] = end  # from here on readers see it
        self._places[metric.id, labels] = values_at
        return values_at

    def lose(self, amount: float = 1.0) -> None:
        """Count an observation that could not be counted."""
        self._values[self._overflow] += amount

    @property
    def num_lost(self) -> int:
        """Observations that could not be counted."""
        return int(self._values[self._overflow])

    def close(self) -> None:
        """Let go of the memory; what was counted stays. Idempotent."""
        self._words.release()
        self._values.release()
        self._page.close()


class Counter:
    """One series that only grows."""

    __slots__ = ("_at", "_page", "_values")

    def __init__(self, page: SeriesPage, at: int) -> None:
        self._page, self._values, self._at = page, page.values, at // WORD

    def add(self, amount: float = 1.0) -> None:
        """Count."""
        if self._at >= 0 and 0.0 <= amount < _INFINITY:
            self._values[self._at] += amount
        else:
            self._page.lose()


class Gauge:
    """One series that says how things are now."""

    __slots__ = ("_at", "_page", "_values")

    def __init__(self, page: SeriesPage, at: int) -> None:
        self._page, self._values, self._at = page, page.values, at // WORD

    def set(self, value: float) -> None:
        """Say how it is now; NaN: it is not known, and nobody sees the series."""
        if self._at >= 0:
            self._values[self._at] = value
        else:
            self._page.lose()

    def clear(self) -> None:
        """Have the series vanish until it is set again."""
        self.set(_UNSET)


class Histogram:
    """One series of observations by bucket."""

    __slots__ = ("_at", "_bounds", "_exemplars_at", "_memory", "_page", "_sum_at", "_values")

    def __init__(self, page: SeriesPage, at: int, metric: Metric) -> None:
        self._page, self._memory, self._values = page, page.memory, page.values
        self._bounds = metric.buckets
        self._at = at // WORD
        self._sum_at = self._at + len(metric.buckets) + 1
        self._exemplars_at = at + metric.num_values * WORD if metric.exemplars else _NOWHERE

    def observe(self, value: float, trace_id: str | None = None, at: float = 0.0) -> None:
        """Count an observation; `trace_id` (32 hexadecimal digits) and its unix time make it the bucket's exemplar."""
        if self._at < 0 or not 0.0 <= value < _INFINITY:
            self._page.lose()
            return
        bucket = bisect_left(self._bounds, value)
        values = self._values
        values[self._at + bucket] += 1.0
        values[self._sum_at] += value
        if trace_id is not None and self._exemplars_at >= 0:
            try:
                body = EXEMPLAR_BODY.pack(bytes.fromhex(trace_id), value, at)
            except ValueError:  # no such id; the observation counts all the same
                return
            EXEMPLAR.pack_into(self._memory, self._exemplars_at + bucket * EXEMPLAR.size, body, zlib.crc32(body))


# ---- families: series by their labels ----

_Series = TypeVar("_Series")


class _Family(ABC, Generic[_Series]):
    """All series of one metric. Whoever counts often keeps what `of` returns."""

    def __init__(self, page: SeriesPage, metric: Metric, kind: Kind) -> None:
        if metric.kind is not kind:
            raise TypeError(f"{metric.name} is a {metric.kind}, not a {kind}")
        self._page, self._metric = page, metric
        self._known: dict[tuple[str, ...], _Series] = {}
        self._nowhere = self._make(_NOWHERE)

    @abstractmethod
    def _make(self, at: int) -> _Series:
        """Return the series at a place of the page."""

    def of(self, *labels: str) -> _Series:
        """Return the series with these values of the metric's labels."""
        known = self._known.get(labels)
        return self._add(labels) if known is None else known

    def _add(self, labels: tuple[str, ...]) -> _Series:
        if len(labels) != len(self._metric.labels):
            raise ValueError(f"{self._metric.name} has the labels {self._metric.labels}, not {labels}")
        at = self._page.place(self._metric, tuple(label[:MAX_LABEL_CHARS] for label in labels))
        if at == _NOWHERE:
            return self._nowhere  # and nothing is remembered: labels may be many
        self._known[labels] = self._make(at)
        return self._known[labels]


class Counters(_Family[Counter]):
    """Series of a counter."""

    def __init__(self, page: SeriesPage, metric: Metric) -> None:
        super().__init__(page, metric, Kind.COUNTER)

    def _make(self, at: int) -> Counter:
        return Counter(self._page, at)


class Gauges(_Family[Gauge]):
    """Series of a gauge."""

    def __init__(self, page: SeriesPage, metric: Metric) -> None:
        super().__init__(page, metric, Kind.GAUGE)

    def _make(self, at: int) -> Gauge:
        return Gauge(self._page, at)


class Histograms(_Family[Histogram]):
    """Series of a histogram."""

    def __init__(self, page: SeriesPage, metric: Metric) -> None:
        super().__init__(page, metric, Kind.HISTOGRAM)

    def _make(self, at: int) -> Histogram:
        return Histogram(self._page, at, self._metric)
