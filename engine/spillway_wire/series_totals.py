"""Series that outlive their process: each incarnation's page while it lives, and one page of totals for what is over.

Files of a place (`engine-0`) in the runtime folder::

    engine-0.3.series    the third incarnation's page
    engine-0.totals      the sums over all that are over, and up to which incarnation they go

The supervisor alone writes totals: always a whole new file that takes the place of the old one at once. So ::

    all that was ever counted = totals + pages of later incarnations

holds for whoever reads the totals, then the pages, and at the end finds the same totals still there: nothing is missed
and nothing counted twice, whoever dies in between. That is why no sum ever goes backwards.
"""

import contextlib
import os
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from spillway_wire.series_page import (
    EXEMPLAR,
    EXEMPLAR_BODY,
    HEADER,
    MAGIC,
    RECORDS_AT,
    VERSION,
    Exemplar,
    Record,
    SeriesError,
    mark_dead,
)
from spillway_wire.series_reader import Key, Read, Series, SeriesReader, Values, add_to

SERIES_SUFFIX: Final = ".series"
TOTALS_SUFFIX: Final = ".totals"
_FRESH_SUFFIX: Final = ".totals-new"
_TRIES: Final = 8
"""Each but the last is spoilt by a death of its own."""


def series_file(folder: Path, place: str, incarnation: int) -> Path:
    """Return the page of one incarnation."""
    return folder / f"{place}.{incarnation}{SERIES_SUFFIX}"


def totals_file(folder: Path, place: str) -> Path:
    """Return the page of what is over."""
    return folder / (place + TOTALS_SUFFIX)


# ---- the supervisor's side ----


Rest = Callable[[Series], Series]
"""Gets what a dead process counted, and returns what is to be added for it."""


class SeriesTotals:
    """The sums over all incarnations of a place that are over."""

    def __init__(self, folder: Path, place: str) -> None:
        self._folder, self._place = folder, place
        self._sums: Series = {}
        self._waiting: list[tuple[int, Rest]] = []
        """Incarnations whose page could not be added yet, with what else is to be added for them."""

    def fold(self, incarnation: int, rest: Rest = lambda _: {}) -> None:
        """Add the page of an incarnation that is over, and the `rest`; then remove the page.

        Raises OSError if the totals cannot be written: the page stays what it is then, without its gauges, and the next
        fold takes it along.
        """
        with contextlib.suppress(OSError, SeriesError):
            mark_dead(series_file(self._folder, self._place, incarnation))
        self._waiting.append((incarnation, rest))
        sums = dict(self._sums)
        for over, missing in self._waiting:
            kept = self._kept(over)
            add_to(sums, kept)
            add_to(sums, missing(kept))
        self._write(sums, incarnation)
        self._sums = sums
        for over, _ in self._waiting:
            series_file(self._folder, self._place, over).unlink(missing_ok=True)
        self._waiting.clear()

    def begin(self) -> None:
        """Make the file of totals of nothing, so that a place has as many files before a death as after it.

        Raises OSError.
        """
        self._write({}, 0)

    def _write(self, sums: Series, folded: int) -> None:
        fresh = self._folder / (self._place + _FRESH_SUFFIX)
        fresh.write_bytes(totals_page(sums, folded))
        fresh.replace(totals_file(self._folder, self._place))

    def _kept(self, incarnation: int) -> Series:
        try:
            reader = SeriesReader(series_file(self._folder, self._place, incarnation))
        except (OSError, SeriesError):
            return {}  # it never had one, or spoilt it
        with contextlib.closing(reader):
            return reader.read().kept


def totals_page(sums: Mapping[Key, Values], folded: int) -> bytes:
    """Return a page of totals."""
    parts = []
    for (metric_id, labels), values in sums.items():
        parts.append(Record(metric_id, labels, len(values.numbers), len(values.exemplars), is_gauge=False).head())
        parts.append(struct.pack(f"={len(values.numbers)}d", *values.numbers))
        parts.extend(_packed(exemplar) for exemplar in values.exemplars)
    body = b"".join(parts)
    return HEADER.pack(MAGIC, VERSION, 0, RECORDS_AT + len(body), folded).ljust(RECORDS_AT, b"\0") + body


def _packed(exemplar: Exemplar | None) -> bytes:
    if exemplar is None:
        return bytes(EXEMPLAR.size)
    body = EXEMPLAR_BODY.pack(bytes.fromhex(exemplar.trace_id), exemplar.value, exemplar.at)
    return EXEMPLAR.pack(body, zlib.crc32(body))


# ---- whoever looks ----


@dataclass(slots=True)
class _Known:
    """What was seen of a place."""

    identity: tuple[int, int] | None = None
    """Of the file of totals; None: there was none."""
    reader: SeriesReader | None = None
    """Kept open: so no other file can have its identity."""
    totals: Series = field(default_factory=dict)
    last: Read = field(default_factory=lambda: Read({}, {}))


class SeriesFolder:
    """Reads all pages of a folder, and keeps them open from look to look."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, _Known] = {}
        self._pages: dict[tuple[str, int], SeriesReader] = {}

    def read(self) -> dict[str, Read]:
        """Return what every place says: its sums over all incarnations, and the gauges of the one that lives."""
        pages = self._look()
        for key in self._pages.keys() - {(place, number) for place, numbers in pages.items() for number in numbers}:
            self._pages.pop(key).close()
        return {place: self._read(place, numbers) for place, numbers in sorted(pages.items())}

    def close(self) -> None:
        """Let go of all pages. Idempotent."""
        for known in self._known.values():
            if known.reader is not None:
                known.reader.close()
        for page in self._pages.values():
            page.close()
        self._known.clear()
        self._pages.clear()

    def _look(self) -> dict[str, list[int]]:
        """Return the incarnations that have a page, by place."""
        found: dict[str, list[int]] = {}
        for name in os.listdir(self._folder):  # noqa: PTH208 - names are all that is needed, for every scrape
            if name.endswith(TOTALS_SUFFIX):
                found.setdefault(name.removesuffix(TOTALS_SUFFIX), [])
            elif name.endswith(SERIES_SUFFIX):
                place, _, number = name.removesuffix(SERIES_SUFFIX).rpartition(".")
                if place and number.isdecimal():
                    found.setdefault(place, []).append(int(number))
        return found

    def _read(self, place: str, incarnations: list[int]) -> Read:
        known = self._known.setdefault(place, _Known())
        for _ in range(_TRIES):
            folded = self._see_totals(place, known)
            kept, gauges = dict(known.totals), Series()
            for incarnation in sorted(number for number in incarnations if number > folded):
                page = self._page(place, incarnation)
                if page is not None:
                    read = page.read()
                    add_to(kept, read.kept)
                    gauges = read.gauges  # of two, the older one is about to be folded
            if self._identity(place) == known.identity:
                known.last = Read(kept, gauges)
                return known.last
            incarnations = self._look().get(place, [])
        return known.last

    def _see_totals(self, place: str, known: _Known) -> int:
        """Read the totals again if they are others; return up to which incarnation they go."""
        identity = self._identity(place)
        if identity != known.identity:
            if known.reader is not None:
                known.reader.close()
            known.identity, known.reader, known.totals = None, None, {}
            with contextlib.suppress(OSError, SeriesError):
                known.reader = SeriesReader(totals_file(self._folder, place))
                known.identity = known.reader.identity
                known.totals = known.reader.read().kept
        return 0 if known.reader is None else known.reader.folded

    def _identity(self, place: str) -> tuple[int, int] | None:
        try:
            found = totals_file(self._folder, place).stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _page(self, place: str, incarnation: int) -> SeriesReader | None:
        key = (place, incarnation)
        if key not in self._pages:
            try:
                self._pages[key] = SeriesReader(series_file(self._folder, place, incarnation))
            except (OSError, SeriesError):
                return None  # folded a moment ago, or nobody's
        return self._pages[key]
