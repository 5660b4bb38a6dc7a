"""Reads the store, while others write into it; for ops, in a thread, not on its loop.

A store that is not there yet, or cannot be read, is empty: the console says so and lives on.
"""

import contextlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import msgspec

from spillway.telemetry.trace_store.schema import SELECT, record_of, summary_of
from spillway.telemetry.tracing.span import Span, TraceKind, TraceSummary
from spillway.telemetry.tracing.trace import Record, unfold

MOST: Final = 1000


class Which(StrEnum):
    """Which traces a list shows."""

    ALL = "all"
    SLOW = "slow"
    """The longest first; all others are the latest first."""
    FAILED = "failed"
    RECOVERED = "recovered"


@dataclass(frozen=True, slots=True)
class Found:
    """One request's part of a trace, or an engine's."""

    summary: TraceSummary
    record: Record
    spans: tuple[Span, ...]
    """Made of the record."""


_WHERE: Final = {Which.FAILED: " AND failed", Which.RECOVERED: " AND recovered"}


class StoreReader:
    """Opens the file for each question: nothing is held, and a file that was replaced is no concern."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.problem = ""
        """Why the last question found nothing, if the store is to blame."""

    def recent(
        self,
        which: Which = Which.ALL,
        *,
        kind: TraceKind = TraceKind.REQUEST,
        model: str | None = None,
        tenant: str | None = None,
        limit: int = 50,
    ) -> list[TraceSummary]:
        """Return at most `limit` traces."""
        wheres, values = "kind = ?" + _WHERE.get(which, ""), [int(kind)]
        more: list[Any] = [*values]
        for column, value in (("model", model), ("tenant", tenant)):
            if value is not None:
                wheres += f" AND {column} = ?"
                more.append(value)
        order = "duration_s" if which is Which.SLOW else "started_ns"
        more.append(max(0, min(limit, MOST)))
        rows = self._ask(f"{SELECT} WHERE {wheres} ORDER BY {order} DESC LIMIT ?", more)
        return [summary_of(row) for row in rows]

    def get(self, trace_id: str) -> list[Found]:
        """Return all that is known of a trace, the earliest first."""
        return self._found("trace_id = ?", trace_id.lower())

    def find(self, request_id: str) -> list[Found]:
        """Return the trace of a request, by its id with or without an endpoint's prefix; none if it was not kept."""
        found = self._found("request_id = ?", request_id)
        _, underscore, bare = request_id.partition("_")
        _, dash, bare_dash = request_id.partition("-")
        if not found and underscore:
            found = self._found("request_id = ?", bare)
        if not found and dash:
            found = self._found("request_id = ?", bare_dash)
        return found

    def _found(self, where: str, value: str) -> list[Found]:
        columns = SELECT.replace(" FROM", ", record FROM")
        rows = self._ask(f"{columns} WHERE {where} ORDER BY started_ns LIMIT ?", [value, MOST])
        found = []
        for row in rows:
            with contextlib.suppress(msgspec.MsgspecError):
                record = record_of(row[-1])
                found.append(Found(summary_of(row[:-1]), record, unfold(record)))
        return found

    def _ask(self, query: str, values: Sequence[Any]) -> list[Any]:
        self.problem = ""
        try:
            with contextlib.closing(
                sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)
            ) as connection:
                return connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            self.problem = str(error)
            return []
