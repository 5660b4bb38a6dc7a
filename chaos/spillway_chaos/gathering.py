"""From the stage to the evidence, when a run is over: the last questions that are asked of the platform."""

import time
from typing import Final

import httpx

from spillway_chaos.judging.evidence import Evidence, Traces
from spillway_chaos.probes.steady import nothing_owed
from spillway_chaos.stage import metrics
from spillway_chaos.stage.stage import Stage

_TRACES_WITHIN_S: Final = 5.0
_MOST_TRACES: Final = 200
"""That one question is answered with."""
_LOOKED_AT: Final = 8
"""Recovered traces that are looked into."""
_JUDGED: Final = "spillway_judged_requests_total"


def settle(stage: Stage, *, alerts_within_s: float) -> tuple[str, bool, Traces | None]:
    """Wait until nothing is owed and no page fires; return what is owed, whether it is silent, and the traces."""
    owed = nothing_owed()
    traces = _traces(stage)
    silent = stage.receiver.wait_silent(alerts_within_s)
    stage.after = stage.scrape()
    return owed, silent, traces


def gather(
    stage: Stage,
    *,
    owed: str,
    silent: bool,
    traces: Traces | None,
    fault_ended_at: float | None,
    deviations: tuple[str, ...],
    unsteady: str,
) -> Evidence:
    """Put together what was seen; the platform has ended."""
    load = stage.result
    outcomes = {
        name: round(count - metrics.by_label(stage.before, metrics.NAME_OF_OUTCOMES, "outcome").get(name, 0.0))
        for name, count in metrics.by_label(stage.after, metrics.NAME_OF_OUTCOMES, "outcome").items()
    }
    return Evidence(
        strikes=tuple(stage.strikes),
        fault_ended_at=fault_ended_at,
        load=load,
        changes=tuple(stage.changes),
        alerts=tuple(stage.receiver.alerts),
        load_ended_unix=time.time() if load is None else load.started_unix + load.seconds,
        silent=silent,
        outcomes={name: count for name, count in outcomes.items() if count},
        recoveries=round(_grown(stage, "spillway_recoveries_total")),
        conservation_gap=metrics.total(stage.after, "spillway_conservation_gap_requests"),
        traces=traces,
        owed=owed,
        exit_status=stage.exit_status,
        left_over=stage.left_over,
        restarts=round(_grown(stage, "spillway_engine_restarts_total")),
        judged=_judged(stage),
        deviations=deviations,
        unsteady=unsteady,
    )


def _grown(stage: Stage, name: str) -> float:
    return metrics.total(stage.after, name) - metrics.total(stage.before, name)


def _judged(stage: Stage) -> dict[str, float]:
    """Return how many requests the platform itself judged to be good, or what was wrong with them."""
    before = metrics.by_label(stage.before, _JUDGED, "verdict")
    after = metrics.by_label(stage.after, _JUDGED, "verdict")
    grown = {verdict: count - before.get(verdict, 0.0) for verdict, count in after.items()}
    return {verdict: count for verdict, count in grown.items() if count}


def _traces(stage: Stage) -> Traces | None:
    """Return what became of traces, as soon as all are written, or the time for it is over; None: ops does not say."""
    deadline = time.monotonic() + _TRACES_WITHIN_S
    while True:
        try:
            found = _traces_now(stage)
        except (httpx.HTTPError, ValueError, KeyError):
            found = None
        if (found is not None and found.kept >= found.expected) or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def _traces_now(stage: Stage) -> Traces:
    samples = stage.scrape()
    expected = metrics.total(samples, metrics.NAME_OF_OUTCOMES)
    pool = stage.instance.pool()
    facts = [gateway["facts"] for gateway in pool["gateways"]]
    ways = ("traces_stored", "traces_left_out")
    kept = sum(fact.get(way, 0.0) for fact in facts for way in ways)
    dropped = sum(
        fact.get(way, 0.0) for fact in facts for way in ("traces_dropped", "traces_failed", "traces_store_lost")
    )
    if expected <= _MOST_TRACES:  # the store itself is a better witness than the counts of a gateway that may have died
        kept = len(stage.instance.ops_get(f"/console/requests?which=all&limit={_MOST_TRACES}").json()["requests"])
    recovered = stage.instance.ops_get(f"/console/requests?which=recovered&limit={_MOST_TRACES}").json()["requests"]
    looked_at = recovered[:_LOOKED_AT]
    whole = sum(_shows_attempts(stage, str(row["trace_id"])) for row in looked_at)
    return Traces(
        expected=round(expected),
        kept=round(kept),
        dropped=round(dropped),
        recovered=len(looked_at),
        recovered_with_attempts=whole,
    )


def _shows_attempts(stage: Stage, trace_id: str) -> bool:
    parts = stage.instance.ops_get(f"/console/traces/{trace_id}").json()["parts"]
    return any(sum(span["name"] == "attempt" for span in part["spans"]) > 1 for part in parts)
