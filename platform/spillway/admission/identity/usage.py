"""What tenants used, by UTC day and kind of call: gathered in memory, added to the store each second.

A gateway that dies loses what it gathered since: a second's at most. What could not be written, because the disk was
full or another process took its time, is kept and tried again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from spillway.admission.contract import Kind
from spillway.admission.identity.database import Database, StoreError

EVERY_S: Final = 1.0
_Place = tuple[str, str, str]
"""Day, tenant, kind."""
_ADD: Final = """
INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    requests = requests + excluded.requests,
    prompt_tokens = prompt_tokens + excluded.prompt_tokens,
    output_tokens = output_tokens + excluded.output_tokens
"""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What one tenant used on one day with one kind of call."""

    day: str
    """UTC, `2026-01-31`."""
    tenant: str
    kind: str
    requests: int
    prompt_tokens: int
    output_tokens: int


@dataclass(slots=True)
class _Count:
    requests: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0


def day_of(now: float) -> str:
    """Return the UTC day of a time in seconds since 1970."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d")


def read_usage(database: Database, *, since: str, tenant: str | None = None) -> list[Usage]:
    """Return what was used from the day `since` on, by day, tenant and kind. Raises `StoreError`."""
    with database.read() as connection:
        rows = connection.execute(
            "SELECT day, tenant_id, kind, requests, prompt_tokens, output_tokens FROM usage "
            "WHERE day >= ? AND (? IS NULL OR tenant_id = ?) ORDER BY day, tenant_id, kind",
            (since, tenant, tenant),
        ).fetchall()
    return [
        Usage(day=day, tenant=name, kind=kind, requests=requests, prompt_tokens=prompt, output_tokens=output)
        for day, name, kind, requests, prompt, output in rows
    ]


class UsageBook:
    """One gateway's. `run` it as a task; `close` it when that has ended."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float],
        log: Callable[..., None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`path`: of the store's file. `clock`: seconds since 1970."""
        self._path, self._clock, self._log, self._sleep = path, clock, log, sleep
        self._database: Database | None = None
        self._pending: dict[_Place, _Count] = {}
        self._writing: dict[_Place, _Count] = {}
        """What a thread is adding to the store just now."""
        self._day = ""
        self._day_tokens: Mapping[tuple[str, str], int] = {}
        """What the store said of that day last, by tenant and kind."""
        self._today: tuple[int, str] = (-1, "")
        self._is_away = False
        self._flushing = asyncio.Lock()

    def add(self, tenant_id: str, kind: Kind, prompt_tokens: int, output_tokens: int, now: float) -> None:
        """Count one request that has ended at `now` (seconds since 1970)."""
        count = self._pending.setdefault((self._day_at(now), tenant_id, kind.value), _Count())
        count.requests += 1
        count.prompt_tokens += prompt_tokens
        count.output_tokens += output_tokens

    def day_tokens(self, tenant_id: str, kind: Kind | None = None) -> int:
        """Return what a tenant has used today (with one kind of call), as far as this gateway knows.

        It is never more than it really was, and lacks what other gateways used within the last second or two.
        """
        today = self._day_at(self._clock())
        total = 0
        for each in Kind if kind is None else (kind,):
            if today == self._day:
                total += self._day_tokens.get((tenant_id, each.value), 0)
            for counts in (self._writing, self._pending):
                count = counts.get((today, tenant_id, each.value))
                if count is not None:
                    total += count.prompt_tokens + count.output_tokens
        return total

    def _day_at(self, now: float) -> str:
        number = int(now // 86_400)
        if self._today[0] != number:
            self._today = number, day_of(now)
        return self._today[1]

    async def run(self) -> None:
        """Add to the store each second, for ever."""
        while True:
            await self._sleep(EVERY_S)
            await self.flush()

    async def flush(self) -> None:
        """Add what was gathered to the store, and read what the day's totals are; what fails is kept for the next."""
        async with self._flushing:
            self._writing, self._pending = self._pending, {}
            today = self._day_at(self._clock())
            try:
                totals = await asyncio.to_thread(self._write, self._writing, today)
            except StoreError as error:
                self._put_back()
                if not self._is_away:
                    self._log("usage_not_written", error=str(error))
                self._is_away = True
                return
            self._day, self._day_tokens, self._writing = today, totals, {}
            if self._is_away:
                self._log("usage_written_again")
            self._is_away = False

    def _put_back(self) -> None:
        for place, count in self._writing.items():
            kept = self._pending.setdefault(place, _Count())
            kept.requests += count.requests
            kept.prompt_tokens += count.prompt_tokens
            kept.output_tokens += count.output_tokens
        self._writing = {}

    def _write(self, counts: Mapping[_Place, _Count], today: str) -> dict[tuple[str, str], int]:
        if self._database is not None and self._database.was_replaced:
            self._database.close()
            self._database = None
        if self._database is None:
            self._database = Database(self._path)
        database = self._database
        # One transaction: an error of either part leaves nothing behind that would be added again.
        with database.change() if counts else database.read() as connection:
            connection.executemany(
                _ADD,
                [(*place, count.requests, count.prompt_tokens, count.output_tokens) for place, count in counts.items()],
            )
            rows = connection.execute(
                "SELECT tenant_id, kind, prompt_tokens + output_tokens FROM usage WHERE day = ?", (today,)
            )
            return {(tenant_id, kind): tokens for tenant_id, kind, tokens in rows.fetchall()}

    def facts(self) -> dict[str, float]:
        """Return gauges by stable names."""
        return {"usage_pending": float(len(self._pending)), "usage_away": float(self._is_away)}

    async def close(self) -> None:
        """Add the rest, and let go of the store. Idempotent."""
        if self._pending:
            await self.flush()
        database, self._database = self._database, None
        if database is not None:
            await asyncio.to_thread(database.close)
