"""The supervisor's status as families of metrics: a pure function from one to the other.

Counters are totals over all incarnations of a process, kept by the supervisor: nothing looks like a reset when one
dies, and there is no incarnation label. Gauges of a process that is not there are not there either. Open requests are
computed from the counters of the same moment, so that in every scrape

::

    spillway_arrivals_total = sum of spillway_outcomes_total + spillway_open_requests
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from spillway.ops.readiness import readiness_facts
from spillway.readiness import reasons_not_ready
from spillway.telemetry.metrics.exposition import Family
from spillway_wire import names
from spillway_wire import status_names as status_of
from spillway_wire.fact_names import fact_metric
from spillway_wire.metric import Metric
from spillway_wire.outcomes import Outcome
from spillway_wire.plane import EngineStatus, ExitCause

_ALIVE: Final = frozenset({EngineStatus.STANDBY, EngineStatus.READY, EngineStatus.DRAINING})
"""States in which what an engine holds is a fact."""
_REDIS_STATES: Final = (
    *(EngineStatus.SPAWNING, EngineStatus.READY, EngineStatus.DRAINING, EngineStatus.STOPPED, EngineStatus.HUNG),
    *(EngineStatus.CRASHED, EngineStatus.BACKOFF, EngineStatus.PARKED),
)
"""It loads nothing, and is never on standby."""
_OUTCOME: Final = "outcome_"
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_fact_metric = lru_cache(maxsize=1000)(fact_metric)
_TAKEN: Final = frozenset(metric.name for metric in (*names.METRICS, *status_of.STATUS_METRICS))


class Families:
    """Families by metric, made when their first sample comes."""

    def __init__(self) -> None:
        self._families: dict[str, Family] = {}

    def say(self, metric: Metric, labels: Iterable[str], value: float | None) -> None:
        """Add a series; None: there is nothing to say."""
        if value is None:
            return
        family = self._families.get(metric.name)
        if family is None:
            family = Family(metric.name, metric.kind.value, metric.help, metric.unit)
            self._families[metric.name] = family
        family.add(tuple(zip(metric.labels, labels, strict=True)), value)

    def __iter__(self) -> Iterator[Family]:
        return iter(self._families.values())


def families(status: Mapping[str, Any]) -> Iterable[Family]:
    """Return the families that a status says."""
    found = Families()
    is_ready = not reasons_not_ready(readiness_facts(status))
    found.say(status_of.READY, (), float(is_ready))
    gaps = [_gateway(found, gateway) for gateway in status.get("gateways", ())]
    found.say(status_of.CONSERVATION_GAP, (), float(sum(gaps)))
    for engine in status.get("engines", ()):
        _engine(found, engine)
    _others(found, status)
    return found


def families_of_silence() -> Iterable[Family]:
    """Return the families of a scrape that the supervisor did not answer: that fact alone."""
    found = Families()
    found.say(status_of.READY, (), 0.0)
    found.say(status_of.SUPERVISOR_ANSWERS, (), 0.0)
    return found


def _gateway(found: Families, gateway: Mapping[str, Any]) -> int:
    """Say what a status knows of a gateway; return how many of its arrivals are not accounted for."""
    gateway_id, is_there = str(gateway["id"]), gateway.get("pid") is not None
    counters: Mapping[str, int] = gateway.get("counters") or {}
    gap = 0
    if "arrivals" in counters:
        arrivals, ended = counters["arrivals"], 0
        found.say(status_of.ARRIVALS, (gateway_id,), arrivals)
        for outcome in Outcome:
            count = counters.get(_OUTCOME + outcome.value, 0)
            ended += count
            found.say(status_of.OUTCOMES, (gateway_id, outcome.value), count)
        # A counter may be read a moment after another: never below zero.
        found.say(status_of.OPEN_REQUESTS, (gateway_id,), max(arrivals - ended, 0))
        gap = 0 if is_there else abs(arrivals - ended)
    for name, metric in status_of.GATEWAY_COUNTERS.items():
        found.say(metric, (gateway_id,), counters.get(name))
    _restarts(found, status_of.GATEWAY_RESTARTS, (gateway_id,), gateway)
    found.say(status_of.GATEWAY_INCARNATION, (gateway_id,), gateway.get("incarnation"))
    if is_there:
        lag = gateway.get("loop_lag_ms")
        found.say(status_of.GATEWAY_LOOP_LAG, (gateway_id,), None if lag is None else lag / 1000)
        _facts(found, gateway_id, gateway.get("facts") or {})
    return gap


def _facts(found: Families, gateway_id: str, facts: Mapping[str, float]) -> None:
    """Say the gauges of a beat; those of a model or an engine bear its name behind a dot."""
    for key, value in facts.items():
        name, dot, whose = key.partition(".")
        if not _NAME.fullmatch(name):
            continue
        metric = _fact_metric(name, has_more=bool(dot))
        if metric.name not in _TAKEN:
            found.say(metric, (gateway_id, whose) if dot else (gateway_id,), value)


def _engine(found: Families, engine: Mapping[str, Any]) -> None:
    labels = (str(engine["id"]), str(engine.get("model", "")))
    state = engine.get("state")
    for possible in EngineStatus:
        found.say(status_of.ENGINE_STATE, (*labels, possible.value), float(state == possible))
    _restarts(found, status_of.ENGINE_RESTARTS, labels, engine)
    found.say(status_of.ENGINE_INCARNATION, labels, engine.get("incarnation"))
    counters: Mapping[str, int] = engine.get("counters") or {}
    for name, metric in status_of.ENGINE_COUNTERS.items():
        found.say(metric, labels, counters.get(name))
    if state in _ALIVE:
        _load(found, engine, labels)


def _load(found: Families, engine: Mapping[str, Any], labels: tuple[str, ...]) -> None:
    found.say(status_of.RUNNING, labels, engine.get("running"))
    found.say(status_of.WAITING, labels, engine.get("waiting"))
    blocks = engine.get("kv_blocks") or {}
    total, free = blocks.get("total"), blocks.get("free")
    found.say(status_of.KV_BLOCKS, labels, total)
    found.say(status_of.KV_BLOCKS_FREE, labels, free)
    if total and free is not None:
        found.say(status_of.KV_USAGE, labels, (total - free) / total)
        size = blocks.get("size")
        found.say(status_of.CACHE_CONFIG, (*labels, str(total), "" if size is None else str(size)), 1.0)
    if engine.get("exactness") is not None:
        found.say(status_of.EXACTNESS, (*labels, str(engine["exactness"])), 1.0)


def _restarts(found: Families, metric: Metric, labels: tuple[str, ...], child: Mapping[str, Any]) -> None:
    """Say all causes from the start: of a counter that begins at 1, Prometheus would not see the first."""
    counts: Mapping[str, int] = child.get("restarts") or {}
    for cause in dict.fromkeys((*ExitCause, *counts)):
        found.say(metric, (*labels, str(cause)), counts.get(cause, 0))


def _others(found: Families, status: Mapping[str, Any]) -> None:
    redis = status.get("redis") or {}
    if redis.get("pid") is not None or redis.get("incarnation"):  # else it is somebody else's, or there is none
        state = redis.get("state")
        found.say(status_of.REDIS_UP, (), float(state == "ready"))
        for possible in _REDIS_STATES:
            found.say(status_of.REDIS_STATE, (possible.value,), float(state == possible))
        found.say(status_of.REDIS_ANSWER, (), redis.get("answer_s"))
        _restarts(found, status_of.REDIS_RESTARTS, (), redis)
    _restarts(found, status_of.OPS_RESTARTS, (), status.get("ops") or {})
    supervisor: Mapping[str, Any] = status.get("supervisor") or {}
    found.say(status_of.SUPERVISOR_MEMORY, (), supervisor.get("rss_bytes"))
    found.say(status_of.SUPERVISOR_UPTIME, (), supervisor.get("uptime_s"))
    found.say(status_of.SUPERVISOR_STALLS, (), supervisor.get("stalls"))
    found.say(status_of.SUPERVISOR_ANSWERS, (), 1.0)
