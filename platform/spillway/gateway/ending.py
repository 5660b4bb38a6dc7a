"""What is told of a request when it has ended: its trace, its metrics, and a line of the log if those are wanted."""

from spillway.admission.visitor import Visitor
from spillway.gateway.arrival import Arrival
from spillway.gateway.endpoints.table import Endpoint
from spillway.gateway.gateway import Gateway
from spillway.gateway.problems import Problem
from spillway.gateway.reply import Reply, Visit
from spillway.telemetry.metrics.requests import RequestRecord
from spillway.telemetry.tracing.recorder import RequestTrace, TokenCounts
from spillway_wire.oplog import REQUEST
from spillway_wire.outcomes import Outcome


def tell(
    gateway: Gateway,
    endpoint: Endpoint,
    visit: Visit,
    trace: RequestTrace,
    arrival: Arrival,
    *,
    reply: Reply,
    problem: Problem | None,
) -> None:
    """Tell all who want to know; the last thing that happens to a request."""
    outcome = arrival.outcome or Outcome.GATEWAY_FAILED
    visitor = trace.visitor if isinstance(trace.visitor, Visitor) else None
    counts = _counts(visitor)
    trace.ended(
        outcome,
        status=reply.status,
        counts=counts,
        problem=problem,
        message="" if problem is None else problem.message,
    )
    if not gateway.settings.telemetry.enabled:
        return
    record = RequestRecord(
        endpoint=endpoint.name,
        outcome=outcome,
        began=trace.began_ns / 1e9,  # one clock read for trace and metrics: what they say of a request is the same
        ended=trace.ended_ns / 1e9,
        at=gateway.wall(),
        model="" if visitor is None else visitor.model,
        tenant="" if visitor is None else visitor.caller.tenant.id,
        tier="" if visitor is None else visitor.caller.tenant.tier,
        band="" if visitor is None else visitor.band.label,
        limit=None if problem is None else problem.limit,
        retry_after_s=None if problem is None else problem.retry_after_s,
        first_token=None if trace.first_token_ns is None else trace.first_token_ns / 1e9,
        queue_s=_queue_s(trace),
        prompt_tokens=0 if counts is None else counts.prompt_tokens,
        cached_tokens=0 if counts is None else counts.cached_tokens or 0,
        output_tokens=0 if counts is None else counts.output_tokens,
        predicted_ttft_s=None if visitor is None else visitor.predicted_ttft_s,
        ttft_objective_s=None if visitor is None else visitor.objective.ttft_s,
        missed=trace.missed,
        trace_id=None if trace.kept is None else trace.exemplar,
    )
    gateway.metrics.finished(record)
    if gateway.log_requests:
        _log(gateway, record, visit, trace, reply)


def _counts(visitor: Visitor | None) -> TokenCounts | None:
    if visitor is None or not visitor.prompt_tokens:
        return None
    return TokenCounts(
        prompt_tokens=visitor.prompt_tokens,
        output_tokens=visitor.output_tokens,
        cached_tokens=visitor.cached_tokens,
    )


def _queue_s(trace: RequestTrace) -> float | None:
    """Return how long its first prompt waited for an engine, None if it never had one."""
    if not trace.entries or not trace.entries[0].attempts:
        return None
    return trace.entries[0].attempts[0].started - trace.entries[0].queued_at


def _log(gateway: Gateway, record: RequestRecord, visit: Visit, trace: RequestTrace, reply: Reply) -> None:
    first_s = None if record.first_token is None else round(record.first_token - record.began, 4)
    gateway.log(
        REQUEST,
        request_id=visit.request_id,
        trace_id=trace.exemplar,
        endpoint=record.endpoint,
        model=record.model,
        tenant=record.tenant,
        tier=record.tier,
        client=trace.client,
        outcome=record.outcome.value,
        status=reply.status,
        limit=record.limit,
        seconds=round(record.ended - record.began, 4),
        queue_s=None if record.queue_s is None else round(record.queue_s, 4),
        first_token_s=first_s,
        prompt_tokens=record.prompt_tokens,
        output_tokens=record.output_tokens,
        recoveries=sum(len(entry.attempts) - 1 for entry in trace.entries if entry.attempts),
        **_contents(trace),
    )


def _contents(trace: RequestTrace) -> dict[str, str | None]:
    """Return what the line says of prompt and answer: nothing, unless the settings ask for this tenant's."""
    contents = trace.contents
    return {} if contents is None else {"prompt": contents.prompt(), "answer": contents.answer()}
