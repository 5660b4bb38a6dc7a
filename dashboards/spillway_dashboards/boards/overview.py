"""The first board to open: is it serving, how well, whom does it refuse, what is it standing on."""

from typing import Final

from spillway_dashboards import panels
from spillway_dashboards.model import ORANGE, RED, Board, Panel, Query, Row, Shape, Threshold, falling, never, rising
from spillway_dashboards.promql import Scope, share
from spillway_wire import names
from spillway_wire import status_names as status
from spillway_wire.metric import Metric
from spillway_wire.series import OVERFLOW

_SCOPE: Final = Scope()
_OURS: Final = panels.none_of("outcome", (*panels.NOT_OURS, *panels.LEFT))
"""Requests that could have been served."""

_NOW: Final = Row(
    title="Now",
    panels=(
        panels.ready(_SCOPE),
        Panel(
            title="Arrivals per second",
            description="Requests that arrived at a model's endpoint, served or not.",
            unit="reqps",
            shape=Shape.NUMBER,
            queries=(Query(expr=_SCOPE.rate(status.ARRIVALS), legend="arrivals"),),
            width=4,
            height=4,
        ),
        Panel(
            title="Served",
            description="Completed requests as a share of those that could have been served: without what was wrong in "
            "itself (invalid, unauthenticated, …) and without clients that left. Refusals count as not served.",
            unit="percentunit",
            shape=Shape.NUMBER,
            queries=(
                Query(
                    expr=share(
                        _SCOPE.rate(status.OUTCOMES, 'outcome="completed"'), _SCOPE.rate(status.OUTCOMES, _OURS)
                    ),
                    legend="served",
                ),
            ),
            base=RED,
            thresholds=falling(orange=0.95, green=0.99),
            most=1.0,
            decimals=2,
            empty="no traffic",
            width=4,
            height=4,
        ),
        Panel(
            title="Failed per second",
            description="Requests that failed by a fault of ours: engine_failed, gateway_failed, internal.",
            unit="reqps",
            shape=Shape.NUMBER,
            queries=(
                Query(expr=_SCOPE.rate(status.OUTCOMES, panels.one_of("outcome", panels.FAILED)), legend="failed"),
            ),
            thresholds=(Threshold(at=0.001, color=RED),),
            width=4,
            height=4,
        ),
        panels.engines_ready(_SCOPE),
        panels.gap(_SCOPE),
    ),
)


def _length(metric: Metric, title: str, description: str) -> Panel:
    """Return how long requests' texts are."""
    return panels.latency(_SCOPE, metric, title, description, width=12)


_TRAFFIC: Final = Row(
    title="Traffic",
    panels=(
        panels.outcomes(_SCOPE),
        Panel(
            title="Requests by tier",
            description="Requests that ended, however they ended, by the tier of their tenant.",
            unit="reqps",
            queries=(Query(expr=_SCOPE.rate(names.REQUESTS, by=("tier",)), legend="{{tier}}"),),
            stacked=True,
            width=6,
        ),
        Panel(
            title="Tokens per second",
            description="Tokens of requests that ended: of their prompts (input), of these found in a cache (cached), "
            "and of their answers (output).",
            unit="cps",
            queries=(Query(expr=_SCOPE.rate(names.MODEL_TOKENS, by=("type",)), legend="{{type}}"),),
            width=6,
        ),
        _length(
            names.REQUEST_PROMPT_TOKENS,
            "Length of prompts",
            "Prompt tokens of a request. Long prompts take long to their first token, and make others stutter.",
        ),
        _length(
            names.REQUEST_OUTPUT_TOKENS,
            "Length of answers",
            "Output tokens of a request. They decide how long a request holds its place in the batch.",
        ),
    ),
)

_LATENCY: Final = Row(
    title="Latency",
    panels=(
        panels.first_token(_SCOPE),
        panels.latency(
            _SCOPE,
            names.TIME_PER_OUTPUT_TOKEN,
            "Time per output token",
            "Mean time of each token after the first of a request; completed requests only. What a reader sees as "
            "speed. Lines: what gold promises, and five times that.",
            thresholds=rising(orange=0.1, red=0.5),
        ),
        panels.latency(
            _SCOPE,
            names.REQUEST_DURATION,
            "Duration of requests",
            "From arrival to the last byte, however it ended. It depends above all on how much was asked for.",
        ),
        Panel(
            title="Time to first token, all of it",
            description="How many requests had their first token after how long. Two bands of colour are two kinds of "
            "request, which no quantile shows.",
            unit="s",
            shape=Shape.HEATMAP,
            queries=(Query(expr=_SCOPE.buckets(names.TIME_TO_FIRST_TOKEN), legend="{{le}}"),),
            least=None,
            width=12,
        ),
        Panel(
            title="Wait for an engine",
            description="How long requests waited in gateways' queues, by band. It is a part of the time to first "
            "token: if it is most of it, there are too few engines; if not, prompts are long.",
            unit="s",
            queries=(Query(expr=_SCOPE.quantile(0.95, names.QUEUE_TIME, by=("band",)), legend="{{band}} p95"),),
            width=12,
        ),
    ),
)

_REFUSED: Final = Row(
    title="Refused and failed",
    panels=(
        Panel(
            title="Refusals by reason",
            description="Requests that were refused before they cost anything, by the limit that they met.",
            unit="reqps",
            queries=(
                Query(
                    expr=_SCOPE.rate(names.ADMISSION_DECISIONS, 'decision="refused"', by=("reason",)),
                    legend="{{reason}}",
                ),
            ),
            stacked=True,
            empty="none",
        ),
        panels.broken_streams(_SCOPE),
        panels.recovered(_SCOPE),
    ),
)

_POOL: Final = Row(
    title="Pool",
    panels=(
        panels.engine_states(_SCOPE),
        Panel(
            title="Sequences in engines",
            description="Running in the batch, and waiting in the engines. What waits in gateways is on the board of "
            "admission: engines are given no more than they can begin soon.",
            unit="short",
            queries=(
                Query(expr=_SCOPE.now(status.RUNNING, by=("engine",)), legend="{{engine}} running"),
                Query(expr=_SCOPE.now(status.WAITING, by=("engine",)), legend="{{engine}} waiting"),
            ),
        ),
        Panel(
            title="Key-value cache in use",
            description="Share of each engine's blocks that hold something. At 1 sequences are preempted: they give "
            "their blocks back, and are computed again.",
            unit="percentunit",
            queries=(Query(expr=_SCOPE.now(status.KV_USAGE, by=("engine",), how="max"), legend="{{engine}}"),),
            thresholds=rising(orange=0.9, red=0.98),
            most=1.0,
        ),
        Panel(
            title="Open requests",
            description="Requests without an outcome yet, by gateway.",
            unit="short",
            queries=(Query(expr=_SCOPE.now(status.OPEN_REQUESTS, by=("gateway",)), legend="{{gateway}}"),),
        ),
    ),
)

_GROUND: Final = Row(
    title="What it stands on",
    panels=(
        Panel(
            title="Redis",
            description="Whether the embedded Redis answers. Without it quotas are kept by each gateway at its share; "
            "nothing fails. Somebody else's Redis is not seen here: its round trip is.",
            unit="short",
            shape=Shape.NUMBER,
            queries=(Query(expr=_SCOPE.now(status.REDIS_UP, how="min"), legend="redis"),),
            base=ORANGE,
            thresholds=(Threshold(at=1, color="green"),),
            most=1.0,
            empty="not ours",
            width=3,
            height=4,
        ),
        Panel(
            title="Quotas without Redis",
            description="Gateways that decide quotas by themselves now.",
            unit="short",
            shape=Shape.NUMBER,
            queries=(Query(expr=_SCOPE.now(names.LIMITER_DEGRADED), legend="gateways"),),
            thresholds=(Threshold(at=1, color=ORANGE),),
            width=3,
            height=4,
        ),
        Panel(
            title="Stalls of the supervisor",
            description="Times in the period shown that the supervisor itself was not run for a while: the machine is "
            "short of CPU. It judges nobody right after.",
            unit="short",
            shape=Shape.NUMBER,
            queries=(Query(expr=_SCOPE.grown(status.SUPERVISOR_STALLS), legend="stalls"),),
            thresholds=(Threshold(at=1, color=ORANGE),),
            decimals=0,
            width=3,
            height=4,
        ),
        Panel(
            title="Lost traces and spans",
            description="In the period shown: traces that were not stored, spans that no collector took.",
            unit="short",
            shape=Shape.NUMBER,
            queries=(Query(expr=_SCOPE.grown(names.DROPPED_SPANS), legend="lost"),),
            thresholds=(Threshold(at=1, color=ORANGE),),
            decimals=0,
            width=3,
            height=4,
        ),
        Panel(
            title="Lost log lines",
            description="In the period shown: lines of gateways' logs that could not be written: whoever reads them is "
            "too slow, or the disk is full.",
            unit="short",
            shape=Shape.NUMBER,
            queries=(Query(expr=_SCOPE.grown(names.DROPPED_LOGS), legend="lost"),),
            thresholds=(Threshold(at=1, color=ORANGE),),
            decimals=0,
            width=3,
            height=4,
        ),
        panels.lost_frames(_SCOPE, width=3),
        Panel(
            title="Observations not counted",
            description="In the period shown: what did not fit into a process's page of metrics. The numbers on these "
            "boards are then too low.",
            unit="short",
            shape=Shape.NUMBER,
            queries=(Query(expr=_SCOPE.grown(OVERFLOW), legend="lost"),),
            thresholds=never(),
            decimals=0,
            width=3,
            height=4,
        ),
        Panel(
            title="Scrape of metrics",
            description="How long ops takes to answer a scrape, p99.",
            unit="s",
            shape=Shape.NUMBER,
            queries=(Query(expr=_SCOPE.quantile(0.99, names.SCRAPE_DURATION), legend="p99"),),
            thresholds=rising(orange=0.05, red=1.0),
            width=3,
            height=4,
        ),
        panels.loop_lag(_SCOPE),
        panels.redis_round_trip(_SCOPE),
        Panel(
            title="Memory of the supervisor",
            description="It is small and stays so; growth is a fault.",
            unit="bytes",
            queries=(Query(expr=_SCOPE.now(status.SUPERVISOR_MEMORY, how="max"), legend="resident"),),
        ),
    ),
)

BOARD: Final = Board(
    uid="spillway-overview",
    title="Spillway: overview",
    description="Is it serving, how fast, whom does it refuse and why, what is it standing on.",
    rows=(_NOW, _TRAFFIC, _LATENCY, _REFUSED, _POOL, _GROUND),
)
