"""The tenants' database: private, shared by processes, and every change audited in the same transaction."""

import contextlib
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spillway.admission.contract import Band, Kind, Limits
from spillway.admission.identity import changes, keys
from spillway.admission.identity.database import Database, StoreError, holds_tenants
from spillway.admission.identity.records import StoredKey, StoredTenant
from spillway.admission.identity.store import ANOTHER_HOST, Edit, Store
from spillway.errors import UsageError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tenants.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with contextlib.closing(Store(path)) as opened:
        yield opened


def made_key(tenant: str = "acme", **more: Any) -> StoredKey:
    return changes.new_key(keys.new_key(os.urandom), tenant, now=1.0, expires_at=more.get("expires_at"))


def add(store: Store, name: str = "acme", **attributes: Any) -> StoredKey:
    key = made_key(name)
    store.edit(
        lambda edit: changes.add(edit, StoredTenant(id=name, tier="gold", **attributes), key), who="ann", now=1.0
    )
    return key


def limit(store: Store, limits: dict[str, int | None], kind: Kind | None = None, **attributes: Any) -> StoredTenant:
    def change(edit: Edit) -> StoredTenant:
        return changes.limit(edit, "acme", limits=limits, kind=kind, attributes=attributes)

    return store.edit(change, who="bob", now=2.0)


def test_it_is_its_owners_alone_with_all_its_files(store: Store, path: Path) -> None:
    add(store)

    files = list(path.parent.iterdir())
    assert path.with_name("tenants.db-wal") in files
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_what_was_added_is_there_for_who_opens_it_next(store: Store, path: Path) -> None:
    key = add(
        store,
        limits=Limits(requests_per_minute=60, request_burst=2),
        limits_by_kind={Kind.CHAT: Limits(max_concurrent=1)},
        models=("chat",),
        bands=(Band.BULK,),
        default_band=Band.BULK,
    )

    with contextlib.closing(Store(path)) as again:
        snapshot = again.snapshot()

    assert snapshot == store.snapshot()
    assert snapshot.version == 1
    assert snapshot.keys == {key.id: key}
    tenant = snapshot.tenants["acme"]
    assert (tenant.limits_by_kind[Kind.CHAT].max_concurrent, tenant.bands, tenant.changed) == (1, (Band.BULK,), 1)


def test_every_change_raises_the_version_and_says_who_what_before_and_after(store: Store) -> None:
    key = add(store)
    limit(store, {"requests_per_minute": 10})
    store.edit(lambda edit: changes.revoke_key(edit, key.id), who="cid", now=3.0)

    lines = store.audit()

    assert store.version() == 3
    assert [(line.at, line.who, line.action, line.subject) for line in lines] == [
        (1.0, "ann", "add tenant", "acme"),
        (1.0, "ann", "add key", key.id),
        (2.0, "bob", "limit", "acme"),
        (3.0, "cid", "revoke key", key.id),
    ]
    assert lines[0].before is None
    assert lines[2].before["limits"]["requests_per_minute"] is None
    assert lines[2].after["limits"]["requests_per_minute"] == 10
    assert lines[2].after["default_band"] == "default"
    assert "digest" not in lines[1].after
    assert lines[1].after["last4"] == key.last4


def test_a_change_that_fails_leaves_nothing_behind(store: Store) -> None:
    add(store)

    def fail(edit: Edit) -> None:
        changes.add_key(edit, made_key())
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.edit(fail, who="ann", now=2.0)

    assert (store.version(), len(store.snapshot().keys), len(store.audit())) == (1, 1, 2)


def test_limits_are_set_and_lifted_one_by_one_and_by_kind(store: Store) -> None:
    add(store)

    limit(store, {"requests_per_minute": 60, "request_burst": 5, "tokens_per_day": 9})
    tenant = limit(store, {"requests_per_minute": None})
    assert tenant.limits == Limits(tokens_per_day=9), "a burst goes with what it was of"

    tenant = limit(store, {"max_concurrent": 2}, Kind.BATCH)
    assert tenant.limits_by_kind == {Kind.BATCH: Limits(max_concurrent=2)}
    assert limit(store, {"max_concurrent": None}, Kind.BATCH).limits_by_kind == {}
    with pytest.raises(UsageError, match="give --rpm, too"):
        limit(store, {"request_burst": 5})


def test_attributes_are_changed_and_the_default_band_follows_the_bands(store: Store) -> None:
    add(store)

    assert limit(store, {}, bands=(Band.INTERACTIVE, Band.BULK)).default_band is Band.INTERACTIVE
    assert limit(store, {}, default_band=Band.BULK).default_band is Band.BULK
    assert limit(store, {}, tier="bronze", models=("a",)).models == ("a",)
    with pytest.raises(UsageError, match="must be one of the tenant's bands: interactive, bulk"):
        limit(store, {}, default_band=Band.DEFAULT)


def test_a_revoked_tenant_loses_all_keys_for_good_and_begins_anew_when_it_is_added_again(store: Store) -> None:
    first = add(store)
    second = made_key()
    store.edit(lambda edit: changes.add_key(edit, second), who="ann", now=2.0)

    assert store.edit(lambda edit: changes.revoke_tenant(edit, "acme"), who="ann", now=3.0) == 2
    third = add(store)

    snapshot = store.snapshot()
    assert snapshot.tenants["acme"].enabled
    revoked = {key.id for key in snapshot.keys.values() if key.revoked_at == 3.0}
    assert revoked == {first.id, second.id}
    assert snapshot.keys[third.id].revoked_at is None


def test_what_cannot_be_done_is_said(store: Store) -> None:
    key = add(store)
    cases: list[tuple[Any, str]] = [
        (lambda edit: changes.add(edit, StoredTenant(id="acme", tier="gold"), made_key()), "there is a tenant 'acme'"),
        (lambda edit: changes.add_key(edit, made_key("nobody")), "there is no tenant 'nobody'"),
        (lambda edit: changes.revoke_tenant(edit, "nobody"), "there is no tenant 'nobody'"),
        (lambda edit: changes.revoke_key(edit, "NOKEY"), "there is no key 'NOKEY'"),
    ]
    for change, told in cases:
        with pytest.raises(UsageError, match=told):
            store.edit(change, who="ann", now=2.0)
    store.edit(lambda edit: changes.revoke_key(edit, key.id), who="ann", now=2.0)
    store.edit(lambda edit: changes.revoke_tenant(edit, "acme"), who="ann", now=2.0)
    for change, told in (
        (lambda edit: changes.revoke_key(edit, key.id), "is revoked already"),
        (lambda edit: changes.revoke_tenant(edit, "acme"), "is revoked already"),
        (lambda edit: changes.add_key(edit, made_key()), "is revoked; `spillway tenants add acme`"),
    ):
        with pytest.raises(UsageError, match=told):
            store.edit(change, who="ann", now=2.0)


def test_another_copy_is_absorbed_once_and_audited(store: Store, tmp_path: Path) -> None:
    mine = add(store)
    with contextlib.closing(Store(tmp_path / "other.db")) as other:
        theirs = add(other, "globex")
        other.edit(lambda edit: changes.revoke_key(edit, theirs.id), who="zed", now=2.0)
        copy = other.snapshot()
        other.absorb(store.snapshot(), now=4.0)
        merged = store.absorb(copy, now=5.0)

        assert merged == store.snapshot()
        assert merged.digest() == other.snapshot().digest()
        assert merged.keys.keys() == {mine.id, theirs.id}
        assert merged.keys[theirs.id].revoked_at == 2.0
        assert merged.version == 2
        assert {line.who for line in store.audit() if line.subject == "globex"} == {ANOTHER_HOST}
        before = store.version(), len(store.audit())
        store.absorb(other.snapshot(), now=6.0)
        assert (store.version(), len(store.audit())) == before


def test_many_that_open_and_change_it_at_once_lose_nothing(path: Path) -> None:
    problems: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with contextlib.closing(Store(path)) as mine:
                for turn in range(5):
                    add(mine, f"t{number}-{turn}")
        except BaseException as error:  # noqa: BLE001 - told below, in the test's own thread
            problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert problems == []
    with contextlib.closing(Store(path)) as store:
        assert (store.version(), len(store.snapshot().tenants), len(store.audit())) == (30, 30, 60)


def test_whether_tenants_are_stored_is_told_without_making_a_file(path: Path) -> None:
    assert not holds_tenants(path)
    assert not path.exists()
    path.touch()
    assert not holds_tenants(path)
    with contextlib.closing(Store(path)) as store:
        assert not holds_tenants(path)
        add(store)
        assert holds_tenants(path)
        store.edit(lambda edit: changes.revoke_tenant(edit, "acme"), who="ann", now=2.0)
    assert holds_tenants(path), "who was there once keeps the door closed"


def test_a_file_that_is_none_is_told_in_one_line(path: Path) -> None:
    path.write_bytes(b"this is no database, and long enough to be looked at" * 100)

    for opened in (lambda: Store(path), lambda: holds_tenants(path)):
        with pytest.raises(StoreError, match=r"tenants\.db cannot be used: file is not a database"):
            opened()
    with pytest.raises(StoreError, match="cannot be used: No such file or directory"):
        Store(path.parent / "nowhere" / "tenants.db")


def test_a_file_of_a_newer_spillway_is_left_alone(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")

    with pytest.raises(StoreError, match="written by a newer Spillway"):
        Store(path)


def test_a_row_that_cannot_be_read_is_told(store: Store) -> None:
    with store.database.change() as connection:
        connection.execute("INSERT INTO tenants VALUES ('x', '{')")

    with pytest.raises(StoreError, match="holds what cannot be read"):
        store.snapshot()


def test_a_file_that_was_replaced_is_noticed(path: Path) -> None:
    with contextlib.closing(Database(path)) as database:
        found = [database.was_replaced]
        path.unlink()
        found.append(database.was_replaced)
        path.touch()
        found.append(database.was_replaced)

    assert found == [False, True, True]
