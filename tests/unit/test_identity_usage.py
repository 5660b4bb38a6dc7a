"""What was used is added up by UTC day, in memory first; what cannot be written waits, and nothing counts twice."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from spillway.admission.contract import Kind
from spillway.admission.identity.database import Database, StoreError
from spillway.admission.identity.usage import EVERY_S, Usage, UsageBook, day_of, read_usage

DAY = 86_400.0
NOON = 20_000 * DAY + DAY / 2


class Books:
    """Two gateways' books on one store, and a clock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = NOON
        self.log: list[str] = []
        self.one, self.two = (
            UsageBook(path, clock=lambda: self.now, log=lambda event, **_: self.log.append(event)) for _ in range(2)
        )

    def read(self, **more: Any) -> list[Usage]:
        with contextlib.closing(Database(self.path)) as database:
            return read_usage(database, **({"since": "2000-01-01"} | more))


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return Books(tmp_path / "tenants.db")


def run(books: Books, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        try:
            await main()
        finally:
            await books.one.close()
            await books.two.close()

    asyncio.run(whole())


def used(day: str, tenant: str, kind: str, *counts: int) -> Usage:
    requests, prompt, output = counts
    return Usage(day=day, tenant=tenant, kind=kind, requests=requests, prompt_tokens=prompt, output_tokens=output)


def test_days_are_utc() -> None:
    assert day_of(0.0) == "1970-01-01"
    assert day_of(NOON) == "2024-10-04"
    assert day_of(20_001 * DAY - 0.001) == "2024-10-04"
    assert day_of(20_001 * DAY) == "2024-10-05"


def test_what_gateways_gather_is_added_up_by_day_tenant_and_kind(books: Books) -> None:
    async def main() -> None:
        books.one.add("acme", Kind.CHAT, 10, 5, NOON)
        books.one.add("acme", Kind.CHAT, 1, 1, NOON)
        books.one.add("acme", Kind.BATCH, 7, 0, NOON)
        books.one.add("acme", Kind.CHAT, 2, 2, NOON + DAY)
        await books.one.flush()
        books.two.add("acme", Kind.CHAT, 100, 50, NOON)
        books.two.add("globex", Kind.CHAT, 3, 3, NOON)
        await books.two.flush()
        await books.one.flush()

    run(books, main)

    assert books.read() == [
        used("2024-10-04", "acme", "batch", 1, 7, 0),
        used("2024-10-04", "acme", "chat", 3, 111, 56),
        used("2024-10-04", "globex", "chat", 1, 3, 3),
        used("2024-10-05", "acme", "chat", 1, 2, 2),
    ]
    assert books.read(since="2024-10-05") == [used("2024-10-05", "acme", "chat", 1, 2, 2)]
    assert books.read(tenant="globex") == [used("2024-10-04", "globex", "chat", 1, 3, 3)]


def test_a_days_tokens_are_the_stores_and_what_is_not_written_yet(books: Books) -> None:
    async def main() -> None:
        books.two.add("acme", Kind.CHAT, 100, 0, NOON)
        await books.two.flush()
        assert books.one.day_tokens("acme") == 0, "it was not read yet"
        await books.one.flush()
        assert books.one.day_tokens("acme") == 100
        books.one.add("acme", Kind.CHAT, 10, 5, NOON)
        books.one.add("acme", Kind.GENERATE, 1, 0, NOON)
        books.one.add("acme", Kind.CHAT, 1000, 0, NOON - DAY)
        assert books.one.day_tokens("acme") == 116
        await books.one.flush()
        assert books.one.day_tokens("acme") == 116
        assert (books.one.day_tokens("acme", Kind.CHAT), books.one.day_tokens("acme", Kind.BATCH)) == (115, 0)
        books.now += DAY
        assert books.one.day_tokens("acme") == 0, "a new day"
        books.now -= DAY
        assert books.one.day_tokens("globex") == 0

    run(books, main)


def test_a_days_tokens_never_fall_while_they_are_being_written(books: Books) -> None:
    async def main() -> None:
        books.one.add("acme", Kind.CHAT, 10, 5, NOON)
        flushing = asyncio.create_task(books.one.flush())
        seen = set()
        while not flushing.done():
            seen.add(books.one.day_tokens("acme"))
            await asyncio.sleep(0)
        assert seen | {books.one.day_tokens("acme")} == {15}

    run(books, main)


def test_what_was_used_before_a_restart_is_known_after_it(books: Books) -> None:
    async def main() -> None:
        books.one.add("acme", Kind.CHAT, 10, 5, NOON)
        await books.one.close()
        await books.two.flush()
        assert books.two.day_tokens("acme") == 15

    run(books, main)


def test_what_cannot_be_written_waits_and_counts_once(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        await books.one.flush()
        books.one.add("acme", Kind.CHAT, 10, 5, NOON)
        with monkeypatch.context() as full:
            full.setattr(Database, "change", _no_space)
            await books.one.flush()
            books.one.add("acme", Kind.CHAT, 1, 1, NOON)
            await books.one.flush()
            assert books.one.day_tokens("acme") == 17
            assert books.one.facts() == {"usage_pending": 1.0, "usage_away": 1.0}
        await books.one.flush()
        assert books.one.day_tokens("acme") == 17

    run(books, main)

    assert books.read() == [used("2024-10-04", "acme", "chat", 2, 11, 6)]
    assert books.log == ["usage_not_written", "usage_written_again"]


def _no_space(_: Database) -> Any:
    raise StoreError("no space left")


def test_totals_that_cannot_be_read_leave_nothing_that_would_be_added_again(books: Books) -> None:
    async def main() -> None:
        await books.one.flush()
        with contextlib.closing(sqlite3.connect(books.path)) as connection:
            connection.execute("CREATE TRIGGER trip AFTER INSERT ON usage BEGIN SELECT RAISE(ABORT, 'trip'); END")
            books.one.add("acme", Kind.CHAT, 10, 5, NOON)
            await books.one.flush()
            assert books.read() == []
            connection.execute("DROP TRIGGER trip")
        await books.one.flush()

    run(books, main)

    assert books.read() == [used("2024-10-04", "acme", "chat", 1, 10, 5)]


def test_a_store_that_was_replaced_is_written_anew(books: Books) -> None:
    async def main() -> None:
        await books.one.flush()
        for file in books.path.parent.glob("tenants.db*"):
            file.unlink()
        books.one.add("acme", Kind.CHAT, 1, 1, NOON)
        await books.one.flush()

    run(books, main)

    assert [row.requests for row in books.read()] == [1]


def test_it_is_written_each_second(tmp_path: Path) -> None:
    slept: list[float] = []

    async def main() -> None:
        over = asyncio.Event()

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            if len(slept) == 3:
                over.set()
                await asyncio.Event().wait()

        book = UsageBook(tmp_path / "tenants.db", clock=lambda: NOON, log=print, sleep=sleep)
        task = asyncio.create_task(book.run())
        book.add("acme", Kind.CHAT, 1, 1, NOON)
        await over.wait()
        assert book.facts()["usage_pending"] == 0.0
        task.cancel()
        await asyncio.wait([task])
        await book.close()

    asyncio.run(main())

    assert slept == [EVERY_S] * 3
