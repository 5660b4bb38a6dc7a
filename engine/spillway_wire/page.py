"""The progress page: a few kilobytes of shared memory that say how far an engine's step loop is, also after its death.

The step loop writes before and after each step and, when idle, every 0.5 s; the supervisor, who owns the file,
reads whenever it likes. There are two slots. The writer always overwrites the older one, so that a death in the
middle of a write leaves the newer one whole. A slot is whole if its checksums fit: this assumes nothing of the
order in which one core sees another's stores, and a torn slot is simply not there. Little-endian, offsets in bytes::

    page    0  magic `SPLWPAGE`      8  version u32      12  size of a slot u32      16  slots A, B
    slot    0  CRC-32 of bytes 8 to the end of the counters, u32     4  CRC-32 of the ids, u32
            8  sequence u64          counts writes from 1; the larger of the whole slots is current
           16  state u32             `EngineState`
           20  ids, bytes u32
           24  ids, written u32      how many of the running step's sequences are named below
           28  ids, total u32        how many there are: more than written if they did not fit
           32  step u64              the running step, or the last one
           40  started_ns u64        CLOCK_MONOTONIC at its start; 0 while no step runs
           48  expected_ns u64       how long it should take
           56  ticked_ns u64         CLOCK_MONOTONIC of this write
           64  counters u64 each    in the order of `Counter`
            …  ids                   MessagePack: an array of (client, request, attempt, choice)
"""

import mmap
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, auto
from pathlib import Path
from typing import Final

import msgspec

MAX_IDS_BYTES: Final = 16 * 1024
"""256 sequences with UUIDs as request ids fit."""
HUNG_FLOOR_NS: Final = 2_000_000_000
HUNG_FACTOR: Final = 8
"""A step is late by its nature up to this many times its expected duration: a cold cache, a busy machine."""

Aboard = tuple[str, str, int, int]
"""(client id, request id, attempt, choice): one sequence of the running step."""


class EngineState(IntEnum):
    """Where the engine process is in its life, as far as it can say so itself."""

    SPAWNING = 0
    LOADING = 1
    WARMING = 2
    READY = 3
    DRAINING = 4
    STOPPED = 5


class Counter(IntEnum):
    """What is counted since the process began, and the gauges of the last write; the value is the place in the page."""

    REQUESTS_RECEIVED = 0
    CHOICES_COMPLETED = auto()
    CHOICES_FAILED = auto()
    """Ended with another outcome than `completed`, told to a client that was still there."""
    REQUESTS_REJECTED = auto()
    REQUESTS_ABORTED = auto()
    """By their client, or with its channel."""
    CLIENTS_TOO_SLOW = auto()
    MALFORMED_FRAMES = auto()
    STEPS = auto()
    STEP_TOKENS = auto()
    """Tokens computed: prompt, recomputed and decoded ones."""
    OUTPUT_TOKENS = auto()
    OUTPUT_FRAMES = auto()
    FAULTS_STRUCK = auto()
    RUNNING = auto()
    WAITING = auto()
    FREE_BLOCKS = auto()
    WAITING_PREFILL_TOKENS = auto()
    FAILED_LOGITS = auto()
    """Choices that ended because their logits held NaN or Inf."""
    PREEMPTIONS = auto()
    PREFIX_QUERIES = auto()
    """Tokens looked up in the prefix cache."""
    PREFIX_HITS = auto()
    """Tokens found there."""
    OUT_OF_MEMORY = auto()
    """Steps that did not fit into memory."""


_PAGE = struct.Struct("<8sII")
_MAGIC: Final = b"SPLWPAGE"
_VERSION: Final = 2
_CHECKS = struct.Struct("<II")
_BODY = struct.Struct(f"<Q4I4Q{len(Counter)}Q")
_IDS_AT: Final = _CHECKS.size + _BODY.size
_SLOT_BYTES: Final = -(-(_IDS_AT + MAX_IDS_BYTES) // 64) * 64
PAGE_BYTES: Final = _PAGE.size + 2 * _SLOT_BYTES


class PageError(ValueError):
    """The file is no progress page of this version."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What a page said when it was read. Times are CLOCK_MONOTONIC nanoseconds of the machine."""

    sequence: int
    state: EngineState
    step: int
    started_ns: int | None
    """None while no step runs."""
    expected_ns: int
    ticked_ns: int
    counters: dict[Counter, int]
    aboard: tuple[Aboard, ...]
    """The sequences of the running step, or of the last one when none runs."""
    num_aboard: int
    """More than `aboard` holds if they did not all fit."""


def create_page(path: Path) -> None:
    """Make the file of a page that says nothing yet; for the process that owns it."""
    path.write_bytes(_PAGE.pack(_MAGIC, _VERSION, _SLOT_BYTES).ljust(PAGE_BYTES, b"\0"))


def _check(buffer: mmap.mmap | bytes) -> None:
    if len(buffer) != PAGE_BYTES or _PAGE.unpack_from(buffer) != (_MAGIC, _VERSION, _SLOT_BYTES):
        raise PageError(f"not a progress page of version {_VERSION} ({PAGE_BYTES} bytes)")


def _map(path: Path, access: int) -> mmap.mmap:
    with path.open("r+b" if access == mmap.ACCESS_WRITE else "rb") as file:
        try:
            return mmap.mmap(file.fileno(), 0, access=access)
        except ValueError as error:  # an empty file cannot be mapped
            raise PageError(f"{path}: {error}") from None


class PageWriter:
    """The step loop's side. `state` and `counters` take effect with the next `begin`, `end` or `tick`."""

    def __init__(self, path: Path | None = None) -> None:
        """Write into the page at `path`, or into one of its own that nobody reads."""
        if path is None:
            self._page = mmap.mmap(-1, PAGE_BYTES)
            self._page[: _PAGE.size] = _PAGE.pack(_MAGIC, _VERSION, _SLOT_BYTES)
        else:
            self._page = _map(path, mmap.ACCESS_WRITE)
            _check(self._page)
        self.state = EngineState.SPAWNING
        self.counters = [0] * len(Counter)
        self._sequence = 0
        self._step = 0
        self._expected_ns = 0
        self._ids = b"\x90"
        self._ids_crc = zlib.crc32(self._ids)
        self._num_written = 0
        self._num_aboard = 0
        self._ids_version = 0
        self._slot_ids = [-1, -1]
        """Which version of the ids each slot holds: they are copied only where they are stale."""

    def set_aboard(self, aboard: Sequence[Aboard]) -> None:
        """Name the sequences of the steps to come; only needed when they change."""
        named, ids = aboard, msgspec.msgpack.encode(aboard)
        while len(ids) > MAX_IDS_BYTES:
            named = named[: len(named) * MAX_IDS_BYTES // len(ids)]
            ids = msgspec.msgpack.encode(named)
        self._ids, self._ids_crc = ids, zlib.crc32(ids)
        self._num_written, self._num_aboard = len(named), len(aboard)
        self._ids_version += 1

    def begin(self, step: int, now_ns: int, expected_ns: int) -> None:
        """Say that `step` starts now."""
        self._step, self._expected_ns = step, expected_ns
        self._write(now_ns, now_ns)

    def end(self, now_ns: int) -> None:
        """Say that no step runs, and that the loop is alive."""
        self._write(0, now_ns)

    tick = end

    def _write(self, started_ns: int, now_ns: int) -> None:
        self._sequence += 1
        which = self._sequence & 1
        base = _PAGE.size + which * _SLOT_BYTES
        page = self._page
        body = _BODY.pack(
            self._sequence,
            self.state,
            len(self._ids),
            self._num_written,
            self._num_aboard,
            self._step,
            started_ns,
            self._expected_ns,
            now_ns,
            *self.counters,
        )
        if self._slot_ids[which] != self._ids_version:
            self._slot_ids[which] = self._ids_version
            at = base + _IDS_AT
            page[at : at + len(self._ids)] = self._ids
        page[base : base + _IDS_AT] = _CHECKS.pack(zlib.crc32(body), self._ids_crc) + body

    def close(self) -> None:
        """Let go of the memory; what was written stays. Idempotent."""
        self._page.close()


class PageReader:
    """The supervisor's side; it may outlive the writer."""

    _TRIES: Final = 16
    """Two writes must overtake one read to spoil it, and there is a step between them: one try is nearly always all."""

    def __init__(self, path: Path) -> None:
        self._page = _map(path, mmap.ACCESS_READ)
        _check(self._page)

    def read(self) -> Progress | None:
        """Return the newest whole slot, or None if nothing was ever written."""
        for _ in range(self._TRIES):
            slots = (self._slot(0), self._slot(1))
            whole = [progress for progress in slots if progress is not None]
            if whole:
                return max(whole, key=lambda progress: progress.sequence)
        return None

    def _slot(self, which: int) -> Progress | None:
        base = _PAGE.size + which * _SLOT_BYTES
        return _parse(self._page[base : base + _SLOT_BYTES])

    def close(self) -> None:
        """Let go of the memory. Idempotent."""
        self._page.close()


def _parse(slot: bytes) -> Progress | None:
    """Return what a slot says, or None if it is torn or was never written."""
    crc, ids_crc = _CHECKS.unpack_from(slot)
    sequence, state, ids_bytes, written, total, step, started, expected, ticked, *counters = _BODY.unpack_from(
        slot, _CHECKS.size
    )
    ids = slot[_IDS_AT : _IDS_AT + ids_bytes]
    if sequence == 0 or zlib.crc32(slot[_CHECKS.size : _IDS_AT]) != crc or zlib.crc32(ids) != ids_crc:
        return None
    aboard = msgspec.msgpack.decode(ids, type=tuple[Aboard, ...])
    return Progress(
        sequence=sequence,
        state=EngineState(state),
        step=step,
        started_ns=started or None,
        expected_ns=expected,
        ticked_ns=ticked,
        counters=dict(zip(Counter, counters, strict=True)),
        aboard=aboard[:written],
        num_aboard=total,
    )


def overdue(progress: Progress, now_ns: int, *, floor_ns: int = HUNG_FLOOR_NS, factor: int = HUNG_FACTOR) -> int | None:
    """Return by how many nanoseconds the engine is late beyond all patience (it hangs), or None.

    Only an engine that serves is judged: while it loads, a start-up deadline holds.
    """
    if progress.state not in (EngineState.READY, EngineState.DRAINING):
        return None
    if progress.started_ns is None:
        late = now_ns - progress.ticked_ns - floor_ns
    else:
        late = now_ns - progress.started_ns - max(floor_ns, factor * progress.expected_ns)
    return late if late > 0 else None
