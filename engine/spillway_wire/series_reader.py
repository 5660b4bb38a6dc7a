"""Reads a page of series (`series_page`), also after its writer's death, and adds series up."""

import mmap
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from spillway_wire.series_page import (
    EXEMPLAR,
    EXEMPLAR_BODY,
    HEADER,
    RECORDS_AT,
    WORD,
    Exemplar,
    Record,
    map_page,
    records,
)

Labels = tuple[str, ...]
Key = tuple[int, Labels]
"""Metric id and values of its labels."""


class Values(NamedTuple):
    """What one series says: a counter's or gauge's one number; of a histogram each bucket's count, then the sum."""

    numbers: tuple[float, ...]
    exemplars: tuple[Exemplar | None, ...] = ()
    """Of a histogram that keeps them: one for each bucket."""


Series = dict[Key, Values]
"""In the order in which they were added."""


class Read(NamedTuple):
    """What a page says."""

    kept: Series
    """Counters and histograms."""
    gauges: Series
    """Of a writer that lives; those of the dead mean nothing."""


def add_to(sums: Series, series: Mapping[Key, Values]) -> None:
    """Add `series` to `sums`; of exemplars the later ones stay."""
    for key, values in series.items():
        known = sums.get(key)
        sums[key] = values if known is None else _added(known, values)


def _added(one: Values, other: Values) -> Values:
    numbers = tuple(a + b for a, b in zip(one.numbers, other.numbers, strict=True))
    if not one.exemplars:
        return Values(numbers)
    return Values(numbers, tuple(_later(a, b) for a, b in zip(one.exemplars, other.exemplars, strict=True)))


def _later(one: Exemplar | None, other: Exemplar | None) -> Exemplar | None:
    if one is None or other is None:
        return one or other
    return one if one.at >= other.at else other


class SeriesReader:
    """Reads one page. Which series there are it looks up once, as a page only grows."""

    def __init__(self, path: Path) -> None:
        """Raises OSError, and SeriesError if the file is no page."""
        self._page, self.identity = map_page(path, writable=False)
        self._values = memoryview(self._page).cast("d")
        self._end = RECORDS_AT
        self._records: list[tuple[Record, int]] = []

    @property
    def folded(self) -> int:
        """Of a page of totals: the last incarnation that is part of them."""
        return int(self._header[4])

    @property
    def _header(self) -> tuple[Any, ...]:
        return HEADER.unpack_from(self._page)

    def read(self) -> Read:
        """Return what it says now."""
        for record, values_at, end in records(self._page, self._end):
            self._records.append((record, values_at))
            self._end = end
        is_dead = bool(self._header[2])
        kept: Series = {}
        gauges: Series = {}
        for record, values_at in self._records:
            values = self._read(record, values_at)
            if not record.is_gauge:
                kept[record.metric_id, record.labels] = values
            elif not is_dead and values.numbers[0] == values.numbers[0]:  # one that is not set is no number
                gauges[record.metric_id, record.labels] = values
        return Read(kept, gauges)

    def _read(self, record: Record, values_at: int) -> Values:
        at = values_at // WORD
        numbers = tuple(self._values[at : at + record.num_values].tolist())
        first, size = values_at + record.num_values * WORD, EXEMPLAR.size
        return Values(
            numbers, tuple(_exemplar(self._page, first + number * size) for number in range(record.num_exemplars))
        )

    def close(self) -> None:
        """Let go of the memory. Idempotent."""
        self._values.release()
        self._page.close()


def _exemplar(page: mmap.mmap, at: int) -> Exemplar | None:
    body, crc = EXEMPLAR.unpack_from(page, at)
    if not crc or zlib.crc32(body) != crc:
        return None  # none yet, or it is being written
    trace_id, value, when = EXEMPLAR_BODY.unpack(body)
    return Exemplar(trace_id.hex(), value, when)
