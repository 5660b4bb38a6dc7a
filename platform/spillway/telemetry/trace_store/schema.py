"""The store's one table, and how its file is opened.

Gateways write while ops reads: the write-ahead log lets them. A trace is one row, its record one blob, of which
spans are made when it is read; a trace id is not unique, for several requests of one caller can be part of one trace.
"""

import sqlite3
from pathlib import Path
from typing import Final

import msgspec

from spillway.telemetry.tracing.span import TraceSummary
from spillway.telemetry.tracing.trace import Record, Trace

FILE_NAME: Final = "traces.db"
VERSION: Final = 2
"""Another version's file is put aside: traces are of yesterday, and not worth a migration."""
BUSY_S: Final = 2.0
COLUMNS: Final = (
    "kind", "trace_id", "root_id", "name", "started_ns", "duration_s", "request_id", "model", "tenant", "outcome",
    "ttft_s", "failed", "recovered",
)  # fmt: skip
INSERT: Final = (
    f"INSERT OR IGNORE INTO traces ({', '.join(COLUMNS)}, record) "  # noqa: S608 - the names above
    f"VALUES ({', '.join('?' * (len(COLUMNS) + 1))})"
)
SELECT: Final = f"SELECT {', '.join(COLUMNS)} FROM traces"  # noqa: S608 - the same

_CREATE: Final = """
CREATE TABLE IF NOT EXISTS traces (
    id INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    trace_id TEXT NOT NULL,
    root_id TEXT NOT NULL,
    name TEXT NOT NULL,
    started_ns INTEGER NOT NULL,
    duration_s REAL NOT NULL,
    request_id TEXT NOT NULL,
    model TEXT NOT NULL,
    tenant TEXT NOT NULL,
    outcome TEXT NOT NULL,
    ttft_s REAL,
    failed INTEGER NOT NULL,
    recovered INTEGER NOT NULL,
    record BLOB NOT NULL,
    UNIQUE (trace_id, root_id)
);
CREATE INDEX IF NOT EXISTS by_request ON traces (request_id);
CREATE INDEX IF NOT EXISTS by_kind ON traces (kind, started_ns);
"""

Row = tuple[int | float | str | bytes | None, ...]
_DECODER: Final[msgspec.msgpack.Decoder[Record]] = msgspec.msgpack.Decoder(Record)
_ENCODER: Final = msgspec.msgpack.Encoder()


class StoreVersionError(sqlite3.DatabaseError):
    """The file is of another version."""


def connect(path: Path) -> sqlite3.Connection:
    """Open the store, and make what is not there yet. Raises sqlite3.Error."""
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA journal_size_limit=16777216")
        _check(connection.execute("PRAGMA user_version").fetchone()[0])
        connection.executescript(f"BEGIN IMMEDIATE;{_CREATE}PRAGMA user_version={VERSION};COMMIT;")
    except BaseException:
        connection.close()
        raise
    path.chmod(0o600)  # contents may be in it, where the settings ask for them
    return connection


def _check(version: int) -> None:
    if version not in (0, VERSION):
        raise StoreVersionError(f"the trace store is of version {version}, not {VERSION}")


def row_of(trace: Trace) -> Row:
    """Return a trace as a row, its record last."""
    summary = trace.summary
    return (
        *(int(value) if isinstance(value, int) else value for value in msgspec.structs.astuple(summary)),
        _ENCODER.encode(trace.record),
    )


def summary_of(row: Row) -> TraceSummary:
    """Return what a row of `SELECT` says."""
    return msgspec.convert(row, TraceSummary, strict=False)


def record_of(blob: bytes) -> Record:
    """Return what a row's spans are made of. Raises msgspec.MsgspecError."""
    return _DECODER.decode(blob)
