"""A gateway's copy follows store and mirror, teaches each what it lacks, and stays while both are away."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from spillway.admission.identity import changes, keys
from spillway.admission.identity.database import StoreError
from spillway.admission.identity.mirror import MirrorAwayError, exchange
from spillway.admission.identity.records import EMPTY, Snapshot, StoredTenant
from spillway.admission.identity.refresh import EVERY_S, Follower
from spillway.admission.identity.store import Store


class SharedCopy:
    """A mirror in memory, which can be away."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        self.is_away = False
        self.reads = self.writes = 0

    async def digest(self) -> str | None:
        self._check()
        return None if self.snapshot is None else self.snapshot.digest()

    async def read(self) -> Snapshot | None:
        self._check()
        self.reads += 1
        return self.snapshot

    async def write(self, snapshot: Snapshot) -> None:
        self._check()
        self.writes += 1
        self.snapshot = snapshot

    def _check(self) -> None:
        if self.is_away:
            raise MirrorAwayError("refused")


class Host:
    """A store, a command line that changes it, and a gateway that follows."""

    def __init__(self, path: Path, mirror: SharedCopy | None) -> None:
        self.path = path
        self.log: list[str] = []
        self.changes: list[Snapshot] = []
        self.follower = Follower(
            path,
            mirror,
            on_change=self.changes.append,
            log=lambda event, **_: self.log.append(event),
            clock=lambda: 5.0,
        )

    def edit(self, change: Callable[[Any], Any]) -> None:
        store = Store(self.path)
        store.edit(change, who="ann", now=1.0)
        store.close()

    def add(self, name: str) -> str:
        key = changes.new_key(keys.new_key(os.urandom), name, now=1.0, expires_at=None)
        self.edit(lambda edit: changes.add(edit, StoredTenant(id=name, tier="gold"), key))
        return key.id

    def stored(self) -> Snapshot:
        store = Store(self.path)
        try:
            return store.snapshot()
        finally:
            store.close()

    async def look(self) -> None:
        """What happens every quarter of a second."""
        await self.follower.look_at_store()
        await self.follower.look_at_mirror()

    @property
    def known(self) -> set[str]:
        return set(self.follower.snapshot.tenants)


@pytest.fixture
def mirror() -> SharedCopy:
    return SharedCopy()


@pytest.fixture
def here(tmp_path: Path, mirror: SharedCopy) -> Host:
    return Host(tmp_path / "here.db", mirror)


@pytest.fixture
def there(tmp_path: Path, mirror: SharedCopy) -> Host:
    return Host(tmp_path / "there.db", mirror)


def run(main: Callable[[], Coroutine[Any, Any, None]], *hosts: Host) -> None:
    async def whole() -> None:
        try:
            await main()
        finally:
            for host in hosts:
                await host.follower.close()

    asyncio.run(whole())


def test_a_change_of_the_store_is_seen_at_the_next_look_and_told_once(here: Host, mirror: SharedCopy) -> None:
    async def main() -> None:
        await here.follower.start()
        assert here.changes == []
        here.add("acme")
        await here.look()
        await here.look()
        assert [set(change.tenants) for change in here.changes] == [{"acme"}]
        assert mirror.snapshot == here.stored()
        assert (mirror.reads, mirror.writes) == (0, 1)

    run(main, here)


def test_hosts_hear_of_each_others_changes_and_keep_them(here: Host, there: Host, mirror: SharedCopy) -> None:
    async def main() -> None:
        key = here.add("acme")
        there.add("globex")
        for host in (here, there):
            await host.follower.start()
        for host in (here, there):
            await host.look()
        assert here.known == there.known == {"acme", "globex"}
        there.edit(lambda edit: changes.revoke_key(edit, key))
        await there.look()
        await here.look()
        assert here.follower.snapshot.keys[key].revoked_at == 1.0
        for host in (here, there):
            await host.look()
        assert here.stored().digest() == there.stored().digest()
        assert here.stored().keys[key].revoked_at == 1.0, "it outlives Redis and the gateway"
        writes = mirror.writes
        for host in (here, there, here, there):
            await host.look()
        assert mirror.writes == writes, "there is nothing left to say"

    run(main, here, there)


def test_a_flushed_mirror_is_filled_again(here: Host, mirror: SharedCopy) -> None:
    async def main() -> None:
        here.add("acme")
        await here.follower.start()
        mirror.snapshot = None
        await here.look()
        assert mirror.snapshot == here.follower.snapshot

    run(main, here)


def test_an_old_copy_in_the_mirror_un_revokes_nothing(here: Host, mirror: SharedCopy) -> None:
    async def main() -> None:
        key = here.add("acme")
        await here.follower.start()
        old = mirror.snapshot
        here.edit(lambda edit: changes.revoke_tenant(edit, "acme"))
        await here.look()
        mirror.snapshot = old  # as after a failover to a replica that was behind
        await here.look()
        for snapshot in (here.follower.snapshot, mirror.snapshot, here.stored()):
            assert snapshot is not None
            assert not snapshot.tenants["acme"].enabled
            assert snapshot.keys[key].revoked_at == 1.0

    run(main, here)


def test_nothing_stored_writes_nothing(here: Host, mirror: SharedCopy) -> None:
    async def main() -> None:
        await here.follower.start()
        await here.look()
        assert (mirror.snapshot, mirror.writes) == (None, 0)

    run(main, here)


def test_the_last_copy_counts_while_the_mirror_is_away(here: Host, mirror: SharedCopy) -> None:
    async def main() -> None:
        mirror.is_away = True
        here.add("acme")
        await here.follower.start()
        await here.look()
        here.add("globex")
        await here.look()
        assert here.known == {"acme", "globex"}
        assert here.follower.facts()["tenants_mirror_away"] == 1.0
        mirror.is_away = False
        await here.look()
        assert mirror.snapshot is not None
        assert set(mirror.snapshot.tenants) == {"acme", "globex"}
        assert here.log == ["tenants_mirror_away", "tenants_mirror_back"]

    run(main, here)


def test_the_last_copy_counts_while_the_store_is_away_and_goes_back_into_it(here: Host, mirror: SharedCopy) -> None:
    async def main() -> None:
        here.add("acme")
        await here.follower.start()
        for file in here.path.parent.glob("here.db*"):
            file.unlink()
        here.path.mkdir()
        await here.look()
        await here.look()
        assert here.known == {"acme"}
        here.path.rmdir()
        await here.look()
        assert set(here.stored().tenants) == {"acme"}, "the new file knows what the gateway knew"
        assert here.log == ["tenants_store_away", "tenants_store_back"]

    run(main, here)


def test_what_came_by_the_mirror_reaches_the_store_when_that_is_back(
    here: Host, mirror: SharedCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        there_key = changes.new_key(keys.new_key(os.urandom), "globex", now=1.0, expires_at=None)
        await here.follower.start()
        mirror.snapshot = Snapshot(
            tenants={"globex": StoredTenant(id="globex", tier="gold")}, keys={there_key.id: there_key}, version=9
        )
        with monkeypatch.context() as full:
            full.setattr(Store, "absorb", _no_space)
            await here.look()
            await here.look()
            assert here.known == {"globex"}
            assert here.stored() == EMPTY
        await here.look()
        assert set(here.stored().tenants) == {"globex"}
        assert here.stored().version == 9

    run(main, here)


def _no_space(*_: object, **__: object) -> Snapshot:
    raise StoreError("no space left")


def test_a_store_that_cannot_be_read_at_start_is_an_error(here: Host) -> None:
    here.path.mkdir()

    async def main() -> None:
        with pytest.raises(StoreError, match="cannot be used"):
            await here.follower.start()

    run(main, here)


def test_it_looks_every_quarter_of_a_second_whatever_goes_wrong(tmp_path: Path) -> None:
    slept: list[float] = []
    log: list[tuple[str, str]] = []

    async def main() -> None:
        turns = asyncio.Semaphore(3)
        over = asyncio.Event()

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            if turns.locked():
                over.set()
            await turns.acquire()

        follower = Follower(
            tmp_path / "tenants.db",
            None,
            on_change=_confused,
            log=lambda event, **said: log.append((event, said["error"])),
            clock=lambda: 5.0,
            sleep=sleep,
        )
        host = Host(tmp_path / "tenants.db", None)
        host.add("acme")
        task = asyncio.create_task(follower.run())
        await over.wait()
        task.cancel()
        await asyncio.wait([task])
        await follower.close()

    asyncio.run(main())

    assert slept == [EVERY_S] * 4
    assert log == [("tenants_not_followed", "RuntimeError: confused")]


def _confused(_: Snapshot) -> None:
    raise RuntimeError("confused")


def test_an_exchange_teaches_both_sides(here: Host, mirror: SharedCopy) -> None:
    here.add("acme")
    mirror.snapshot = Snapshot(tenants={"globex": StoredTenant(id="globex", tier="gold")}, version=3)

    merged = asyncio.run(exchange(here.stored(), mirror))

    assert set(merged.tenants) == {"acme", "globex"}
    assert mirror.snapshot == merged
    asyncio.run(exchange(merged, mirror))
    assert mirror.writes == 1


def test_what_came_by_the_mirror_last_is_in_the_store_after_the_end(here: Host, mirror: SharedCopy) -> None:
    async def main() -> None:
        await here.follower.start()
        mirror.snapshot = Snapshot(tenants={"globex": StoredTenant(id="globex", tier="gold")}, version=3)
        await here.follower.look_at_mirror()
        assert here.stored() == EMPTY
        await here.follower.close()
        assert set(here.stored().tenants) == {"globex"}

    run(main, here)
