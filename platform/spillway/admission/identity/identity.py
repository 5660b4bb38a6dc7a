"""Identity of one gateway: the parts tied together, from settings, the state folder, and a Redis if there is one."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from spillway.admission.contract import Caller
from spillway.admission.identity.database import FILE
from spillway.admission.identity.directory import Directory
from spillway.admission.identity.identify import Headers, Identifier
from spillway.admission.identity.mirror import RedisMirror
from spillway.admission.identity.records import Snapshot
from spillway.admission.identity.refresh import Follower
from spillway.admission.identity.usage import UsageBook
from spillway.settings import AuthSettings, Settings

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from spillway.admission.identity.jwks import JwksSource


class Identity:
    """Who asks, kept up to date. `start` it before requests are served; `close` it after the last one."""

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        redis: "Redis | None",
        *,
        log: Callable[..., None],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`folder`: the state folder, which must be there. `redis` stays its owner's to close."""
        self._settings, self._log, self._clock, self._monotonic = settings, log, clock, monotonic
        self._notes: tuple[str, ...] = ()
        self._source: JwksSource | None = None
        self._following_keys: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        mirror = None if redis is None else RedisMirror(redis)
        self._follower = Follower(folder / FILE, mirror, on_change=self._tenants_changed, log=log, clock=clock)
        self.usage = UsageBook(folder / FILE, clock=clock, log=log)
        self._identifier = Identifier(Directory.of(settings), None, is_open=settings.network.open, clock=clock)

    @property
    def directory(self) -> Directory:
        """All tenants as they are now."""
        return self._identifier.directory

    async def start(self) -> None:
        """Read everything for the first time, and follow it. Raises `StoreError`: who asks could not be told."""
        await self._follower.start()
        self._install()
        await self.usage.flush()
        await self._follow_issuer(self._settings.auth)
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._follower.run(), name="follow the tenants"),
            loop.create_task(self.usage.run(), name="write what was used"),
        ]

    def identify_now(self, headers: Headers) -> Caller | None:
        """Return who asks, or raise `Refused`; None, seldom, if that takes `identify`."""
        return self._identifier.identify_now(headers)

    async def identify(self, headers: Headers) -> Caller:
        """Return who asks, or raise `Refused`. Waits only for an issuer's new key, and for 2 s at most."""
        return await self._identifier.identify(headers)

    async def reload(self, settings: Settings) -> None:
        """Take over tiers, declared tenants, the issuer and who is let in anonymously."""
        before, self._settings = self._settings, settings
        self._install()
        if settings.auth != before.auth:
            await self._follow_issuer(settings.auth)

    def facts(self) -> dict[str, float]:
        """Return gauges by stable names."""
        issuer = {} if self._source is None else self._source.facts()
        return {**self._follower.facts(), **self.usage.facts(), **issuer}

    async def close(self) -> None:
        """Stop following, and write what was used since. Idempotent."""
        tasks, self._tasks = self._tasks, []
        if self._following_keys is not None:
            tasks.append(self._following_keys)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._source is not None:
            await self._source.close()
        await self.usage.close()
        await self._follower.close()

    def _tenants_changed(self, _: Snapshot) -> None:
        self._install()

    def _install(self) -> None:
        directory = Directory.of(self._settings, self._follower.snapshot)
        self._identifier.directory = directory
        self._identifier.is_open = self._settings.network.open
        for note in directory.notes:
            if note not in self._notes:
                self._log("tenants_note", note=note)
        self._notes = directory.notes

    async def _follow_issuer(self, auth: AuthSettings) -> None:
        """Believe this issuer from now on, and no other; there is no moment at which anybody may come in."""
        task, source = self._following_keys, self._source
        self._following_keys = self._source = None
        if auth.jwt_issuer is None or auth.jwt_jwks is None:
            self._identifier.bearer = None
        else:
            self._source = self._believe(auth, auth.jwt_jwks)
            self._following_keys = asyncio.get_running_loop().create_task(
                self._source.run(), name="follow the issuer's keys"
            )
            await self._source.refresh()
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if source is not None:
            await source.close()

    def _believe(self, auth: AuthSettings, jwks: str) -> "JwksSource":
        # Cryptography is large, and loaded only where tokens are used.
        from spillway.admission.identity.bearer import BearerTokens  # noqa: PLC0415
        from spillway.admission.identity.jwks import JwksSource, reader  # noqa: PLC0415

        fetch, every_s = reader(jwks)
        source = JwksSource(fetch, every_s, clock=self._monotonic, log=self._log)
        self._identifier.bearer = BearerTokens(auth, source, clock=self._clock)
        return source
