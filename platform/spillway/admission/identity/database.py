"""The SQLite file of the state folder that holds tenants, their keys, the audit and what was used: `tenants.db`, 0600.

Several processes have it open: the gateways, and `spillway tenants` beside them. Readers and one writer do not wait
for each other (WAL); writers wait for one another, so their transactions are short. A transaction that has ended is on
disk.
"""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from spillway.errors import SpillwayError

FILE: Final = "tenants.db"
"""Its name in the state folder."""
_SCHEMA_VERSION: Final = 1
_BUSY_S: Final = 5.0
"""How long a writer waits for its turn."""
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS tenants (id TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS keys (id TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS audit (
    number INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    who TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    before BLOB,
    after BLOB
);
CREATE TABLE IF NOT EXISTS usage (
    day TEXT NOT NULL,
    tenant_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    requests INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    PRIMARY KEY (day, tenant_id, kind)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS version (number INTEGER NOT NULL);
INSERT INTO version SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM version);
"""


class StoreError(SpillwayError):
    """The tenants' database cannot be read or written."""


class Database:
    """One connection; any thread may use it, one at a time. Close it."""

    def __init__(self, path: Path) -> None:
        """Open the file, and make it if it is not there. Raises `StoreError`."""
        self.path = path
        self._lock = threading.Lock()
        try:
            # SQLite gives its other files (-wal, -shm) the permissions of this one. It is opened here only where it is
            # not there yet: closing any descriptor of a file drops this process's locks on it, those of its other
            # connections too, and then the next process to leave would believe to be the last and delete their log.
            with contextlib.suppress(FileExistsError):
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            self._file_id = _file_id(path)
            self._connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise _unusable(path, error) from None
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        with self._translated():
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            (found,) = self._connection.execute("PRAGMA user_version").fetchone()
        if found > _SCHEMA_VERSION:
            raise StoreError(f"{self.path} was written by a newer Spillway (its schema is {found}); use that one")
        if found < _SCHEMA_VERSION:
            with self.change() as connection:
                for statement in _SCHEMA.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")

    @property
    def was_replaced(self) -> bool:
        """Whether another file, or none, is at its path now."""
        try:
            return _file_id(self.path) != self._file_id
        except OSError:
            return True

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """See one state of everything. Raises `StoreError`."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextlib.contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """Change all or nothing, alone. Raises `StoreError`."""
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._lock, self._translated():
            self._connection.execute(begin)
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _unusable(self.path, error) from None

    def close(self) -> None:
        """Let go of the file. Idempotent."""
        with self._lock:
            self._connection.close()


def _file_id(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _unusable(path: Path, error: Exception) -> StoreError:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return StoreError(f"the tenants' database {path} cannot be used: {reason}")


def holds_tenants(path: Path) -> bool:
    """Whether there is such a file with a tenant in it; makes none. Raises `StoreError` if it cannot be told."""
    if not path.exists():
        return False
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            connection.execute("PRAGMA busy_timeout = 1000")
            if connection.execute("PRAGMA user_version").fetchone() == (0,):
                return False
            return connection.execute("SELECT 1 FROM tenants LIMIT 1").fetchone() is not None
    except sqlite3.Error as error:
        raise _unusable(path, error) from None
