"""Metrics that ops derives from what the supervisor knows, and reads of the machine: names, kinds and labels.

Those that processes count themselves are in `names`. The four gauges that the Gateway API inference extension asks of a
model server are `spillway_num_requests_waiting`, `spillway_num_requests_running`, `spillway_kv_cache_usage_ratio` (0 to
1), and the labels of `spillway_cache_config_info`.
"""

from collections.abc import Mapping
from typing import Final

from spillway_wire.metric import Metric, counter, gauge
from spillway_wire.page import Counter

# ---- the platform ----

READY: Final = gauge("spillway_ready", "1 while a request sent now would be served.")
SUPERVISOR_ANSWERS: Final = gauge("spillway_supervisor_answers", "1: the supervisor answered this scrape.")
SUPERVISOR_MEMORY: Final = gauge("spillway_supervisor_resident_memory_bytes", "Memory of the supervisor.", unit="bytes")
SUPERVISOR_UPTIME: Final = gauge("spillway_supervisor_uptime_seconds", "Since the supervisor began.", unit="seconds")
SUPERVISOR_STALLS: Final = counter(
    "spillway_supervisor_stalls", "Times that the supervisor itself was not run for a while, and judged nobody."
)
CONSERVATION_GAP: Final = gauge(
    "spillway_conservation_gap_requests",
    "Arrivals of gateways that are gone which have no outcome, or more outcomes than arrivals: 0, or the books lie.",
    unit="requests",
)
REDIS_UP: Final = gauge("spillway_redis_up", "1 while the embedded Redis answers.")
REDIS_STATE: Final = gauge(
    "spillway_redis_state", "1 for the state that the embedded Redis is in, 0 for the others.", "state"
)
REDIS_ANSWER: Final = gauge(
    "spillway_redis_answer_seconds", "How long the embedded Redis took for its last answer to a ping.", unit="seconds"
)
REDIS_RESTARTS: Final = counter("spillway_redis_restarts", "Starts of the embedded Redis after an end.", "cause")
OPS_RESTARTS: Final = counter("spillway_ops_restarts", "Starts of ops after an end.", "cause")

# ---- gateways ----

ARRIVALS: Final = counter("spillway_arrivals", "HTTP requests to a model's endpoint.", "gateway")
OUTCOMES: Final = counter("spillway_outcomes", "Arrivals by their one terminal outcome.", "gateway", "outcome")
OPEN_REQUESTS: Final = gauge("spillway_open_requests", "Arrivals without an outcome yet.", "gateway")
GATEWAY_RESTARTS: Final = counter(
    "spillway_gateway_restarts", "Starts after an end, by the cause of that end.", "gateway", "cause"
)
GATEWAY_INCARNATION: Final = gauge("spillway_gateway_incarnation", "How often the gateway was started.", "gateway")
GATEWAY_LOOP_LAG: Final = gauge(
    "spillway_gateway_loop_lag_seconds",
    "How late the gateway's event loop was at its last beat.",
    "gateway",
    unit="seconds",
)
GATEWAY_COUNTERS: Final[Mapping[str, Metric]] = {
    name: counter(f"spillway_{name}", text, "gateway")
    for name, text in (
        ("prompt_tokens", "Prompt tokens of requests that gateways took."),
        ("output_tokens", "Tokens that were sent to clients."),
        ("recoveries", "Requests that went on after the death of their engine."),
        ("clients_disconnected", "Clients that left before their answer was complete."),
    )
}
"""By their names in a tally."""
GATEWAY_FACT: Final = "spillway_gateway_"
"""Begins the names of further gauges that gateways give with their beats."""
GATEWAY_FACT_HELP: Final = "A fact of the gateway's own, of its last beat."

# ---- engines ----

_ENGINE: Final = ("engine", "model")
ENGINE_STATE: Final = gauge(
    "spillway_engine_state", "1 for the state that the engine is in, 0 for the others.", *_ENGINE, "state"
)
ENGINE_RESTARTS: Final = counter(
    "spillway_engine_restarts", "Starts after an end, by the cause of that end.", *_ENGINE, "cause"
)
ENGINE_INCARNATION: Final = gauge("spillway_engine_incarnation", "How often the engine was started.", *_ENGINE)
RUNNING: Final = gauge("spillway_num_requests_running", "Sequences in the running batch.", *_ENGINE)
WAITING: Final = gauge("spillway_num_requests_waiting", "Sequences that wait in the engine.", *_ENGINE)
KV_BLOCKS: Final = gauge("spillway_kv_blocks", "Blocks of the key-value cache.", *_ENGINE)
KV_BLOCKS_FREE: Final = gauge("spillway_kv_blocks_free", "Blocks of the key-value cache that are free.", *_ENGINE)
KV_USAGE: Final = gauge(
    "spillway_kv_cache_usage_ratio", "Share of the key-value cache in use, 0 to 1.", *_ENGINE, unit="ratio"
)
CACHE_CONFIG: Final = gauge(
    "spillway_cache_config_info", "How the key-value cache is made.", *_ENGINE, "num_gpu_blocks", "block_size"
)
EXACTNESS: Final = gauge(
    "spillway_engine_exactness_info",
    "Whether a request's tokens depend on what else is in the batch, as measured at start.",
    *_ENGINE,
    "exactness",
)
ENGINE_COUNTERS: Final[Mapping[str, Metric]] = {
    place.name.lower(): counter(f"spillway_engine_{place.name.lower()}", text, *_ENGINE)
    for place, text in (
        (Counter.REQUESTS_RECEIVED, "Attempts that the engine received."),
        (Counter.CHOICES_COMPLETED, "Choices that ended as completed."),
        (Counter.CHOICES_FAILED, "Choices that ended otherwise."),
        (Counter.REQUESTS_REJECTED, "Attempts that the engine would not serve."),
        (Counter.REQUESTS_ABORTED, "Attempts that their gateway took back."),
        (Counter.CLIENTS_TOO_SLOW, "Gateways cut off because they did not read."),
        (Counter.MALFORMED_FRAMES, "Frames that could not be read."),
        (Counter.STEPS, "Steps of the loop."),
        (Counter.STEP_TOKENS, "Tokens computed: prompt, recomputed and decoded ones."),
        (Counter.OUTPUT_TOKENS, "Tokens sampled."),
        (Counter.OUTPUT_FRAMES, "Frames of output sent."),
        (Counter.FAULTS_STRUCK, "Faults injected on order that struck."),
        (Counter.FAILED_LOGITS, "Rows of logits that held NaN or infinity; their requests ended."),
        (Counter.PREEMPTIONS, "Sequences that gave their blocks back to others."),
        (Counter.PREFIX_QUERIES, "Prompt tokens looked up in the prefix cache."),
        (Counter.PREFIX_HITS, "Prompt tokens found in the prefix cache."),
        (Counter.OUT_OF_MEMORY, "Steps that ran out of memory, and were tried again smaller."),
    )
}
"""By their names in a status."""

# ---- accelerators ----

_GPU: Final = ("gpu", "name")
GPU_UTILIZATION: Final = gauge(
    "spillway_gpu_utilization_ratio", "Share of the last moment in which the GPU computed.", *_GPU, unit="ratio"
)
GPU_MEMORY_USED: Final = gauge("spillway_gpu_memory_used_bytes", "Memory of the GPU in use.", *_GPU, unit="bytes")
GPU_MEMORY: Final = gauge("spillway_gpu_memory_bytes", "Memory of the GPU.", *_GPU, unit="bytes")
GPU_POWER: Final = gauge("spillway_gpu_power_watts", "Power that the GPU draws.", *_GPU, unit="watts")
GPU_TEMPERATURE: Final = gauge("spillway_gpu_temperature_celsius", "Temperature of the GPU.", *_GPU, unit="celsius")
GPU_ENERGY: Final = counter(
    "spillway_gpu_energy_joules", "Energy that the GPU has used since its driver was loaded.", *_GPU, unit="joules"
)

STATUS_METRICS: Final[tuple[Metric, ...]] = (
    *(READY, SUPERVISOR_ANSWERS, SUPERVISOR_MEMORY, SUPERVISOR_UPTIME, SUPERVISOR_STALLS, CONSERVATION_GAP),
    *(REDIS_UP, REDIS_STATE, REDIS_ANSWER, REDIS_RESTARTS, OPS_RESTARTS),
    *(ARRIVALS, OUTCOMES, OPEN_REQUESTS, GATEWAY_RESTARTS, GATEWAY_INCARNATION, GATEWAY_LOOP_LAG),
    *GATEWAY_COUNTERS.values(),
    *(ENGINE_STATE, ENGINE_RESTARTS, ENGINE_INCARNATION, RUNNING, WAITING, KV_BLOCKS, KV_BLOCKS_FREE, KV_USAGE),
    *(CACHE_CONFIG, EXACTNESS),
    *ENGINE_COUNTERS.values(),
    *(GPU_UTILIZATION, GPU_MEMORY_USED, GPU_MEMORY, GPU_POWER, GPU_TEMPERATURE, GPU_ENERGY),
)
"""All of them but the gauges that gateways give with their beats."""
