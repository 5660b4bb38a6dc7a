"""Drills: what was broken on purpose, how soon it was seen and mended, and whether anybody noticed."""

from typing import Final

from spillway_dashboards import panels
from spillway_dashboards.model import ORANGE, RED, Board, Panel, Query, Row, Shape, Threshold, never, rising
from spillway_dashboards.promql import Scope
from spillway_wire import names
from spillway_wire import status_names as status

_SCOPE: Final = Scope()


def _number(title: str, description: str, expr: str, *, bad: tuple[Threshold, ...] = (), unit: str = "short") -> Panel:
    return Panel(
        title=title,
        description=description,
        unit=unit,
        shape=Shape.NUMBER,
        queries=(Query(expr=expr, legend=title.lower()),),
        thresholds=bad,
        decimals=0 if unit == "short" else None,
        empty="none",
        width=4,
        height=4,
    )


_BLOWS: Final = Row(
    title="What happened, in the period shown",
    panels=(
        panels.ready(_SCOPE),
        _number(
            "Faults that struck",
            "Faults injected on order (`POST /admin/faults`). Signals sent from outside are seen as restarts.",
            _SCOPE.grown(status.ENGINE_COUNTERS["faults_struck"]),
        ),
        _number(
            "Restarts of engines",
            "Starts after an end, on order or not.",
            _SCOPE.grown(status.ENGINE_RESTARTS),
        ),
        _number(
            "Restarts of gateways",
            "A gateway's death ends the streams that it held: they are booked as gateway_failed.",
            _SCOPE.grown(status.GATEWAY_RESTARTS),
        ),
        _number(
            "Restarts of Redis",
            "Without Redis nothing fails; quotas are kept by each gateway at its share.",
            _SCOPE.grown(status.REDIS_RESTARTS),
        ),
        _number(
            "Restarts of ops",
            "Ops is not on the path of requests: these boards have a gap, requests do not.",
            _SCOPE.grown(status.OPS_RESTARTS),
        ),
        panels.engine_states(_SCOPE),
    ),
)

_SEEN: Final = Row(
    title="How soon it was seen and mended",
    panels=(
        Panel(
            title="Time to detect",
            description="How long a process was dead unnoticed: one that hung, since its last sign of life; an exit is "
            "seen at once. Of all since Spillway began; p95. 2 s is what is promised.",
            unit="s",
            queries=(
                Query(
                    expr=_SCOPE.quantile_ever(0.95, names.TIME_TO_DETECT, by=("role", "cause")),
                    legend="{{role}} {{cause}}",
                ),
            ),
            thresholds=rising(orange=1.0, red=2.0),
            empty="nothing died",
        ),
        Panel(
            title="Time to recover",
            description="From the word that a process is dead to its successor's being ready. Of all since Spillway "
            "began; p95. Requests do not wait for it: they go on elsewhere.",
            unit="s",
            queries=(
                Query(
                    expr=_SCOPE.quantile_ever(0.95, names.TIME_TO_RECOVER, by=("role", "cause")),
                    legend="{{role}} {{cause}}",
                ),
            ),
            thresholds=rising(orange=15.0, red=60.0),
            empty="nothing died",
        ),
        Panel(
            title="Restarts by cause",
            description="Engines, by why they had ended.",
            unit="short",
            queries=(
                Query(
                    expr=_SCOPE.grown(status.ENGINE_RESTARTS, by=("engine", "cause"), over="$__rate_interval") + " > 0",
                    legend="{{engine}} {{cause}}",
                ),
            ),
            empty="none",
        ),
    ),
)

_NOTICED: Final = Row(
    title="Whether anybody noticed",
    panels=(
        panels.outcomes(_SCOPE, width=8),
        panels.broken_streams(_SCOPE),
        panels.recovered(_SCOPE),
        panels.first_token(_SCOPE),
        panels.latency(
            _SCOPE,
            names.TIME_PER_OUTPUT_TOKEN,
            "Time per output token",
            "Mean over a request: the pause of a recovered one is spread over its tokens.",
            thresholds=rising(orange=0.1, red=0.5),
        ),
        Panel(
            title="Open requests",
            description="Arrivals without an outcome yet. What is stuck stays here.",
            unit="short",
            queries=(Query(expr=_SCOPE.now(status.OPEN_REQUESTS, by=("gateway",)), legend="{{gateway}}"),),
        ),
    ),
)

_BOOKS: Final = Row(
    title="Whether the books still hold",
    panels=(
        panels.gap(_SCOPE),
        panels.lost_frames(_SCOPE, width=4),
        _number(
            "Failed logits",
            "Rows of logits that held NaN or infinity; their requests ended.",
            _SCOPE.grown(status.ENGINE_COUNTERS["failed_logits"]),
            bad=never(0.5),
        ),
        _number(
            "Out of memory",
            "Steps that ran out of memory and were tried again smaller.",
            _SCOPE.grown(status.ENGINE_COUNTERS["out_of_memory"]),
            bad=(Threshold(at=0.5, color=ORANGE),),
        ),
        _number(
            "Lost traces and spans",
            "Traces that were not stored, spans that no collector took.",
            _SCOPE.grown(names.DROPPED_SPANS),
            bad=(Threshold(at=0.5, color=ORANGE),),
        ),
        _number(
            "Supervisor silent",
            "1: it did not answer the last scrape, which then holds only what processes counted themselves.",
            f"1 - {_SCOPE.now(status.SUPERVISOR_ANSWERS, how='min')}",
            bad=(Threshold(at=1, color=RED),),
        ),
        Panel(
            title="Redis",
            description="How long the embedded Redis took for its last answer to a ping.",
            unit="s",
            queries=(Query(expr=_SCOPE.now(status.REDIS_ANSWER, how="max"), legend="ping"),),
            thresholds=rising(orange=0.025, red=0.1),
            empty="not ours",
        ),
        Panel(
            title="Gateways without Redis",
            description="Gateways that decide quotas by themselves.",
            unit="short",
            queries=(Query(expr=_SCOPE.now(names.LIMITER_DEGRADED, by=("gateway",)), legend="{{gateway}}"),),
            thresholds=(Threshold(at=1, color=ORANGE),),
            most=1.0,
        ),
        panels.loop_lag(_SCOPE),
    ),
)

BOARD: Final = Board(
    uid="spillway-chaos",
    title="Spillway: chaos",
    description="What was broken on purpose, how soon it was seen and mended, and whether anybody noticed.",
    rows=(_BLOWS, _SEEN, _NOTICED, _BOOKS),
)
