"""Follows the store and the mirror, so that a gateway's copy is never much older than either, and lacks nothing.

::

    store  ──changes──▶          ┌──────────────┐ ──▶ on_change, in the gateway's loop
           ◀──what it lacks──    │ copy, merged │
    mirror ──changes──▶          └──────────────┘
           ◀──what it lacks──

Two loops, each every 0.25 s, so that neither waits while the other's side is away. What was known once stays known:
a Redis that was flushed, and even a store that was deleted under a running gateway, are filled again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from spillway.admission.identity import records
from spillway.admission.identity.database import StoreError
from spillway.admission.identity.mirror import Mirror, MirrorAwayError
from spillway.admission.identity.records import EMPTY, Snapshot
from spillway.admission.identity.store import Store

EVERY_S: Final = 0.25


class Follower:
    """Keeps one copy. `start` it, `run` it as a task, and `close` it when that has ended."""

    def __init__(
        self,
        path: Path,
        mirror: Mirror | None,
        *,
        on_change: Callable[[Snapshot], None],
        log: Callable[..., None],
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`path`: of the store's file. `clock`: seconds since 1970."""
        self._path, self._mirror = path, mirror
        self._on_change, self._log, self._clock, self._sleep = on_change, log, clock, sleep
        self._store: Store | None = None
        self._seen: int | None = None
        """The store's version that was read last."""
        self._store_lacks = False
        """Whether the copy knows what the store does not."""
        self._away: set[str] = set()
        self._learning = asyncio.Lock()
        self.snapshot = EMPTY
        self._digest = EMPTY.digest()

    async def start(self) -> None:
        """Read both for the first time; raise `StoreError` if the store cannot be read: nobody would be known then."""
        await self._look_at_store()
        await self.look_at_mirror()

    async def run(self) -> None:
        """Follow both, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._every(self.look_at_store), name="follow the tenants' store")
            if self._mirror is not None:
                group.create_task(self._every(self.look_at_mirror), name="follow the tenants' mirror")

    async def _every(self, look: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._sleep(EVERY_S)
            try:
                await look()
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one look, the next one must follow
                self._log("tenants_not_followed", error=f"{type(error).__name__}: {error}")

    # ---- the store ----

    async def look_at_store(self) -> None:
        """Learn what the store knows better, and let it know what it lacks. The last copy counts while it is away."""
        try:
            await self._look_at_store()
        except StoreError as error:
            self._is_away("store", str(error))
        else:
            self._is_back("store")

    async def _look_at_store(self) -> None:
        # All of it in a thread, the question whether there is anything new as well: a disk may take its time.
        found = await asyncio.to_thread(self._read)
        if found is not None:
            await self._learn(found)
            self._store_lacks |= self._knows_more_than(found)
            self._seen = found.version
        if self._store_lacks and self._store is not None:
            absorbed = await asyncio.to_thread(self._store.absorb, self.snapshot, now=self._clock())
            self._store_lacks, self._seen = False, absorbed.version
            await self._learn(absorbed)

    def _read(self) -> Snapshot | None:
        """Return what the store holds; None if nothing has changed."""
        if self._store is not None and self._store.database.was_replaced:
            self._store.close()
            self._store = None
        if self._store is None:
            self._store, self._seen = Store(self._path), None
        return None if self._store.version() == self._seen else self._store.snapshot()

    # ---- the mirror ----

    async def look_at_mirror(self) -> None:
        """Learn what the mirror knows better, and let it know what it lacks. It may be away as long as it likes."""
        if self._mirror is None:
            return
        try:
            await self._look_at_mirror(self._mirror)
        except MirrorAwayError as error:
            self._is_away("mirror", str(error))
        else:
            self._is_back("mirror")

    async def _look_at_mirror(self, mirror: Mirror) -> None:
        said = await mirror.digest()
        if said == self._digest or (said is None and not self.snapshot.tenants):
            return
        found = None if said is None else await mirror.read()
        if found is not None and await self._learn(found):
            self._store_lacks = True
        if found is None or said != self._digest:
            await mirror.write(self.snapshot)

    # ---- the copy ----

    async def _learn(self, found: Snapshot) -> bool:
        """Take over what `found` knows better; return whether it was anything."""
        async with self._learning:
            merged, digest = await asyncio.to_thread(_merged, self.snapshot, found)
            is_news = digest != self._digest
            self.snapshot, self._digest = merged, digest
            if is_news:
                self._on_change(merged)
            return is_news

    def _knows_more_than(self, found: Snapshot) -> bool:
        return found.tenants != self.snapshot.tenants or found.keys != self.snapshot.keys

    def _is_away(self, place: str, error: str) -> None:
        if place not in self._away:
            self._away.add(place)
            self._log(f"tenants_{place}_away", error=error)

    def _is_back(self, place: str) -> None:
        if place in self._away:
            self._away.discard(place)
            self._log(f"tenants_{place}_back")

    def facts(self) -> dict[str, float]:
        """Return gauges by stable names."""
        return {
            "tenants_version": float(self.snapshot.version),
            "tenants_known": float(len(self.snapshot.tenants)),
            "tenants_store_away": float("store" in self._away),
            "tenants_mirror_away": float("mirror" in self._away),
        }

    async def close(self) -> None:
        """Let the store know what it lacks, so that what came by the mirror last outlives both, and let go of it."""
        if self._store is None:
            return
        if self._store_lacks:
            await self.look_at_store()
        await asyncio.to_thread(self._store.close)


def _merged(known: Snapshot, found: Snapshot) -> tuple[Snapshot, str]:
    merged = records.merge(known, found)
    return merged, merged.digest()
