"""What the trace store knows of a period: engines that died, requests that failed, and the slowest."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from spillway.telemetry.trace_store.reader import MOST, StoreReader, Which
from spillway.telemetry.trace_store.schema import FILE_NAME
from spillway.telemetry.tracing.span import TraceKind, TraceSummary
from spillway_slo.report import Given, Restart, Worst
from spillway_wire import trace_names as names

SHOWN: Final = 10


def given_by_traces(state: Path, start: float, end: float) -> Given:
    """Return it; a store that cannot be read is a note in the report."""
    store = StoreReader(state / FILE_NAME)
    restarts = [
        _restart(store, each)
        for each in _within(store.recent(kind=TraceKind.RESTART, limit=MOST), start, end)
        if each.failed
    ]
    notes = [f"The trace store could not be read: {store.problem}."] if store.problem else []
    return Given(
        restarts=tuple(restarts),
        failed=_worst(_within(store.recent(Which.FAILED, limit=MOST), start, end)),
        slowest=_worst(_within(store.recent(Which.SLOW, limit=MOST), start, end)),
        notes=tuple(notes),
    )


def _within(summaries: Iterable[TraceSummary], start: float, end: float) -> list[TraceSummary]:
    return [each for each in summaries if start <= each.started_ns / 1e9 <= end]


def _worst(summaries: list[TraceSummary]) -> tuple[Worst, ...]:
    return tuple(
        Worst(
            at=each.started_ns / 1e9,
            request_id=each.request_id,
            trace_id=each.trace_id,
            model=each.model,
            tenant=each.tenant,
            outcome=each.outcome,
            duration_s=each.duration_s,
            ttft_s=each.ttft_s,
            recovered=each.recovered,
        )
        for each in summaries[:SHOWN]
    )


def _restart(store: StoreReader, summary: TraceSummary) -> Restart:
    found = store.get(summary.trace_id)
    about = dict(found[0].spans[0].attributes) if found and found[0].spans else {}
    return Restart(
        at=summary.started_ns / 1e9,
        engine=str(about.get(names.ENGINE, summary.name)),
        cause=str(about.get(names.CAUSE, "")),
        end=summary.outcome,
        detect_s=_number(about.get(names.DETECT_S)),
        recover_s=_number(about.get(names.RECOVER_S)),
        trace_id=summary.trace_id,
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
