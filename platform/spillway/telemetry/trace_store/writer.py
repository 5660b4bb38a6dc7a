"""Writes traces into the store in batches, and keeps it within its bounds. A sink of the telemetry thread.

A disk that is full, a file that is broken or locked: the batch is lost and counted, the operator hears of it once, and
a little later it is tried again. A broken file is put aside as `traces.db.broken`, and a new one is begun.
"""

import contextlib
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from spillway.telemetry.trace_store.schema import INSERT, connect, row_of
from spillway.telemetry.tracing.span import TraceKind
from spillway.telemetry.tracing.trace import Trace

MAX_TRACES: Final = 10_000
MAX_AGE_S: Final = 24 * 3600.0
_SHARES: Final = {TraceKind.REQUEST: 1.0, TraceKind.RESTART: 0.1, TraceKind.STEP: 0.2}
"""Of the bound, for each kind: steps are many, and must not push out requests."""
_PRUNE_EVERY: Final = 500
"""Traces written from one pruning to the next, of this process."""
_AGAIN_S: Final = 5.0


class StoreWriter:
    """See the module. `facts` may be read from another thread."""

    def __init__(
        self,
        path: Path,
        *,
        log: Callable[..., None],
        max_traces: int = MAX_TRACES,
        max_age_s: float = MAX_AGE_S,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Nothing is opened before the first write."""
        self._path, self._log = path, log
        self._max_traces, self._max_age_s = max_traces, max_age_s
        self._clock, self._wall = clock, wall
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._not_before = 0.0
        self._failing = False
        self._unpruned = _PRUNE_EVERY  # what is there from before is pruned with the first batch
        self.num_written = self.num_lost = 0

    def write(self, traces: Sequence[Trace]) -> None:
        """Write a batch, all or nothing."""
        if not traces:
            return
        if self._clock() < self._not_before:
            self.num_lost += len(traces)
            return
        try:
            self._write(traces)
        except (sqlite3.Error, OSError) as error:
            self.num_lost += len(traces)
            self._failed(error)
        else:
            self.num_written += len(traces)
            if self._failing:
                self._failing = False
                self._log("trace_store_writes_again", lost=self.num_lost)

    def _write(self, traces: Sequence[Trace]) -> None:
        if self._connection is not None and self._inode != self._path.stat().st_ino:
            self._disconnect()  # another process put the file aside
        if self._connection is None:
            self._connection = self._open()
            self._inode = self._path.stat().st_ino
        connection = self._connection
        rows = [row_of(trace) for trace in traces]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(INSERT, rows)
        self._unpruned += len(rows)
        if self._unpruned >= _PRUNE_EVERY:
            self._prune(connection)
        connection.execute("COMMIT")

    def _prune(self, connection: sqlite3.Connection) -> None:
        self._unpruned = 0
        oldest_ns = int((self._wall() - self._max_age_s) * 1e9)
        for kind, share in _SHARES.items():
            most = max(1, int(self._max_traces * share))
            connection.execute("DELETE FROM traces WHERE kind = ? AND started_ns < ?", (int(kind), oldest_ns))
            connection.execute(
                "DELETE FROM traces WHERE kind = ?1 AND id <= "
                "(SELECT id FROM traces WHERE kind = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                (int(kind), most),
            )

    def _open(self) -> sqlite3.Connection:
        try:
            return connect(self._path)
        except sqlite3.OperationalError:
            raise  # locked, no room, no such folder: the file itself may be sound
        except sqlite3.DatabaseError:
            self._put_aside()
            return connect(self._path)

    def _put_aside(self) -> None:
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):  # another process did so in this moment
            self._path.replace(self._path.with_name(self._path.name + ".broken"))

    def _failed(self, error: sqlite3.Error | OSError) -> None:
        self._not_before = self._clock() + _AGAIN_S
        self._unpruned = _PRUNE_EVERY  # room may be all that is missing
        self._disconnect()  # what was begun is rolled back
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
            with contextlib.suppress(OSError):
                self._put_aside()
        if not self._failing:
            self._failing = True
            self._log("trace_store_fails", path=str(self._path), error=f"{type(error).__name__}: {error}")

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def facts(self) -> Mapping[str, float]:
        """Return counts by stable names."""
        return {"traces_stored": self.num_written, "traces_store_lost": self.num_lost}

    def close(self, patience_s: float) -> None:
        """Close the file. What was written stays."""
        del patience_s  # every batch was written when it came
        self._disconnect()
