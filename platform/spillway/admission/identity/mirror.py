"""The copy of tenants and keys in Redis: how hosts hear of each other's changes. It may be lost at any time.

One hash: `digest` is small and asked for often; `snapshot` is read when the digest is another than one's own. Who finds
that the copy lacks something writes what both know together. Of two that write at once the last one stays, and the
other sees at its next look that its rows are missing, and writes again.
"""

import asyncio
from typing import Any, Final, Protocol

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from spillway.admission.identity.records import Snapshot, merge

KEY: Final = "spillway:tenants"
_PATIENCE_S: Final = 0.5
"""How long one word with Redis may take; no request waits for it."""


class MirrorAwayError(Exception):
    """The mirror cannot be read or written now."""


class Mirror(Protocol):
    """Another place for a copy. Raises `MirrorAwayError`."""

    async def digest(self) -> str | None:
        """Return the digest of the copy; None if there is none."""

    async def read(self) -> Snapshot | None:
        """Return the copy; None if there is none that can be read."""

    async def write(self, snapshot: Snapshot) -> None:
        """Replace the copy."""


class RedisMirror:
    """A mirror in Redis. It does not close the client."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis

    async def digest(self) -> str | None:
        """Return the digest of the copy; None if there is none."""
        found = await self._ask("HGET", KEY, "digest")
        return found.decode("utf-8", "replace") if isinstance(found, bytes) else found

    async def read(self) -> Snapshot | None:
        """Return the copy; None if there is none that can be read."""
        found = await self._ask("HGET", KEY, "snapshot")
        try:
            return None if found is None else msgspec.json.decode(found, type=Snapshot)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None  # it is written over then

    async def write(self, snapshot: Snapshot) -> None:
        """Replace the copy."""
        facts = ("digest", snapshot.digest(), "version", str(snapshot.version))
        await self._ask("HSET", KEY, *facts, "snapshot", msgspec.json.encode(snapshot))

    async def _ask(self, *words: str | bytes) -> Any:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await self._redis.execute_command(*words)
        except (RedisError, OSError, TimeoutError) as error:
            raise MirrorAwayError(f"{type(error).__name__}: {error}") from None


async def exchange(snapshot: Snapshot, mirror: Mirror) -> Snapshot:
    """Return what `snapshot` and the mirror know together, and let the mirror know it. Raises `MirrorAwayError`."""
    found = await mirror.read()
    merged = snapshot if found is None else merge(snapshot, found)
    if found is None or merged.digest() != found.digest():
        await mirror.write(merged)
    return merged
