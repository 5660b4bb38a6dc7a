"""Every metric that a process counts in its page of series: the one list of names, labels and buckets.

OpenTelemetry's names where it has any (`gen_ai.server.*`; dots become underscores), `spillway_` before the rest;
Prometheus's base units; no colons, which belong to recording rules. Names of spans and of their attributes are in
`trace_names`; what ops derives from the supervisor's status stands in `status_names`.

Labels are bounded: models, tiers, bands and endpoints by the settings, outcomes by their table, limits by `LIMITS`,
tenants by the book of tenants (`spillway.telemetry.metrics.tenants`).
"""

from typing import Final

from spillway_wire import buckets
from spillway_wire.metric import Metric, counter, gauge, histogram
from spillway_wire.series import OVERFLOW

PROVIDER: Final = "spillway"
"""Value of `gen_ai.provider.name`."""
OTHER: Final = "other"
"""Stands for what is beyond a bound."""
MAX_TENANTS: Final = 100
"""Tenants with series of their own; those that come later are counted as `other`."""
OPERATIONS: Final = {
    "chat": "chat",
    "completions": "text_completion",
    "generate": "text_completion",
    "generate_batch": "text_completion",
}
"""Of an endpoint, its `gen_ai.operation.name`."""
LIMITS: Final = frozenset(
    {
        *("ttft", "deadline", "queue_age", "level", "retry_budget", "max_queued_requests", "engine_wait_s"),
        *("requests_per_minute", "tokens_per_minute", "max_concurrent", "tokens_per_day", "request_tokens"),
        *("phase", "quarantine_s", "max_model_len", "max_body_bytes", "max_head_bytes", "max_json_depth"),
        *("slow_reader_s",),
    }
)
"""Names of limits that a request can meet; a limit is told as `name=value`."""

# ---- requests: what gateways count, added up over all of them ----

_GENAI: Final = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "tier")
REQUEST_DURATION: Final = histogram(
    "gen_ai_server_request_duration_seconds",
    "From the arrival of a request to the last byte of its answer, however it ended.",
    *(*_GENAI, "error_type"),
    buckets=buckets.REQUEST_DURATION,
    unit="seconds",
    exemplars=True,
    attribute="gen_ai.server.request.duration",
)
TIME_TO_FIRST_TOKEN: Final = histogram(
    "gen_ai_server_time_to_first_token_seconds",
    "From the arrival of a request to its first token; completed requests only.",
    *_GENAI,
    buckets=buckets.TIME_TO_FIRST_TOKEN,
    unit="seconds",
    exemplars=True,
    attribute="gen_ai.server.time_to_first_token",
)
TIME_PER_OUTPUT_TOKEN: Final = histogram(
    "gen_ai_server_time_per_output_token_seconds",
    "Mean time of each token after the first of a request; completed requests only.",
    *_GENAI,
    buckets=buckets.TIME_PER_OUTPUT_TOKEN,
    unit="seconds",
    exemplars=True,
    attribute="gen_ai.server.time_per_output_token",
)
REQUESTS: Final = counter(
    "spillway_requests", "Requests by their one terminal outcome.", "model", "tier", "band", "endpoint", "outcome"
)
TENANT_REQUESTS: Final = counter(
    "spillway_tenant_requests", "Requests of each tenant by outcome.", "tenant", "tier", "outcome"
)
BROKEN_STREAMS: Final = counter(
    "spillway_broken_streams",
    "Requests that failed after their first token: clients saw HTTP 200, and then an error.",
    *("model", "tier", "outcome"),
)
JUDGED_REQUESTS: Final = counter(
    "spillway_judged_requests",
    "Requests as objectives judge them, by verdict; what nobody knows of a dead gateway's has no tier and no kind.",
    *("tier", "kind", "verdict"),
)
KINDS: Final = {"chat": "chat", "completions": "completions", "generate": "generate", "generate_batch": "batch"}
"""Of an endpoint, the kind of call: the value of the label `kind`."""
KIND_LABEL: Final = "kind"
OPERATION_KINDS: Final = {"chat": "chat", "text": "text_completion"}
"""Of a kind of call, the `gen_ai.operation.name`, where series have no finer label: `text` is all but chats."""
SHORT_REQUEST_DURATION: Final = histogram(
    "spillway_short_request_duration_seconds",
    "From arrival to last byte of complete short requests: at most 256 prompt tokens, at most 16 output tokens.",
    "tier",
    buckets=buckets.SHORT_REQUEST,
    unit="seconds",
)
SHORT_PROMPT_TOKENS: Final = 256
SHORT_OUTPUT_TOKENS: Final = 16
ADMISSION_DECISIONS: Final = counter(
    "spillway_admission_decisions",
    "Requests let in or refused; the reason is the limit that was met, or the outcome where there is none.",
    *("decision", "reason", "tier", "band"),
)
PREDICTION_RATIO: Final = histogram(
    "spillway_ttft_prediction_ratio",
    "Actual time to the first token as a part of what admission predicted: 1 is exact, above is too hopeful.",
    *("model", "band"),
    buckets=buckets.PREDICTION_RATIO,
    unit="ratio",
)
RETRY_AFTER: Final = histogram(
    "spillway_retry_after_seconds",
    "When refused requests were told to come back.",
    *("model", "band"),
    buckets=buckets.RETRY_AFTER,
    unit="seconds",
)
QUEUE_TIME: Final = histogram(
    "spillway_queue_time_seconds",
    "How long requests waited for an engine.",
    *("model", "band"),
    buckets=buckets.TIME_TO_FIRST_TOKEN,
    unit="seconds",
)
REQUEST_PROMPT_TOKENS: Final = histogram(
    "spillway_request_prompt_tokens",
    "Prompt tokens of one request.",
    "model",
    buckets=buckets.REQUEST_TOKENS,
    unit="tokens",
)
REQUEST_OUTPUT_TOKENS: Final = histogram(
    "spillway_request_output_tokens",
    "Output tokens of one request.",
    "model",
    buckets=buckets.REQUEST_TOKENS,
    unit="tokens",
)
MODEL_TOKENS: Final = counter(
    "spillway_tokens",
    "Tokens of requests; `cached` is the part of `input` that was found in a cache.",
    *("model", "type"),
)
TENANT_TOKENS: Final = counter("spillway_tenant_tokens", "Tokens of each tenant's requests.", "tenant", "type")
TENANT_COST: Final = counter(
    "spillway_tenant_cost", "What tenants' tokens cost at the configured price.", "tenant", "currency"
)
REDIS_ROUND_TRIP: Final = histogram(
    "spillway_redis_round_trip_seconds",
    "How long the ledger's questions to Redis took.",
    buckets=buckets.SHORT,
    unit="seconds",
)
REDIS_FAILURES: Final = counter(
    "spillway_redis_failures", "Questions to Redis that were not answered in time, or not at all."
)

# ---- one gateway's own state ----

QUEUED_REQUESTS: Final = gauge(
    "spillway_queued_requests", "Requests that wait for an engine.", "model", "band", place="gateway"
)
IN_FLIGHT: Final = gauge(
    "spillway_gateway_requests_in_flight", "Requests that are queued or running in an engine.", place="gateway"
)
BROWNOUT_LEVEL: Final = gauge(
    "spillway_brownout_level", "How many steps of the brownout ladder are in force.", "model", place="gateway"
)
LOAD_PRESSURE: Final = gauge(
    "spillway_load_pressure_ratio",
    "Load as a part of what can be promised: from 1 on requests are refused.",
    "model",
    place="gateway",
    unit="ratio",
)
SHEDDING_THRESHOLD: Final = gauge(
    "spillway_shedding_threshold",
    "The least important level that is let in, 0 to 511; 511: everybody.",
    "model",
    place="gateway",
)
RETRY_BUDGET: Final = gauge(
    "spillway_retry_budget", "Retries out of turn that are still borne.", "model", place="gateway"
)
PREDICTION_FACTOR: Final = gauge(
    "spillway_ttft_prediction_factor",
    "By what predictions are multiplied now, as measured.",
    *("model", "band"),
    place="gateway",
)
LOOP_LAG: Final = histogram(
    "spillway_loop_lag_seconds",
    "How late a gateway's event loop was, looked at a few times a second.",
    place="gateway",
    buckets=buckets.SHORT,
    unit="seconds",
)
LIMITER_DEGRADED: Final = gauge(
    "spillway_limiter_degraded", "1 while quotas are decided without Redis.", place="gateway"
)

# ---- engines ----

STEP_DURATION: Final = histogram(
    "spillway_engine_step_duration_seconds",
    "Duration of one step of the loop.",
    "model",
    place="engine",
    buckets=buckets.STEP_DURATION,
    unit="seconds",
)
STEP_SEQUENCES: Final = histogram(
    "spillway_engine_step_sequences",
    "Sequences in one step: the size of the batch.",
    "model",
    place="engine",
    buckets=buckets.BATCH,
    unit="sequences",
)
STEP_PREFILL_TOKENS: Final = histogram(
    "spillway_engine_step_prefill_tokens",
    "Prompt tokens computed in one step.",
    "model",
    place="engine",
    buckets=buckets.STEP_TOKENS,
    unit="tokens",
)
STEP_DECODE_TOKENS: Final = histogram(
    "spillway_engine_step_decode_tokens",
    "Tokens decoded in one step.",
    "model",
    place="engine",
    buckets=buckets.STEP_TOKENS,
    unit="tokens",
)
COMPUTED_TOKENS: Final = counter(
    "spillway_engine_computed_tokens", "Tokens computed, by phase.", "model", "phase", place="engine"
)

# ---- the supervisor ----

TIME_TO_DETECT: Final = histogram(
    "spillway_time_to_detect_seconds",
    "How long a process was dead unnoticed: one that hung, since its last sign of life; an exit is seen at once.",
    *("role", "cause"),
    buckets=buckets.DETECTION,
    unit="seconds",
)
TIME_TO_RECOVER: Final = histogram(
    "spillway_time_to_recover_seconds",
    "From the word that a process is dead to its successor's being ready.",
    *("role", "cause"),
    buckets=buckets.RECOVERY,
    unit="seconds",
)

# ---- telemetry itself ----

DROPPED_FRAMES: Final = counter(
    "spillway_dropped_frames", "Frames that were lost or could not be read.", "reason", place="process"
)
DROPPED_SPANS: Final = counter(
    "spillway_dropped_spans", "Spans that were not kept or exported.", "reason", place="process"
)
EXPORTED_SPANS: Final = counter("spillway_exported_spans", "Spans that a collector took.", place="process")
DROPPED_LOGS: Final = counter(
    "spillway_dropped_log_lines", "Log lines that could not be written.", "reason", place="process"
)
SCRAPE_DURATION: Final = histogram(
    "spillway_scrape_duration_seconds",
    "How long ops took to answer a scrape.",
    buckets=buckets.SHORT,
    unit="seconds",
)

METRICS: Final[tuple[Metric, ...]] = (
    *(REQUEST_DURATION, TIME_TO_FIRST_TOKEN, TIME_PER_OUTPUT_TOKEN, REQUESTS, TENANT_REQUESTS, BROKEN_STREAMS),
    *(JUDGED_REQUESTS, SHORT_REQUEST_DURATION),
    *(ADMISSION_DECISIONS, PREDICTION_RATIO, RETRY_AFTER, QUEUE_TIME, REQUEST_PROMPT_TOKENS, REQUEST_OUTPUT_TOKENS),
    *(MODEL_TOKENS, TENANT_TOKENS, TENANT_COST, REDIS_ROUND_TRIP, REDIS_FAILURES),
    *(QUEUED_REQUESTS, IN_FLIGHT, BROWNOUT_LEVEL, LOAD_PRESSURE, SHEDDING_THRESHOLD, RETRY_BUDGET, PREDICTION_FACTOR),
    *(LOOP_LAG, LIMITER_DEGRADED),
    *(STEP_DURATION, STEP_SEQUENCES, STEP_PREFILL_TOKENS, STEP_DECODE_TOKENS, COMPUTED_TOKENS),
    *(TIME_TO_DETECT, TIME_TO_RECOVER),
    *(DROPPED_FRAMES, DROPPED_SPANS, EXPORTED_SPANS, DROPPED_LOGS, SCRAPE_DURATION, OVERFLOW),
)
"""All of them, in the order in which they are exposed."""
