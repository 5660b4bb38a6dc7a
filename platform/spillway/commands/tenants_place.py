"""Where `spillway tenants` finds tenants: the settings that declare some, and the store of the state folder."""

import asyncio
import contextlib
import os
import pwd
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from spillway.admission.identity.database import FILE
from spillway.admission.identity.store import Edit, Store
from spillway.cli import Surroundings
from spillway.configuration import configure
from spillway.errors import UsageError
from spillway.settings import Settings
from spillway.state import StateFolder

_Edited = TypeVar("_Edited")
_SPAN: Final = re.compile(r"([1-9][0-9]{0,5})([smhdw])")
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_PATIENCE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Place:
    """One instance's tenants."""

    settings: Settings
    store: Store
    around: Surroundings

    @property
    def declared(self) -> dict[str, tuple[str, ...]]:
        """The tenants that the file declares, with the public ids of their keys."""
        return {each.tenant.id: tuple(key.partition(":")[0] for key in each.keys) for each in self.settings.tenants}

    def refuse_declared(self, name: str) -> None:
        """Raise `UsageError` for a tenant, or the id of a key, that is the file's."""
        owner = next((tenant for tenant, keys in self.declared.items() if name == tenant or name in keys), None)
        if owner is not None:
            raise UsageError(
                f"tenant {owner!r} is declared in the configuration file: change [tenants.{owner}] there, then send "
                f"SIGHUP to the supervisor"
            )

    def edit(self, change: Callable[[Edit], _Edited]) -> _Edited:
        """Change the store; other hosts hear of it at once where a Redis is shared with them."""
        self._exchange()
        result = self.store.edit(change, who=user(), now=time.time())
        if not self._exchange():
            self.around.err.write("spillway: Redis does not answer; other hosts will know when it does\n")
        return result

    def _exchange(self) -> bool:
        """Learn from the shared Redis, and teach it; return False if it is away."""
        if self.settings.redis is None:
            return True  # the embedded one is the gateways' own: they read the store themselves
        from redis.asyncio import Redis  # noqa: PLC0415 - large, and seldom needed

        from spillway.admission.identity.mirror import MirrorAwayError, RedisMirror, exchange  # noqa: PLC0415

        url, mine = self.settings.redis, self.store.snapshot()

        async def talk() -> None:
            redis = Redis.from_url(url, socket_connect_timeout=_PATIENCE_S, socket_timeout=_PATIENCE_S)
            try:
                both = await exchange(mine, RedisMirror(redis))
            finally:
                await redis.aclose()
            await asyncio.to_thread(self.store.absorb, both, now=time.time())

        try:
            asyncio.run(talk())
        except MirrorAwayError:
            return False
        return True


@contextlib.contextmanager
def opened(given: Mapping[str, Any], around: Surroundings) -> Iterator[Place]:
    """Open the store of the instance that the arguments mean; it is made if there is none."""
    flags = {flag: value for flag, value in given.items() if flag in {"--state-dir", "--config"}}
    # An address that needs tenants must not keep the first one from being made.
    settings = configure(flags, around.environment, around.folder, has_tenants=lambda _: True)
    state = StateFolder.of(settings.state_dir, around.environment)
    state.create()
    with contextlib.closing(Store(state.path / FILE)) as store:
        yield Place(settings, store, around)


def user() -> str:
    """Return who runs this, as the operating system knows it."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def span_s(text: str, flag: str) -> float:
    """Read a span of time. Raises `UsageError`."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise UsageError(f"{flag} is {text!r}; it must be a number and a unit: 30d, 12h, 15m, 2w")
    return float(int(found[1]) * _UNITS_S[found[2]])


def stamp(at: float | None) -> str | None:
    """Return a time for people and programs: UTC, to the second."""
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
