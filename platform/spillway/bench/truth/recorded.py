"""The traces of requests, as the trace store has them once telemetry has written them down."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spillway.telemetry.trace_store.reader import Found, StoreReader
from spillway.telemetry.trace_store.schema import FILE_NAME
from spillway.telemetry.tracing.facts import RequestFacts
from spillway.telemetry.tracing.span import Span, TraceKind, TraceSummary

_EVERY_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request's trace."""

    summary: TraceSummary
    spans: tuple[Span, ...]
    """The server span first."""
    first_token_at: float | None = None
    """When the gateway had it, in seconds of CLOCK_MONOTONIC."""

    def number(self, key: str) -> float | None:
        """Return an attribute of the server span that is a number; None if there is none."""
        value = self.spans[0].attributes.get(key)
        return value if isinstance(value, int | float) else None

    def text(self, key: str) -> str:
        """Return one that is text."""
        value = self.spans[0].attributes.get(key, "")
        return value if isinstance(value, str) else ""


def read(store: Path, trace_ids: Iterable[str]) -> dict[str, Recorded]:
    """Return those that are there, by trace id. Raises RuntimeError if one trace has two requests in it."""
    reader, found = StoreReader(store), dict[str, Recorded]()
    for trace_id in trace_ids:
        requests = [each for each in reader.get(trace_id) if each.summary.kind is TraceKind.REQUEST]
        if len(requests) > 1:
            raise RuntimeError(f"{len(requests)} requests are in the trace {trace_id}, for which there was one")
        if requests:
            found[trace_id] = _recorded(requests[0])
    return found


def _recorded(found: Found) -> Recorded:
    at_ns = found.record.first_token_ns if isinstance(found.record, RequestFacts) else None
    return Recorded(found.summary, found.spans, None if at_ns is None else at_ns / 1e9)


async def read_all(
    folder: Path, trace_ids: Iterable[str], wanted: int, *, within_s: float = 20.0
) -> dict[str, Recorded]:
    """Return the traces of an instance's requests, of which `wanted` must come; fewer if they do not, in time."""
    store, deadline = folder / "state" / FILE_NAME, time.monotonic() + within_s
    found: dict[str, Recorded] = {}
    missing = set(trace_ids)
    while True:
        new = await asyncio.to_thread(read, store, missing)
        found |= new
        missing -= new.keys()
        if len(found) >= wanted or not missing or time.monotonic() > deadline:
            return found
        await asyncio.sleep(_EVERY_S)
