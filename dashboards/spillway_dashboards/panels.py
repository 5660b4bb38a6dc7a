"""Panels that more than one board shows: they say the same thing in the same words everywhere."""

from collections.abc import Iterable

from spillway_dashboards.model import ORANGE, RED, Panel, Query, Shape, State, Threshold, never, rising
from spillway_dashboards.promql import Scope, share
from spillway_wire import names
from spillway_wire import status_names as status
from spillway_wire.metric import Metric
from spillway_wire.outcomes import Outcome
from spillway_wire.plane import EngineStatus

QUANTILES = (0.5, 0.95, 0.99)
NOT_OURS = (Outcome.INVALID, Outcome.TOO_LARGE, Outcome.UNKNOWN_MODEL, Outcome.UNAUTHENTICATED, Outcome.FORBIDDEN)
"""Requests that nobody could have served: the caller's affair."""
LEFT = (Outcome.CLIENT_GONE, Outcome.SLOW_READER)
REFUSED = (Outcome.QUOTA, Outcome.OVERLOADED, Outcome.EXPIRED, Outcome.DRAINING, Outcome.NO_ENGINE)
FAILED = (Outcome.ENGINE_FAILED, Outcome.GATEWAY_FAILED, Outcome.INTERNAL)

_COLORS = {
    EngineStatus.READY: "green",
    EngineStatus.STANDBY: "light-green",
    EngineStatus.DRAINING: "blue",
    EngineStatus.STOPPED: "text",
    EngineStatus.HUNG: "purple",
    EngineStatus.CRASHED: "red",
    EngineStatus.BACKOFF: "orange",
    EngineStatus.PARKED: "dark-red",
}


def one_of(label: str, values: Iterable[str]) -> str:
    """Return a matcher for any of these values."""
    return f'{label}=~"{"|".join(values)}"'


def none_of(label: str, values: Iterable[str]) -> str:
    """Return a matcher for all other values."""
    return f'{label}!~"{"|".join(values)}"'


# ---- is it serving ----


def ready(scope: Scope) -> Panel:
    """Whether a request sent now would be served."""
    return Panel(
        title="Serving",
        description="Whether a request sent now would be served. If not, `/ready` at ops says why.",
        unit="short",
        shape=Shape.NUMBER,
        queries=(Query(expr=scope.now(status.READY, how="min"), legend="serving"),),
        base=RED,
        thresholds=(Threshold(at=1, color="green"),),
        states=(State(value=0, text="no", color=RED), State(value=1, text="yes", color="green")),
        width=4,
        height=4,
    )


def engines_ready(scope: Scope) -> Panel:
    """Share of the engines that can take work."""
    up = scope.now(status.ENGINE_STATE, 'state="ready"')
    return Panel(
        title="Engines ready",
        description="Share of all engines that are ready. Those on standby or drained on purpose count as not ready.",
        unit="percentunit",
        shape=Shape.NUMBER,
        queries=(Query(expr=share(up, scope.now(status.ENGINE_INCARNATION, how="count")), legend="ready"),),
        base=RED,
        thresholds=(Threshold(at=0.5, color=ORANGE), Threshold(at=1, color="green")),
        most=1.0,
        width=4,
        height=4,
    )


def gap(scope: Scope) -> Panel:
    """Arrivals that the books have lost."""
    return Panel(
        title="Arrivals not accounted for",
        description="Requests of gateways that are gone, without an outcome. Anything but 0: the books lie.",
        unit="short",
        shape=Shape.NUMBER,
        queries=(Query(expr=scope.now(status.CONSERVATION_GAP), legend="gap"),),
        thresholds=never(),
        width=4,
        height=4,
    )


def engine_states(scope: Scope, *, width: int = 24) -> Panel:
    """What every engine is doing."""
    states = tuple(EngineStatus)
    by_state = [scope.now(status.ENGINE_STATE, f'state="{state.value}"', by=("engine",)) for state in states]
    number = " + ".join(f"{place} * {expr}" for place, expr in enumerate(by_state))
    return Panel(
        title="State of each engine",
        description="One line for each engine. Spawning, loading and warming are the phases of a start; parked means "
        "that it died too often and is tried again only now and then.",
        unit="short",
        shape=Shape.STATES,
        queries=(Query(expr=number, legend="{{engine}}"),),
        states=tuple(
            State(value=place, text=state.value, color=_COLORS.get(state, "yellow"))
            for place, state in enumerate(states)
        ),
        least=None,
        width=width,
        height=6,
    )


# ---- requests ----


def outcomes(scope: Scope, *, width: int = 12) -> Panel:
    """How requests end."""
    return Panel(
        title="Requests by outcome",
        description="How requests end, each in exactly one way. The table of outcomes in docs/operating.md says what "
        "each means and what to do. Of all models and tiers: these are counted even where a request named none.",
        unit="reqps",
        queries=(Query(expr=scope.rate(status.OUTCOMES, by=("outcome",)) + " > 0", legend="{{outcome}}"),),
        stacked=True,
        width=width,
    )


def latency(
    scope: Scope,
    metric: Metric,
    title: str,
    description: str,
    *,
    thresholds: tuple[Threshold, ...] = (),
    width: int = 8,
) -> Panel:
    """Quantiles of a time, with the traces behind single requests."""
    return Panel(
        title=title,
        description=description,
        unit=metric.unit[:1] if metric.unit == "seconds" else "short",
        queries=tuple(
            Query(
                expr=scope.quantile(quantile, metric),
                legend=f"p{quantile * 100:.0f}",
                exemplars=metric.exemplars and quantile == max(QUANTILES),
            )
            for quantile in QUANTILES
        ),
        thresholds=thresholds,
        width=width,
    )


def first_token(scope: Scope, *, width: int = 8) -> Panel:
    """Quantiles of the time to the first token."""
    return latency(
        scope,
        names.TIME_TO_FIRST_TOKEN,
        "Time to first token",
        "From the arrival of a request to its first token, in the queue and in the engine; completed requests only. "
        "The diamonds are single requests: each leads to its trace. Lines: what gold promises, and five times that.",
        thresholds=rising(orange=1.0, red=5.0),
        width=width,
    )


def broken_streams(scope: Scope) -> Panel:
    """Streams that failed after they had begun."""
    return Panel(
        title="Broken streams",
        description="Requests that failed after their first token: their clients saw HTTP 200, and then an error. "
        "An engine's death does not break streams, they go on elsewhere; so this stays at 0.",
        unit="reqps",
        queries=(Query(expr=scope.rate(names.BROKEN_STREAMS, by=("outcome",)), legend="{{outcome}}"),),
        thresholds=(Threshold(at=0.001, color=RED),),
        empty="none",
    )


def recovered(scope: Scope) -> Panel:
    """Requests that outlived their engine."""
    return Panel(
        title="Recovered requests",
        description="Requests that went on with another engine when theirs had died. Their clients saw a pause.",
        unit="reqps",
        queries=(Query(expr=scope.rate(status.GATEWAY_COUNTERS["recoveries"], by=("gateway",)), legend="{{gateway}}"),),
    )


def lost_frames(scope: Scope, *, width: int) -> Panel:
    """Frames between processes that did not arrive whole."""
    seen = (scope.grown(names.DROPPED_FRAMES), scope.grown(status.ENGINE_COUNTERS["malformed_frames"]))
    return Panel(
        title="Lost frames",
        description="In the period shown: frames that gateways missed or could not read, and those that engines could "
        "not. No token is lost by it: the attempt ends, and the request goes on in another one.",
        unit="short",
        shape=Shape.NUMBER,
        queries=(Query(expr=" + ".join(seen), legend="lost"),),
        thresholds=never(0.5),
        decimals=0,
        width=width,
        height=4,
    )


# ---- what else it stands on ----


def redis_round_trip(scope: Scope) -> Panel:
    """How long the ledger waits for Redis."""
    return Panel(
        title="Round trip to Redis",
        description="How long quotas took to be asked in Redis. After 100 ms a gateway decides by itself, with its "
        "share of the limits. Nothing is asked while no tenant has a limit.",
        unit="s",
        queries=tuple(
            Query(expr=scope.quantile(quantile, names.REDIS_ROUND_TRIP), legend=f"p{quantile * 100:.0f}")
            for quantile in QUANTILES
        ),
        thresholds=rising(orange=0.025, red=0.1),
        empty="not asked",
    )


def loop_lag(scope: Scope) -> Panel:
    """How late gateways' event loops are."""
    return Panel(
        title="Lag of gateways' event loops",
        description="How late a gateway's event loop was. It delays every token of all its streams: above 100 ms the "
        "gateways are too few for this traffic, or something blocks them (a profile shows what).",
        unit="s",
        queries=(Query(expr=scope.quantile(0.99, names.LOOP_LAG, by=("gateway",)), legend="{{gateway}} p99"),),
        thresholds=rising(orange=0.025, red=0.1),
    )
