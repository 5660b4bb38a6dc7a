"""The names of every span, event and attribute that Spillway writes.

Attributes under `gen_ai.` are those of OpenTelemetry's GenAI conventions (semantic-conventions-genai, all of them in
development); `gen_ai.latency.*` is not in the conventions, but vLLM and SGLang use these keys with these meanings.
There is no convention for the spans of a server's inside: the span names below, and what is under `spillway.`, are our
own. Times in attributes are seconds.
"""

from typing import Final

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.41.0"
"""The last release that held the GenAI conventions."""
SCOPE: Final = "spillway"
PROVIDER: Final = "spillway"

# ---- spans of a request; the server span is called `{operation} {model}` ----

ADMISSION: Final = "admission"
QUEUE: Final = "queue"
ATTEMPT: Final = "attempt"
PREFILL: Final = "prefill"
DECODE: Final = "decode"
PREEMPTED: Final = "preempted"
STALLED: Final = "stalled"
SEND: Final = "send"
TAIL: Final = "tail"

# ---- spans of engines ----

STEP: Final = "engine step"
RESTART: Final = "engine restart"
START: Final = "engine start"
DETECT: Final = "detect"
DRAIN: Final = "drain"
KILL: Final = "kill"
BACKOFF: Final = "backoff"
SPAWN: Final = "spawn"
LOAD: Final = "load"
WARM: Final = "warm"

# ---- events ----

EVENT_FIRST_TOKEN: Final = "spillway.first_token"  # noqa: S105 - a token of text
EVENT_PREFILL_CHUNK: Final = "spillway.prefill.chunk"
EVENT_ENGINE_LOST: Final = "spillway.engine.lost"
EVENT_ENGINE_DIED: Final = "spillway.engine.died"
EVENT_ENGINE_READY: Final = "spillway.engine.ready"

# ---- attributes: conventions ----

GEN_AI_OPERATION: Final = "gen_ai.operation.name"
GEN_AI_PROVIDER: Final = "gen_ai.provider.name"
GEN_AI_REQUEST_MODEL: Final = "gen_ai.request.model"
GEN_AI_REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
GEN_AI_REQUEST_TEMPERATURE: Final = "gen_ai.request.temperature"
GEN_AI_REQUEST_TOP_P: Final = "gen_ai.request.top_p"
GEN_AI_REQUEST_TOP_K: Final = "gen_ai.request.top_k"
GEN_AI_REQUEST_SEED: Final = "gen_ai.request.seed"
GEN_AI_REQUEST_CHOICES: Final = "gen_ai.request.choice.count"
GEN_AI_REQUEST_STREAM: Final = "gen_ai.request.stream"
GEN_AI_RESPONSE_ID: Final = "gen_ai.response.id"
GEN_AI_RESPONSE_MODEL: Final = "gen_ai.response.model"
GEN_AI_RESPONSE_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
GEN_AI_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
GEN_AI_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
GEN_AI_CACHED_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
GEN_AI_INPUT_MESSAGES: Final = "gen_ai.input.messages"
GEN_AI_OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
ERROR_TYPE: Final = "error.type"
HTTP_STATUS: Final = "http.response.status_code"
HTTP_METHOD: Final = "http.request.method"
HTTP_ROUTE: Final = "http.route"
CLIENT_ADDRESS: Final = "client.address"

# ---- attributes: as vLLM and SGLang have them ----

LATENCY_FIRST_TOKEN: Final = "gen_ai.latency.time_to_first_token"  # noqa: S105 - the same
LATENCY_E2E: Final = "gen_ai.latency.e2e"
LATENCY_QUEUE: Final = "gen_ai.latency.time_in_queue"
LATENCY_PREFILL: Final = "gen_ai.latency.time_in_model_prefill"
LATENCY_DECODE: Final = "gen_ai.latency.time_in_model_decode"
LATENCY_INFERENCE: Final = "gen_ai.latency.time_in_model_inference"

# ---- attributes: our own ----

TIME_IN: Final = "spillway.time_in."
"""Followed by a phase: seconds of the request that were spent in it; all of them together are the whole."""
REQUEST_ID: Final = "spillway.request.id"
OUTCOME: Final = "spillway.outcome"
LIMIT: Final = "spillway.limit"
MEASURED: Final = "spillway.measured"
TENANT: Final = "spillway.tenant"
TIER: Final = "spillway.tier"
BAND: Final = "spillway.band"
PREDICTED_TTFT: Final = "spillway.predicted_ttft"
TTFT_OBJECTIVE: Final = "spillway.objective.ttft"
TPOT_OBJECTIVE: Final = "spillway.objective.tpot"
OBJECTIVE_MISSED: Final = "spillway.objective.missed"
RECOVERIES: Final = "spillway.recoveries"
KEPT_FOR: Final = "spillway.trace.kept_for"
BYTES_SENT: Final = "spillway.sent.bytes"
BLOCKED_S: Final = "spillway.sent.blocked"
GATEWAY: Final = "spillway.gateway"
PROMPT: Final = "spillway.prompt"
"""Place of the prompt among those of one request."""
CHOICE: Final = "spillway.choice"
ATTEMPT_NUMBER: Final = "spillway.attempt"
ATTEMPT_END: Final = "spillway.attempt.end"
ENGINE: Final = "spillway.engine"
INCARNATION: Final = "spillway.incarnation"
CHUNK_TOKENS: Final = "spillway.prefill.tokens"
CHUNKS: Final = "spillway.prefill.chunks"
DECODE_STEPS: Final = "spillway.decode.steps"
DECODE_BATCH_MEAN: Final = "spillway.decode.batch_mean"
DECODE_TOKENS: Final = "spillway.decode.tokens"
STEP_NUMBER: Final = "spillway.step"
STEP_DECODES: Final = "spillway.step.decodes"
STEP_PREFILL_TOKENS: Final = "spillway.step.prefill_tokens"
STEP_RUNNING: Final = "spillway.step.running"
STEP_WAITING: Final = "spillway.step.waiting"
STEP_FREE_BLOCKS: Final = "spillway.step.free_blocks"
STEP_SLOW: Final = "spillway.step.slow"
"""Whether it was kept because it took long, not by its turn."""
CAUSE: Final = "spillway.cause"
MODEL: Final = "spillway.model"
RESTART_END: Final = "spillway.restart.end"
"""The state that the engine came to rest in."""
DETECT_S: Final = "spillway.restart.time_to_detect"
RECOVER_S: Final = "spillway.restart.time_to_recover"
