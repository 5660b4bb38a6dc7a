"""Slow and failed requests, and one request as a waterfall: what the trace store says, in a console's words.

The store is read in a thread. Many consoles ask the same: they share one answer, and one that is young enough is given
again.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from spillway.telemetry.trace_store.reader import Found, StoreReader, Which
from spillway.telemetry.tracing.span import Span, TraceKind, TraceSummary

KEPT_S: Final = 1.0
MOST: Final = 200


class Requests:
    """Asks the store, at most once a second for each kind of list."""

    def __init__(self, store: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`store` is the store's file."""
        self._path, self._store, self._clock = store, StoreReader(store), clock
        self._lists: dict[tuple[Which, int], tuple[float, asyncio.Future[dict[str, Any]]]] = {}

    async def recent(self, which: Which, limit: int) -> dict[str, Any]:
        """Return a list of requests, and why it is empty if the store is to blame."""
        key = (which, max(1, min(limit, MOST)))
        known = self._lists.get(key)
        if known is None or self._clock() - known[0] >= KEPT_S:
            self._lists = {one: kept for one, kept in self._lists.items() if self._clock() - kept[0] < KEPT_S}
            known = (self._clock(), asyncio.ensure_future(asyncio.to_thread(self._read, *key)))
            self._lists[key] = known
        return await asyncio.shield(known[1])

    async def waterfall(self, trace_id: str) -> dict[str, Any] | None:
        """Return all that is known of a trace; None: nothing."""
        found = await asyncio.to_thread(self._store.get, trace_id)
        return {"parts": [part_of(one) for one in found]} if found else None

    async def find(self, request_id: str) -> dict[str, Any] | None:
        """Return the trace of a request; None: it was not kept, or not written yet."""
        found = await asyncio.to_thread(self._store.find, request_id)
        return {"parts": [part_of(one) for one in found]} if found else None

    def _read(self, which: Which, limit: int) -> dict[str, Any]:
        rows = self._store.recent(which, kind=TraceKind.REQUEST, limit=limit)
        problem = self._store.problem if self._path.exists() else ""  # nothing was traced yet
        return {"requests": [row_of(row) for row in rows], "problem": problem}


def row_of(summary: TraceSummary) -> dict[str, Any]:
    """Return a line of the list."""
    return {
        "trace_id": summary.trace_id,
        "request_id": summary.request_id,
        "name": summary.name,
        "at": summary.started_ns / 1e9,
        "duration_s": summary.duration_s,
        "ttft_s": summary.ttft_s,
        "model": summary.model,
        "tenant": summary.tenant,
        "outcome": summary.outcome,
        "failed": summary.failed,
        "recovered": summary.recovered,
    }


def part_of(found: Found) -> dict[str, Any]:
    """Return one request's spans, with times in seconds from its begin."""
    start_ns = found.spans[0].start_ns if found.spans else found.summary.started_ns
    return {"summary": row_of(found.summary), "spans": [_span(span, start_ns) for span in found.spans]}


def _span(span: Span, start_ns: int) -> dict[str, Any]:
    return {
        "id": span.span_id.hex(),
        "parent": None if span.parent_id is None else span.parent_id.hex(),
        "name": span.name,
        "start_s": (span.start_ns - start_ns) / 1e9,
        "duration_s": span.duration_s,
        "attributes": span.attributes,
        "events": [
            {"name": event.name, "at_s": (event.at_ns - start_ns) / 1e9, "attributes": event.attributes}
            for event in span.events
        ],
        "links": [link.span_id.hex() for link in span.links],
        "failed": bool(span.status),
        "message": span.message,
    }
