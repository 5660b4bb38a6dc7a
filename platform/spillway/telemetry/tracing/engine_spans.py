"""Spans of engines: one for a sampled step, and a trace for each restart, with its phases.

Ids of these are made from what they are about, so that two gateways that hear of the same step put it into one trace,
and a restart that is told twice is the same trace twice.
"""

import hashlib
from collections.abc import Sequence

from spillway.telemetry.tracing.ids import Ids
from spillway.telemetry.tracing.span import (
    Attributes,
    Span,
    SpanEvent,
    SpanLink,
    StatusCode,
    TraceKind,
    TraceSummary,
)
from spillway.telemetry.tracing.steps import StepSample
from spillway.telemetry.tracing.trace import Spans, Trace
from spillway_wire import trace_names as names
from spillway_wire.plane import EngineLife, EngineStatus, ExitCause

_CAME_BACK = frozenset({EngineStatus.READY, EngineStatus.STANDBY})


def life_trace_id(life: EngineLife) -> bytes:
    """Return the id of the trace of a restart."""
    began_ns = life.phases[0].start_ns if life.phases else 0
    return _hashed("life", life.engine_id, life.incarnation, began_ns)


def build_life(life: EngineLife, wall_offset_ns: int) -> Trace | None:
    """Return the trace of a restart, or of a first start; None if it had no phase at all."""
    if not life.phases:
        return None
    trace_id = life_trace_id(life)
    ids = Ids(trace_id)
    root_id = ids.span_id()
    start_ns, end_ns = life.phases[0].start_ns + wall_offset_ns, life.phases[-1].end_ns + wall_offset_ns
    failed = (life.cause not in (None, ExitCause.CLEAN) and not life.asked) or life.end is EngineStatus.PARKED
    root = Span(
        trace_id=trace_id,
        span_id=root_id,
        parent_id=None,
        name=names.START if life.cause is None else names.RESTART,
        start_ns=start_ns,
        end_ns=end_ns,
        attributes=_about_life(life),
        events=_events(life, start_ns, end_ns, wall_offset_ns),
        status=StatusCode.ERROR if failed else StatusCode.UNSET,
        message=life.message if failed else "",
    )
    children = [
        Span(
            trace_id=trace_id,
            span_id=ids.span_id(),
            parent_id=root_id,
            name=phase.name,
            start_ns=phase.start_ns + wall_offset_ns,
            end_ns=phase.end_ns + wall_offset_ns,
        )
        for phase in life.phases
    ]
    summary = TraceSummary(
        kind=TraceKind.RESTART,
        trace_id=trace_id.hex(),
        root_id=root_id.hex(),
        name=f"{root.name} {life.engine_id}",
        started_ns=start_ns,
        duration_s=root.duration_s,
        model=life.model,
        outcome=str(life.end),
        failed=failed,
        recovered=failed and life.end in _CAME_BACK,
    )
    return Trace(summary, Spans((root, *children)))


def _about_life(life: EngineLife) -> Attributes:
    found: Attributes = {
        names.ENGINE: life.engine_id,
        names.INCARNATION: life.incarnation,
        names.MODEL: life.model,
        names.RESTART_END: str(life.end),
    }
    if life.cause is not None:
        found[names.CAUSE] = str(life.cause)
        if not life.asked and life.cause is not ExitCause.CLEAN:
            found[names.ERROR_TYPE] = str(life.cause)
            detect_ns = sum(phase.end_ns - phase.start_ns for phase in life.phases if phase.name == names.DETECT)
            found[names.DETECT_S] = detect_ns / 1e9
            if life.end in _CAME_BACK:
                found[names.RECOVER_S] = (life.phases[-1].end_ns - life.phases[0].start_ns) / 1e9
    return found


def _events(life: EngineLife, start_ns: int, end_ns: int, wall_offset_ns: int) -> tuple[SpanEvent, ...]:
    found = []
    if life.cause is not None and not life.asked:
        detected = [phase.end_ns + wall_offset_ns for phase in life.phases if phase.name == names.DETECT]
        about: Attributes = {names.CAUSE: str(life.cause), "exception.message": life.message}
        at_ns = detected[0] if detected else start_ns
        found.append(SpanEvent(name=names.EVENT_ENGINE_DIED, at_ns=at_ns, attributes=about))
    if life.end in _CAME_BACK:
        found.append(SpanEvent(name=names.EVENT_ENGINE_READY, at_ns=end_ns))
    return tuple(found)


def build_step(
    sample: StepSample, links: Sequence[tuple[bytes, bytes]], *, model: str, gateway: str, wall_offset_ns: int
) -> Trace:
    """Return the trace of one step; `links` are (trace, server span) of this gateway's requests in it."""
    output = sample.output
    step: tuple[str | int, ...] = ("step", sample.engine_id, sample.incarnation, output.started_ns)
    trace_id = _hashed(*step)
    attributes: Attributes = {
        names.ENGINE: sample.engine_id,
        names.INCARNATION: sample.incarnation,
        names.MODEL: model,
        names.GATEWAY: gateway,
        names.STEP_NUMBER: output.step,
        names.STEP_DECODES: output.decode_rows,
        names.STEP_PREFILL_TOKENS: output.prefill_tokens,
        names.STEP_RUNNING: output.load.running,
        names.STEP_WAITING: output.load.waiting,
        names.STEP_FREE_BLOCKS: output.load.free_blocks,
        names.STEP_SLOW: sample.slow,
    }
    span = Span(
        trace_id=trace_id,
        span_id=_hashed(*step, gateway)[:8],
        parent_id=None,
        name=names.STEP,
        start_ns=output.started_ns + wall_offset_ns,
        end_ns=max(output.started_ns, output.ended_ns) + wall_offset_ns,
        attributes=attributes,
        links=tuple(SpanLink(trace_id=trace, span_id=span) for trace, span in links),
    )
    summary = TraceSummary(
        kind=TraceKind.STEP,
        trace_id=trace_id.hex(),
        root_id=span.span_id.hex(),
        name=f"{names.STEP} {sample.engine_id}",
        started_ns=span.start_ns,
        duration_s=span.duration_s,
        model=model,
    )
    return Trace(summary, Spans((span,)))


def _hashed(*parts: str | int) -> bytes:
    return hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=16).digest()
