"""The truth on tenants: SQLite in the state folder, one per host. What Redis holds is a copy of it.

Every change raises `version` and leaves a line in the audit, in the same transaction.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from spillway.admission.identity import records
from spillway.admission.identity.database import Database, StoreError
from spillway.admission.identity.records import Snapshot, StoredKey, StoredTenant

ANOTHER_HOST: Final = "another host"
"""Who changed what came by the mirror; that host's own audit knows more."""
_Edited = TypeVar("_Edited")


class AuditLine(msgspec.Struct, frozen=True, kw_only=True):
    """One change."""

    at: float
    """Seconds since 1970."""
    who: str
    action: str
    subject: str
    """The tenant or the key that was changed."""
    before: Any = None
    after: Any = None


class Edit:
    """One transaction: what is there, and what is put in its place."""

    def __init__(self, snapshot: Snapshot, *, who: str, now: float) -> None:
        self.before = snapshot
        self.now = now
        self.version = snapshot.version + 1
        """The number of this change."""
        self.tenants: dict[str, StoredTenant] = {}
        self.keys: dict[str, StoredKey] = {}
        self.audit: list[AuditLine] = []
        self._who = who

    def put_tenant(self, action: str, tenant: StoredTenant) -> None:
        """Add or replace a tenant."""
        self._note(action, tenant.id, self.tenant(tenant.id), tenant)
        self.tenants[tenant.id] = tenant

    def put_key(self, action: str, key: StoredKey) -> None:
        """Add or replace a key."""
        self._note(action, key.id, self.before.keys.get(key.id), key)
        self.keys[key.id] = key

    def tenant(self, name: str) -> StoredTenant | None:
        """Return a tenant as it is now."""
        return self.tenants.get(name) or self.before.tenants.get(name)

    def _note(self, action: str, subject: str, before: object, after: object) -> None:
        line = AuditLine(
            at=self.now, who=self._who, action=action, subject=subject, before=_shown(before), after=_shown(after)
        )
        self.audit.append(line)


def _shown(record: object) -> Any:
    """Return a record for people: without the hash of a key, and bands by their labels."""
    if record is None:
        return None
    shown: dict[str, Any] = msgspec.to_builtins(record, str_keys=True)
    shown.pop("digest", None)
    if isinstance(record, StoredTenant):
        shown["bands"] = [band.label for band in record.bands]
        shown["default_band"] = record.default_band.label
    return shown


class Store:
    """Reads and changes tenants and keys. All of it waits for a disk: call it in a thread. Raises `StoreError`."""

    def __init__(self, path: Path) -> None:
        self.database = Database(path)

    def version(self) -> int:
        """Return the number of the last change."""
        with self.database.read() as connection:
            (number,) = connection.execute("SELECT number FROM version").fetchone()
            return int(number)

    def snapshot(self) -> Snapshot:
        """Return all tenants and keys."""
        with self.database.read() as connection:
            return self._snapshot(connection)

    def edit(self, change: Callable[[Edit], _Edited], *, who: str, now: float) -> _Edited:
        """Let `change` put rows, and keep them, with their audit; nothing if it raises. Returns what it returns."""
        with self.database.change() as connection:
            edit = Edit(self._snapshot(connection), who=who, now=now)
            result = change(edit)
            if edit.audit:
                self._write(connection, edit)
            return result

    def absorb(self, other: Snapshot, *, now: float) -> Snapshot:
        """Take over what another copy knows better; return what is known then."""
        with self.database.change() as connection:
            mine = self._snapshot(connection)
            merged = records.merge(mine, other)
            edit = Edit(mine, who=ANOTHER_HOST, now=now)
            for tenant in records.news(mine.tenants, merged.tenants):
                edit.put_tenant("absorb tenant", tenant)
            for key in records.news(mine.keys, merged.keys):
                edit.put_key("absorb key", key)
            if not edit.audit:
                return mine
            edit.version = other.version if other.version > mine.version else mine.version + 1
            self._write(connection, edit)
            return msgspec.structs.replace(merged, version=edit.version)

    def audit(self) -> list[AuditLine]:
        """Return every change, the oldest first."""
        with self.database.read() as connection:
            rows = connection.execute(
                "SELECT at, who, action, subject, before, after FROM audit ORDER BY number"
            ).fetchall()
        return [
            AuditLine(at=at, who=who, action=action, subject=subject, before=_loaded(before), after=_loaded(after))
            for at, who, action, subject, before, after in rows
        ]

    def _snapshot(self, connection: Any) -> Snapshot:
        (version,) = connection.execute("SELECT number FROM version").fetchone()
        try:
            return Snapshot(
                tenants=records.by_id(
                    msgspec.json.decode(row, type=StoredTenant)
                    for (row,) in connection.execute("SELECT record FROM tenants")
                ),
                keys=records.by_id(
                    msgspec.json.decode(row, type=StoredKey) for (row,) in connection.execute("SELECT record FROM keys")
                ),
                version=version,
            )
        except msgspec.MsgspecError as error:
            raise StoreError(f"the tenants' database {self.database.path} holds what cannot be read: {error}") from None

    def _write(self, connection: Any, edit: Edit) -> None:
        for table, rows in (("tenants", edit.tenants.values()), ("keys", edit.keys.values())):
            connection.executemany(
                f"INSERT OR REPLACE INTO {table} VALUES (?, ?)",  # noqa: S608 - both names stand above
                [(row.id, msgspec.json.encode(row)) for row in rows],
            )
        connection.executemany(
            "INSERT INTO audit (at, who, action, subject, before, after) VALUES (?, ?, ?, ?, ?, ?)",
            [
                (line.at, line.who, line.action, line.subject, _dumped(line.before), _dumped(line.after))
                for line in edit.audit
            ],
        )
        connection.execute("UPDATE version SET number = ?", (edit.version,))

    def close(self) -> None:
        """Let go of the file. Idempotent."""
        self.database.close()


def _dumped(shown: object) -> bytes | None:
    return None if shown is None else msgspec.json.encode(shown)


def _loaded(content: bytes | None) -> Any:
    return None if content is None else msgspec.json.decode(content)
