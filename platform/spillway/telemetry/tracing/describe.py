"""What spans say in their attributes: conventions first, then our own. Absent facts have no attribute."""

from collections.abc import Mapping, Sequence

from spillway.telemetry.tracing.facts import AttemptFacts, RequestFacts, Strand
from spillway.telemetry.tracing.sampling import FAILED
from spillway.telemetry.tracing.span import Attribute, Attributes
from spillway.telemetry.tracing.timeline import Phase, Segment
from spillway_wire import trace_names as names
from spillway_wire.messages import Moment, MomentKind
from spillway_wire.names import OPERATIONS
from spillway_wire.outcomes import Outcome
from spillway_wire.sampling import NO_TOP_K, SamplingParams

_MOST = 2**63 - 1
"""The largest number that an attribute can be."""
_MAX_MESSAGE = 300
"""Of an error's text, in characters."""


def failed(outcome: Outcome) -> bool:
    """Whether the server failed, as opposed to its client."""
    return outcome in FAILED


def name(facts: RequestFacts) -> str:
    """Return the server span's name: the operation, and the model if it is one that is served."""
    operation = OPERATIONS.get(facts.endpoint, facts.endpoint)
    return f"{operation} {facts.model}" if facts.model else operation


def first_token_ns(facts: RequestFacts) -> int | None:
    """When the first token was there: in the gateway, or as engines say."""
    if facts.first_token_ns is not None:
        return facts.first_token_ns
    moments = (m for strand in facts.life.strands for attempt in strand.attempts for _, m in attempt.moments)
    first = min((moment.at_ns for moment in moments if moment.kind is MomentKind.FIRST_TOKEN), default=None)
    return None if first is None else max(first, facts.life.arrived_ns)


def ttft_s(facts: RequestFacts) -> float | None:
    """Return the seconds from arrival to the first token."""
    first_ns = first_token_ns(facts)
    return None if first_ns is None else (first_ns - facts.life.arrived_ns) / 1e9


def num_recoveries(facts: RequestFacts) -> int:
    """Return how often it went on after the loss of its engine."""
    return sum(attempt.lost for strand in facts.life.strands for attempt in strand.attempts[:-1])


def _known(pairs: Mapping[str, Attribute | None]) -> Attributes:
    return {key: value for key, value in pairs.items() if value is not None and value not in ("", [])}


def request(facts: RequestFacts, spent: Mapping[Phase, int]) -> Attributes:
    """Return the attributes of the server span."""
    seconds = {phase: ns / 1e9 for phase, ns in spent.items()}
    prefill_s, decode_s = seconds.get(Phase.PREFILL), seconds.get(Phase.DECODE)
    completed = facts.outcome is Outcome.COMPLETED
    recoveries = num_recoveries(facts)
    found = _known(
        {
            names.GEN_AI_OPERATION: OPERATIONS.get(facts.endpoint, facts.endpoint),
            names.GEN_AI_PROVIDER: names.PROVIDER,
            names.GEN_AI_REQUEST_MODEL: facts.model,
            names.GEN_AI_RESPONSE_MODEL: facts.model if completed else None,
            names.GEN_AI_RESPONSE_ID: facts.request_id if completed else None,
            names.GEN_AI_RESPONSE_FINISH_REASONS: list(facts.finish_reasons),
            names.GEN_AI_REQUEST_STREAM: facts.stream,
            names.GEN_AI_INPUT_TOKENS: facts.prompt_tokens,
            names.GEN_AI_CACHED_TOKENS: facts.cached_tokens,
            names.GEN_AI_OUTPUT_TOKENS: facts.output_tokens,
            names.GEN_AI_INPUT_MESSAGES: facts.prompt,
            names.GEN_AI_OUTPUT_MESSAGES: facts.answer,
            names.LATENCY_FIRST_TOKEN: ttft_s(facts),
            names.LATENCY_E2E: sum(seconds.values()),
            names.LATENCY_QUEUE: seconds.get(Phase.QUEUE),
            names.LATENCY_PREFILL: prefill_s,
            names.LATENCY_DECODE: decode_s,
            names.LATENCY_INFERENCE: None if prefill_s is decode_s is None else (prefill_s or 0.0) + (decode_s or 0.0),
            names.HTTP_METHOD: "POST",
            names.HTTP_STATUS: facts.status,
            names.CLIENT_ADDRESS: facts.client,
            names.ERROR_TYPE: None if completed else facts.outcome.value,
            names.REQUEST_ID: facts.request_id,
            names.OUTCOME: facts.outcome.value,
            names.LIMIT: facts.limit,
            names.MEASURED: facts.measured,
            names.TENANT: facts.tenant,
            names.TIER: facts.tier,
            names.BAND: facts.band,
            names.PREDICTED_TTFT: facts.predicted_ttft_s,
            names.TTFT_OBJECTIVE: facts.ttft_objective_s,
            names.TPOT_OBJECTIVE: facts.tpot_objective_s,
            names.OBJECTIVE_MISSED: facts.objective_missed or None,
            names.RECOVERIES: recoveries or None,
            names.KEPT_FOR: facts.kept_for,
            names.GATEWAY: facts.gateway,
            names.BYTES_SENT: facts.bytes_sent or None,
            names.BLOCKED_S: facts.blocked_s or None,
        }
    )
    found.update({f"{names.TIME_IN}{phase.value}": ns / 1e9 for phase, ns in spent.items()})
    found.update({f"baggage.{key}": value for key, value in facts.baggage.items()})
    if facts.params is not None:
        found.update(_asked(facts.params, facts.num_choices))
    return found


def _asked(params: SamplingParams, num_choices: int | None) -> Attributes:
    return _known(
        {
            names.GEN_AI_REQUEST_MAX_TOKENS: params.max_tokens,
            names.GEN_AI_REQUEST_TEMPERATURE: params.temperature,
            names.GEN_AI_REQUEST_TOP_P: params.top_p,
            names.GEN_AI_REQUEST_TOP_K: params.top_k if params.top_k != NO_TOP_K else None,
            names.GEN_AI_REQUEST_SEED: params.seed if params.seed <= _MOST else None,
            names.GEN_AI_REQUEST_CHOICES: num_choices if num_choices != 1 else None,
        }
    )


def attempt(facts: AttemptFacts) -> Attributes:
    """Return the attributes of an attempt."""
    return {
        names.ATTEMPT_NUMBER: facts.number,
        names.ENGINE: facts.engine_id,
        names.INCARNATION: facts.incarnation,
        names.ATTEMPT_END: facts.end[:_MAX_MESSAGE],
    }


def phase(segment: Segment, tried: AttemptFacts, strand: Strand, moments: Sequence[Moment]) -> Attributes:
    """Return what is known of one phase of an attempt; `moments` are those that fall into it."""
    found: Attributes = {}
    chunks = [moment.value for moment in moments if moment.kind is MomentKind.PREFILL_CHUNK]
    if chunks:
        found[names.CHUNKS] = len(chunks)
        found[names.CHUNK_TOKENS] = sum(chunks)
    if segment.phase is Phase.PREFILL:
        cached = [moment.value for moment in moments if moment.kind in (MomentKind.SCHEDULED, MomentKind.RESUMED)]
        if cached:
            found[names.GEN_AI_CACHED_TOKENS] = cached[0]
    if segment.phase is Phase.DECODE:
        found.update(_decode(segment, tried, strand))
    return found


def _decode(segment: Segment, tried: AttemptFacts, strand: Strand) -> Attributes:
    found: Attributes = {}
    counted = None if tried.steps is None else tried.steps.between(segment.start_ns, segment.end_ns)
    if counted is not None and counted[0] > 0:
        steps, rows = counted
        found[names.DECODE_STEPS] = steps
        found[names.DECODE_BATCH_MEAN] = round(rows / steps, 3)
    whole = len(strand.attempts) == 1 and not any(moment.kind is MomentKind.PREEMPTED for _, moment in tried.moments)
    if whole and strand.tokens is not None:
        found[names.DECODE_TOKENS] = strand.tokens
    return found
