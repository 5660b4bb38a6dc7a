"""The layout of a page of series: a file of fixed size in shared memory, filled from the front, never moved.

Counters, gauges and histograms of one process live there, eight bytes each, so that they outlive it, and so that a
reader never sees half of a value. Series are only ever added. A new one is written whole before `used` says that it is
there, and its head bears a checksum, which assumes nothing of the order in which one core sees another's stores.
Native byte order, as it never leaves the machine; offsets in bytes, all records aligned to eight::

    page     0  magic `SPLWSERS`     8  version u32    12  dead u32: its writer is gone, and its gauges mean nothing
            16  used u64             end of the last whole record
            24  folded u64           of a page of totals: the last incarnation that is part of them
            64  records
    record   0  CRC-32 of what follows, up to the end of the labels, u32
             4  metric u32           `Metric.id`
             8  labels, bytes u16   10  values u16, how many   12  exemplars u16, how many   14  gauge u16, 0 or 1
            16  labels               MessagePack: an array of strings; padded to eight
             …  values f64           a counter's or gauge's one; of a histogram each bucket's count, then the sum
             …  exemplars            40 bytes each, one for each bucket:
                   0 trace id (16)  16 value f64  24 unix time f64  32 CRC-32 of these 32 bytes u32; 0: there is none
"""

import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from spillway_wire.metric import Kind, Metric

MAGIC: Final = b"SPLWSERS"
VERSION: Final = 1
HEADER: Final = struct.Struct("=8sIIQQ")
RECORDS_AT: Final = 64
USED_AT: Final = 2
"""Place of `used` among the page's eight-byte words."""
_DEAD_AT: Final = 12
RECORD: Final = struct.Struct("=IIHHHH")
_CHECKED: Final = struct.Struct("=IHHHH")
EXEMPLAR_BODY: Final = struct.Struct("=16sdd")
EXEMPLAR: Final = struct.Struct("=32sI4x")
WORD: Final = 8

SMALL_PAGE_BYTES: Final = 64 * 1024
"""For engines and ops: a few histograms."""
LARGE_PAGE_BYTES: Final = 1024 * 1024
"""For gateways and the supervisor: a hundred tenants, and each combination of model, tier and outcome."""


class SeriesError(ValueError):
    """The file is no page of series of this version."""


class Exemplar(NamedTuple):
    """One observation that can be looked up."""

    trace_id: str
    """32 hexadecimal digits."""
    value: float
    at: float
    """Unix time, seconds."""


@dataclass(frozen=True, slots=True)
class Record:
    """The head of one series: which it is, and what lies behind the head."""

    metric_id: int
    labels: tuple[str, ...]
    num_values: int
    num_exemplars: int
    is_gauge: bool

    @classmethod
    def of(cls, metric: Metric, labels: tuple[str, ...]) -> "Record":
        """Return that of a series of `metric`."""
        num_exemplars = len(metric.buckets) + 1 if metric.exemplars else 0
        return cls(metric.id, labels, metric.num_values, num_exemplars, metric.kind is Kind.GAUGE)

    def head(self) -> bytes:
        """Return its first bytes, up to the values."""
        labels = msgspec.msgpack.encode(self.labels)
        body = _CHECKED.pack(self.metric_id, len(labels), self.num_values, self.num_exemplars, self.is_gauge) + labels
        return (struct.pack("=I", zlib.crc32(body)) + body).ljust(RECORD.size + padded(len(labels)), b"\0")

    @property
    def num_body_bytes(self) -> int:
        """How much lies behind the head."""
        return self.num_values * WORD + self.num_exemplars * EXEMPLAR.size


def padded(num_bytes: int) -> int:
    """Round up to whole words."""
    return -(-num_bytes // WORD) * WORD


def new_page(num_bytes: int = SMALL_PAGE_BYTES) -> bytes:
    """Return a page without series."""
    return HEADER.pack(MAGIC, VERSION, 0, RECORDS_AT, 0).ljust(num_bytes, b"\0")


def create_series(path: Path, num_bytes: int = SMALL_PAGE_BYTES) -> None:
    """Make the file of a page without series; for the process that owns it.

    Every byte is written, so that a disk that is full is met here, with an OSError, and not by a fatal signal later on.
    """
    path.write_bytes(new_page(num_bytes))


class Mapped(NamedTuple):
    """A page in memory."""

    page: mmap.mmap
    identity: tuple[int, int]
    """Device and inode: no other file has them while this one is mapped."""


def map_page(path: Path, *, writable: bool) -> Mapped:
    """Map a page. Raises OSError, and SeriesError if it is none."""
    with path.open("r+b" if writable else "rb") as file:
        found = os.fstat(file.fileno())
        try:
            page = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ)
        except ValueError as error:  # an empty file cannot be mapped
            raise SeriesError(f"{path}: {error}") from None
    if len(page) < RECORDS_AT or len(page) % WORD or HEADER.unpack_from(page)[:2] != (MAGIC, VERSION):
        page.close()
        raise SeriesError(f"{path} is no page of series of version {VERSION}")
    return Mapped(page, (found.st_dev, found.st_ino))


def mark_dead(path: Path) -> None:
    """Say in a page that its writer is gone. Raises OSError and SeriesError."""
    page = map_page(path, writable=True).page
    struct.pack_into("=I", page, _DEAD_AT, 1)
    page.close()


def records(page: mmap.mmap | bytes, start: int) -> Iterator[tuple[Record, int, int]]:
    """Yield the whole records from byte `start` on, each with the byte where its values begin, and the one after it."""
    (used,) = struct.unpack_from("=Q", page, USED_AT * WORD)
    limit = min(used, len(page))
    while start + RECORD.size <= limit:
        crc, metric_id, num_label_bytes, num_values, num_exemplars, is_gauge = RECORD.unpack_from(page, start)
        labels_at = start + RECORD.size
        values_at = labels_at + padded(num_label_bytes)
        end = values_at + num_values * WORD + num_exemplars * EXEMPLAR.size
        if end > limit or zlib.crc32(page[start + 4 : labels_at + num_label_bytes]) != crc:
            return  # not whole yet: another look will see it
        labels = msgspec.msgpack.decode(page[labels_at : labels_at + num_label_bytes], type=tuple[str, ...])
        yield Record(metric_id, labels, num_values, num_exemplars, bool(is_gauge)), values_at, end
        start = end
