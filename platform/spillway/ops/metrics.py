"""The supervisor's status as Prometheus metrics: a pure function from one to the other.

Counters are totals over all incarnations of a process, kept by the supervisor: nothing looks like a reset when one
dies, and there is no incarnation label. Gauges of a process that is not there are not there either. Open requests are
computed from the counters of the same moment, so that in every scrape

::

    spillway_arrivals_total = sum of spillway_outcomes_total + spillway_open_requests

The four gauges that the Gateway API inference extension asks of a model server are `spillway_num_requests_waiting`,
`spillway_num_requests_running`, `spillway_kv_cache_usage_ratio` (0 to 1), and the labels of
`spillway_cache_config_info`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from spillway.ops.readiness import readiness_facts
from spillway.readiness import reasons_not_ready
from spillway_wire.outcomes import Outcome
from spillway_wire.page import Counter
from spillway_wire.plane import EngineStatus

_ALIVE: Final = frozenset({EngineStatus.STANDBY, EngineStatus.READY, EngineStatus.DRAINING})
"""States in which what an engine holds is a fact."""
_OUTCOME: Final = "outcome_"
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_GATEWAY_COUNTERS: Final = {
    "prompt_tokens": "Prompt tokens of requests that gateways took.",
    "output_tokens": "Tokens that were sent to clients.",
    "recoveries": "Requests that went on after the death of their engine.",
    "clients_disconnected": "Clients that left before their answer was complete.",
}
_ENGINE_COUNTERS: Final = {
    Counter.REQUESTS_RECEIVED: "Attempts that the engine received.",
    Counter.CHOICES_COMPLETED: "Choices that ended as completed.",
    Counter.CHOICES_FAILED: "Choices that ended otherwise.",
    Counter.REQUESTS_REJECTED: "Attempts that the engine would not serve.",
    Counter.REQUESTS_ABORTED: "Attempts that their gateway took back.",
    Counter.CLIENTS_TOO_SLOW: "Gateways cut off because they did not read.",
    Counter.MALFORMED_FRAMES: "Frames that could not be read.",
    Counter.STEPS: "Steps of the loop.",
    Counter.STEP_TOKENS: "Tokens computed: prompt, recomputed and decoded ones.",
    Counter.OUTPUT_TOKENS: "Tokens sampled.",
    Counter.OUTPUT_FRAMES: "Frames of output sent.",
    Counter.FAULTS_STRUCK: "Faults injected on order that struck.",
    Counter.FAILED_LOGITS: "Rows of logits that held NaN or infinity; their requests ended.",
    Counter.PREEMPTIONS: "Sequences that gave their blocks back to others.",
    Counter.PREFIX_QUERIES: "Prompt tokens looked up in the prefix cache.",
    Counter.PREFIX_HITS: "Prompt tokens found in the prefix cache.",
    Counter.OUT_OF_MEMORY: "Steps that ran out of memory, and were tried again smaller.",
}


class _Families:
    """Metric families by name, made when their first sample comes."""

    def __init__(self) -> None:
        self._families: dict[str, Metric] = {}

    def counter(self, name: str, help_text: str, labels: Mapping[str, str], value: float) -> None:
        self._family(CounterMetricFamily, name, help_text, labels).add_metric(list(labels.values()), value)

    def gauge(self, name: str, help_text: str, labels: Mapping[str, str], value: float | None) -> None:
        if value is not None:
            self._family(GaugeMetricFamily, name, help_text, labels).add_metric(list(labels.values()), value)

    def info(self, name: str, help_text: str, labels: Mapping[str, str], facts: Mapping[str, str]) -> None:
        self._family(InfoMetricFamily, name, help_text, labels).add_metric(list(labels.values()), dict(facts))

    def _family(self, kind: type[Any], name: str, help_text: str, labels: Mapping[str, str]) -> Any:
        name = f"spillway_{name}"
        if name not in self._families:
            self._families[name] = kind(name, help_text, labels=list(labels))
        return self._families[name]

    def __iter__(self) -> Iterator[Metric]:
        return iter(self._families.values())


def families(status: Mapping[str, Any]) -> Iterable[Metric]:
    """Return the metric families that a status says."""
    found = _Families()
    is_ready = not reasons_not_ready(readiness_facts(status))
    found.gauge("ready", "1 while a request sent now would be served.", {}, float(is_ready))
    for gateway in status.get("gateways", ()):
        _gateway(found, gateway)
    for engine in status.get("engines", ()):
        _engine(found, engine)
    _others(found, status)
    return found


def _gateway(found: _Families, gateway: Mapping[str, Any]) -> None:
    labels = {"gateway": str(gateway["id"])}
    counters: Mapping[str, int] = gateway.get("counters") or {}
    if "arrivals" in counters:
        arrivals = counters["arrivals"]
        found.counter("arrivals", "HTTP requests to a model's endpoint.", labels, arrivals)
        ended = 0
        for outcome in Outcome:
            count = counters.get(_OUTCOME + outcome.value, 0)
            ended += count
            text = "Arrivals by their one terminal outcome."
            found.counter("outcomes", text, labels | {"outcome": outcome.value}, count)
        # A counter may be read a moment after another: never below zero.
        found.gauge("open_requests", "Arrivals without an outcome yet.", labels, max(arrivals - ended, 0))
    for name, text in _GATEWAY_COUNTERS.items():
        if name in counters:
            found.counter(name, text, labels, counters[name])
    _restarts(found, "gateway_restarts", labels, gateway)
    lag = gateway.get("loop_lag_ms")
    seconds = None if lag is None or gateway.get("pid") is None else lag / 1000
    found.gauge("gateway_loop_lag_seconds", "How late the gateway's event loop was at its last beat.", labels, seconds)
    facts = gateway.get("facts") or {}
    for name, value in facts.items() if gateway.get("pid") is not None else ():
        if _NAME.fullmatch(name):
            found.gauge(f"gateway_{name}", "A fact of the gateway's own, of its last beat.", labels, value)


def _engine(found: _Families, engine: Mapping[str, Any]) -> None:
    labels = {"engine": str(engine["id"]), "model": str(engine.get("model", ""))}
    state = engine.get("state")
    for possible in EngineStatus:
        text = "1 for the state that the engine is in, 0 for the others."
        found.gauge("engine_state", text, labels | {"state": possible.value}, float(state == possible))
    _restarts(found, "engine_restarts", labels, engine)
    counters: Mapping[str, int] = engine.get("counters") or {}
    for counter, text in _ENGINE_COUNTERS.items():
        name = counter.name.lower()
        if name in counters:
            found.counter(f"engine_{name}", text, labels, counters[name])
    if state in _ALIVE:
        _load(found, engine, labels)


def _load(found: _Families, engine: Mapping[str, Any], labels: Mapping[str, str]) -> None:
    found.gauge("num_requests_running", "Sequences in the running batch.", labels, engine.get("running"))
    found.gauge("num_requests_waiting", "Sequences that wait in the engine.", labels, engine.get("waiting"))
    blocks = engine.get("kv_blocks") or {}
    total, free = blocks.get("total"), blocks.get("free")
    found.gauge("kv_blocks", "Blocks of the key-value cache.", labels, total)
    found.gauge("kv_blocks_free", "Blocks of the key-value cache that are free.", labels, free)
    if total and free is not None:
        text = "Share of the key-value cache in use, 0 to 1."
        found.gauge("kv_cache_usage_ratio", text, labels, (total - free) / total)
        facts = {"num_gpu_blocks": str(total)}
        if blocks.get("size") is not None:
            facts["block_size"] = str(blocks["size"])
        found.info("cache_config", "How the key-value cache is made.", labels, facts)
    if engine.get("exactness") is not None:
        text = "Whether a request's tokens depend on what else is in the batch, as measured at start."
        found.info("engine_exactness", text, labels, {"exactness": str(engine["exactness"])})


def _restarts(found: _Families, name: str, labels: Mapping[str, str], child: Mapping[str, Any]) -> None:
    for cause, count in (child.get("restarts") or {}).items():
        found.counter(name, "Starts after an end, by the cause of that end.", {**labels, "cause": str(cause)}, count)


def _others(found: _Families, status: Mapping[str, Any]) -> None:
    redis = status.get("redis") or {}
    if redis.get("pid") is not None or redis.get("incarnation"):  # else it is somebody else's, or there is none
        found.gauge("redis_up", "1 while the embedded Redis answers.", {}, float(redis.get("state") == "ready"))
    supervisor: Mapping[str, Any] = status.get("supervisor") or {}
    found.gauge("supervisor_resident_memory_bytes", "Memory of the supervisor.", {}, supervisor.get("rss_bytes"))
    found.gauge("supervisor_uptime_seconds", "Since the supervisor began.", {}, supervisor.get("uptime_s"))
    if "stalls" in supervisor:
        text = "Times that the supervisor itself was not run for a while, and judged nobody."
        found.counter("supervisor_stalls", text, {}, supervisor["stalls"])
    found.gauge("supervisor_answers", "1: the supervisor answered this scrape.", {}, 1.0)


def families_of_silence() -> Iterable[Metric]:
    """Return the families of a scrape that the supervisor did not answer: that fact alone."""
    found = _Families()
    found.gauge("ready", "1 while a request sent now would be served.", {}, 0.0)
    found.gauge("supervisor_answers", "1: the supervisor answered this scrape.", {}, 0.0)
    return found


class _Once(Collector):
    """What a registry asks for its families."""

    def __init__(self, found: Iterable[Metric]) -> None:
        self._found = found

    def collect(self) -> Iterable[Metric]:
        return self._found


def encode(found: Iterable[Metric], accept: str) -> tuple[bytes, str]:
    """Return the exposition and its content type: OpenMetrics if the `Accept` header names it, else Prometheus text.

    The registry is made for this one scrape. prometheus_client's own reading of the header fails on versions that are
    no numbers.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(found))
    names = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    if "application/openmetrics-text" in names:
        body: bytes = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]
        return body, openmetrics.CONTENT_TYPE_LATEST
    return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4
