"""What is known and what was counted → what a console shows. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from spillway.ops.console.counts import LATENCIES, Counts, gauges, grown
from spillway.ops.console.facts import (
    Admission,
    Brownout,
    Count,
    Engine,
    Gateway,
    LatencyRow,
    OutcomeRow,
    Point,
    Quantile,
    ReasonRow,
    Redis,
    Snapshot,
)
from spillway.ops.console.quantile import latency
from spillway.ops.readiness import readiness_facts
from spillway.readiness import reasons_not_ready
from spillway_wire import names
from spillway_wire.outcomes import Outcome
from spillway_wire.plane import EngineStatus
from spillway_wire.series_reader import Read

KINDS: Final[Mapping[Outcome, str]] = {
    Outcome.COMPLETED: "completed",
    **dict.fromkeys(
        (
            *(Outcome.UNAUTHENTICATED, Outcome.FORBIDDEN, Outcome.QUOTA, Outcome.OVERLOADED, Outcome.EXPIRED),
            *(Outcome.DRAINING, Outcome.NO_ENGINE),
        ),
        "refused",
    ),
    **dict.fromkeys((Outcome.ENGINE_FAILED, Outcome.GATEWAY_FAILED, Outcome.INTERNAL), "failed"),
    **dict.fromkeys(
        (Outcome.INVALID, Outcome.TOO_LARGE, Outcome.UNKNOWN_MODEL, Outcome.CLIENT_GONE, Outcome.SLOW_READER), "client"
    ),
}
"""Who ended a request: nobody, admission, a fault of ours, or the client."""
_HOLDS: Final = frozenset({EngineStatus.STANDBY, EngineStatus.READY, EngineStatus.DRAINING})
"""States in which what an engine says it holds is true."""
CHARTED: Final = ("ttft", "tpot", "queue")
"""Latencies of which there is a chart."""
_LIMIT: Final = "engine_limit."
_UNNAMED: Final = "unnamed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What was read at one moment."""

    at: float
    """Unix time."""
    counts: Counts
    status: Mapping[str, Any]
    places: Mapping[str, Read] = field(default_factory=dict)
    problem: str = ""
    stale_s: float = 0.0


def snapshot(sample: Sample, before: Counts | None, ladder: tuple[str, ...]) -> Snapshot:
    """Return what is shown. `before` is where the last while begins; None: nothing to compare with yet."""
    status, now = sample.status, sample.counts
    then = now if before is None else before
    window_s = now.at - then.at
    reasons = [sample.problem] if sample.problem else reasons_not_ready(readiness_facts(status))
    supervisor: Mapping[str, Any] = status.get("supervisor") or {}
    limits = _limits(status)
    arrivals = _count(sum(now.arrivals.values()), sum(then.arrivals.values()))
    return Snapshot(
        at=sample.at,
        window_s=window_s,
        problem=sample.problem,
        stale_s=sample.stale_s,
        ready=not reasons,
        reasons=tuple(reasons),
        phase=str(status.get("phase", "")),
        uptime_s=supervisor.get("uptime_s"),
        models=tuple(_model_names(status)),
        engines=tuple(_engine(engine, now, then, window_s, limits) for engine in status.get("engines", ())),
        gateways=tuple(_gateway(gateway, now, then, window_s) for gateway in status.get("gateways", ())),
        redis=_redis(status.get("redis") or {}),
        arrivals=arrivals,
        open_requests=max(0, round(arrivals.total - sum(now.outcomes.values()))),
        tokens=_count(sum(now.engine_tokens.values()), sum(then.engine_tokens.values())),
        recoveries=_count(now.recoveries, then.recoveries),
        outcomes=tuple(_outcomes(now, then)),
        latencies=tuple(_latencies(now, then)),
        admission=_admission(now, then, sample.places, ladder),
    )


def point(sample: Sample, before: Counts | None, shown: Snapshot) -> Point:
    """Return one point of the charts, of the time since `before`; fields as `facts.POINT` has them."""
    now = sample.counts
    then = now if before is None else before
    seconds = now.at - then.at
    kinds = dict.fromkeys(("completed", "refused", "failed", "client"), 0.0)
    for outcome, count in now.outcomes.items():
        kind = _kind(outcome)
        if kind in kinds:
            kinds[kind] += max(0.0, count - then.outcomes.get(outcome, 0.0))
    lines: list[float | None] = []
    for name in CHARTED:
        row = latency(LATENCIES[name].buckets, grown(now.latencies[name], then.latencies.get(name)))
        lines += [_value(row.p50), _value(row.p95), _value(row.p99), row.mean]
    holding = [engine for engine in shown.engines if engine.kv_total]
    total = sum(engine.kv_total for engine in holding)
    return (
        sample.at,
        _rate(sum(now.arrivals.values()) - sum(then.arrivals.values()), seconds),
        *(_rate(count, seconds) for count in kinds.values()),
        _rate(sum(now.engine_tokens.values()) - sum(then.engine_tokens.values()), seconds),
        *lines,
        float(shown.open_requests),
        float(sum(engine.running for engine in shown.engines)),
        float(sum(engine.waiting for engine in shown.engines) + sum(shown.admission.queued.values())),
        sum(engine.kv_used for engine in holding) / total if total else None,
        float(sum(engine.state == EngineStatus.READY for engine in shown.engines)),
    )


def _value(found: Quantile | None) -> float | None:
    return None if found is None else found.value


def _rate(count: float, seconds: float) -> float | None:
    return max(0.0, count) / seconds if seconds > 0 else None


def _count(now: float, then: float) -> Count:
    return Count(recent=max(0.0, now - then), total=now)


def _kind(outcome: str) -> str:
    return KINDS[Outcome(outcome)] if outcome in tuple(Outcome) else ""


def _model_names(status: Mapping[str, Any]) -> Iterable[str]:
    for model in status.get("models", ()):
        yield str(model["name"])


# ---- processes ----


def _limits(status: Mapping[str, Any]) -> dict[str, float]:
    """Return how many requests at a time gateways give each engine, as the one that gives most says."""
    found: dict[str, float] = {}
    for gateway in status.get("gateways", ()):
        for name, value in (gateway.get("facts") or {}).items():
            if name.startswith(_LIMIT):
                engine_id = name.removeprefix(_LIMIT)
                found[engine_id] = max(found.get(engine_id, 0.0), value)
    return found


def _engine(
    engine: Mapping[str, Any], now: Counts, then: Counts, window_s: float, limits: Mapping[str, float]
) -> Engine:
    engine_id = str(engine["id"])
    holds = engine.get("state") in _HOLDS
    blocks: Mapping[str, Any] = engine.get("kv_blocks") or {}
    total = int(blocks.get("total") or 0) if holds else 0
    zeros = (0.0,) * names.STEP_DURATION.num_values
    steps = now.steps.get(engine_id, zeros)
    made = now.engine_tokens.get(engine_id, 0.0) - then.engine_tokens.get(engine_id, 0.0)
    return Engine(
        id=engine_id,
        model=str(engine.get("model", "")),
        state=str(engine.get("state", "")),
        incarnation=int(engine.get("incarnation") or 0),
        pid=engine.get("pid"),
        progress=str(engine.get("progress") or ""),
        running=int(engine.get("running") or 0) if holds else 0,
        waiting=int(engine.get("waiting") or 0) if holds else 0,
        limit=limits.get(engine_id),
        kv_total=total,
        kv_used=total - int(blocks.get("free") or 0) if total else 0,
        step=latency(names.STEP_DURATION.buckets, grown(steps, then.steps.get(engine_id, zeros))),
        tokens_per_s=_rate(made, window_s),
        restarts=dict(engine.get("restarts") or {}),
        last_exit=engine.get("last_exit"),
        exactness=engine.get("exactness"),
    )


def _gateway(gateway: Mapping[str, Any], now: Counts, then: Counts, window_s: float) -> Gateway:
    gateway_id = str(gateway["id"])
    arrived = now.arrivals.get(gateway_id, 0.0) - then.arrivals.get(gateway_id, 0.0)
    lag_ms = gateway.get("loop_lag_ms") if gateway.get("pid") is not None else None
    return Gateway(
        id=gateway_id,
        state=str(gateway.get("state", "")),
        incarnation=int(gateway.get("incarnation") or 0),
        pid=gateway.get("pid"),
        open_requests=int(gateway.get("open_requests") or 0),
        loop_lag_s=None if lag_ms is None else lag_ms / 1000,
        arrivals_per_s=_rate(arrived, window_s),
        restarts=dict(gateway.get("restarts") or {}),
        last_exit=gateway.get("last_exit"),
    )


def _redis(redis: Mapping[str, Any]) -> Redis:
    return Redis(
        state=str(redis.get("state", "absent")),
        pid=redis.get("pid"),
        incarnation=int(redis.get("incarnation") or 0),
        answer_s=redis.get("answer_s"),
        restarts=dict(redis.get("restarts") or {}),
    )


# ---- requests ----


def _outcomes(now: Counts, then: Counts) -> Iterable[OutcomeRow]:
    """One row for each outcome that there ever was, in the order of the outcomes' own list."""
    tiers = sorted({tier for tier, _ in now.requests})
    for outcome in Outcome:
        count = _count(now.outcomes.get(outcome, 0.0), then.outcomes.get(outcome, 0.0))
        if not count.total:
            continue
        by_tier = {
            tier: _count(now.requests.get((tier, outcome), 0.0), then.requests.get((tier, outcome), 0.0))
            for tier in tiers
            if (tier, outcome) in now.requests
        }
        yield OutcomeRow(outcome=outcome.value, kind=KINDS[outcome], count=count, tiers=by_tier)


def _latencies(now: Counts, then: Counts) -> Iterable[LatencyRow]:
    for name, metric in LATENCIES.items():
        total = now.latencies.get(name, (0.0,) * metric.num_values)
        yield LatencyRow(
            name=name,
            recent=latency(metric.buckets, grown(total, then.latencies.get(name))),
            total=latency(metric.buckets, total),
        )


def _admission(now: Counts, then: Counts, places: Mapping[str, Read], ladder: tuple[str, ...]) -> Admission:
    made: dict[str, list[float]] = {"admitted": [0.0, 0.0], "refused": [0.0, 0.0]}
    reasons: list[ReasonRow] = []
    for (decision, reason), total in sorted(now.decisions.items(), key=lambda item: -item[1]):
        count = _count(total, then.decisions.get((decision, reason), 0.0))
        sums = made.setdefault(decision, [0.0, 0.0])
        sums[0] += count.recent
        sums[1] += count.total
        if decision == "refused":
            reasons.append(ReasonRow(reason=reason or _UNNAMED, count=count))
    reads = list(places.values())
    queued: dict[str, int] = {}
    for (_, band), waiting in gauges(names.QUEUED_REQUESTS, reads):
        queued[band] = queued.get(band, 0) + round(waiting)
    levels: dict[str, int] = {}
    for (model,), level in gauges(names.BROWNOUT_LEVEL, reads):
        levels[model] = max(levels.get(model, 0), round(level))
    pressures: dict[str, float] = {}
    for (model,), pressure in gauges(names.LOAD_PRESSURE, reads):
        pressures[model] = max(pressures.get(model, 0.0), pressure)
    return Admission(
        admitted=Count(recent=made["admitted"][0], total=made["admitted"][1]),
        refused=Count(recent=made["refused"][0], total=made["refused"][1]),
        reasons=tuple(reasons),
        queued=queued,
        brownout=tuple(
            Brownout(model=model, level=level, pressure=pressures.get(model)) for model, level in levels.items()
        ),
        ladder=ladder,
        limiter_degraded=any(value > 0 for _, value in gauges(names.LIMITER_DEGRADED, reads)),
    )
