"""Admission and tenants: who is let in, who waits, who is refused and why, and what each tenant uses."""

from typing import Final

from spillway_dashboards import panels
from spillway_dashboards.model import ORANGE, Board, Panel, Query, Row, Shape, Threshold, rising
from spillway_dashboards.promql import Scope, share, share_of_all
from spillway_wire import names

_SCOPE: Final = Scope()
_MOST: Final = 10
"""Tenants that a panel shows."""


def _top(expr: str) -> str:
    """Return the largest of an expression's series."""
    return f"topk({_MOST}, {expr})"


_DECISIONS: Final = Row(
    title="Decisions",
    panels=(
        Panel(
            title="Let in",
            description="Share of the decided requests that were let in. What is refused is refused at once.",
            unit="percentunit",
            shape=Shape.NUMBER,
            queries=(
                Query(
                    expr=share(
                        _SCOPE.rate(names.ADMISSION_DECISIONS, 'decision="admitted"'),
                        _SCOPE.rate(names.ADMISSION_DECISIONS),
                    ),
                    legend="let in",
                ),
            ),
            most=1.0,
            empty="no traffic",
            width=4,
            height=8,
        ),
        Panel(
            title="Refusals by reason",
            description="By the limit that was met: ttft and deadline (it would come too late), requests_per_minute, "
            "tokens_per_minute, max_concurrent, tokens_per_day (the tenant's own), level (more important requests fill "
            "the place), queue_age and max_queued_requests (the queue), or the outcome where there is no limit.",
            unit="reqps",
            queries=(
                Query(
                    expr=_SCOPE.rate(names.ADMISSION_DECISIONS, 'decision="refused"', by=("reason",)),
                    legend="{{reason}}",
                ),
            ),
            stacked=True,
            empty="none",
            width=10,
        ),
        Panel(
            title="Refusals by tier and band",
            description="Under load, bulk and bronze go first, gold and interactive last.",
            unit="reqps",
            queries=(
                Query(
                    expr=_SCOPE.rate(names.ADMISSION_DECISIONS, 'decision="refused"', by=("tier", "band")),
                    legend="{{tier}} {{band}}",
                ),
            ),
            stacked=True,
            empty="none",
            width=10,
        ),
    ),
)

_QUEUE: Final = Row(
    title="Queue and load",
    panels=(
        Panel(
            title="Queued requests by band",
            description="Requests that wait for an engine, in all gateways. Higher bands go first, down to the floors "
            "of the lower ones.",
            unit="short",
            queries=(Query(expr=_SCOPE.now(names.QUEUED_REQUESTS, by=("band",)), legend="{{band}}"),),
            stacked=True,
        ),
        Panel(
            title="Wait for an engine",
            description="How long requests waited, by band; p95.",
            unit="s",
            queries=(Query(expr=_SCOPE.quantile(0.95, names.QUEUE_TIME, by=("band",)), legend="{{band}}"),),
        ),
        Panel(
            title="Queued or running",
            description="Requests that each gateway has in its queue or in an engine.",
            unit="short",
            queries=(Query(expr=_SCOPE.now(names.IN_FLIGHT, by=("gateway",)), legend="{{gateway}}"),),
        ),
        Panel(
            title="Pressure",
            description="Predicted time to first token as a share of what is promised. From 1 on requests are refused; "
            "steps of the brownout ladder begin below.",
            unit="percentunit",
            queries=(Query(expr=_SCOPE.now(names.LOAD_PRESSURE, by=("model",), how="max"), legend="{{model}}"),),
            thresholds=rising(orange=0.8, red=1.0),
            width=6,
        ),
        Panel(
            title="Brownout level",
            description="Steps of the brownout ladder that are in force: less for some, before nothing for anybody.",
            unit="short",
            queries=(Query(expr=_SCOPE.now(names.BROWNOUT_LEVEL, by=("model",), how="max"), legend="{{model}}"),),
            thresholds=(Threshold(at=1, color=ORANGE),),
            width=6,
        ),
        Panel(
            title="Least important level let in",
            description="Levels go from 0, the most important, to 511: at 511 everybody is let in.",
            unit="short",
            queries=(Query(expr=_SCOPE.now(names.SHEDDING_THRESHOLD, by=("model",), how="min"), legend="{{model}}"),),
            most=511.0,
            width=6,
        ),
        Panel(
            title="Retries still borne",
            description="What is left of the budget for retries out of turn. At 0 a retry that comes too early is "
            "refused: clients that retry at once would make an overload last.",
            unit="short",
            queries=(Query(expr=_SCOPE.now(names.RETRY_BUDGET, by=("model",), how="min"), legend="{{model}}"),),
            width=6,
        ),
    ),
)

_PREDICTION: Final = Row(
    title="Predictions",
    panels=(
        Panel(
            title="Actual to predicted first token",
            description="Time to the first token as a share of what admission predicted: 1 is exact. Above, too much "
            "is let in and promises break; below, too much is refused. Of times of a few milliseconds it says little.",
            unit="percentunit",
            queries=tuple(
                Query(expr=_SCOPE.quantile(quantile, names.PREDICTION_RATIO), legend=f"p{quantile * 100:.0f}")
                for quantile in (0.1, 0.5, 0.9)
            ),
        ),
        Panel(
            title="Correction of predictions",
            description="By what predictions are multiplied now, as measured.",
            unit="short",
            queries=(
                Query(
                    expr=_SCOPE.now(names.PREDICTION_FACTOR, by=("model", "band"), how="max"),
                    legend="{{model}} {{band}}",
                ),
            ),
        ),
        Panel(
            title="When refused requests were told to come back",
            description="Retry-After of refusals, by band; p50.",
            unit="s",
            queries=(Query(expr=_SCOPE.quantile(0.5, names.RETRY_AFTER, by=("band",)), legend="{{band}}"),),
            empty="none",
        ),
    ),
)

_TENANTS: Final = Row(
    title=f"Tenants (the {_MOST} largest; those beyond the hundredth that was seen are counted as other)",
    panels=(
        Panel(
            title="Requests by tenant",
            description="Requests that ended, however they ended.",
            unit="reqps",
            queries=(Query(expr=_top(_SCOPE.rate(names.TENANT_REQUESTS, by=("tenant",))), legend="{{tenant}}"),),
            stacked=True,
        ),
        Panel(
            title="Refused by tenant",
            description="Requests that ended as quota or overloaded. One tenant alone: its own limits. All: the load.",
            unit="reqps",
            queries=(
                Query(
                    expr=_top(
                        _SCOPE.rate(
                            names.TENANT_REQUESTS, panels.one_of("outcome", panels.REFUSED), by=("tenant", "outcome")
                        )
                    ),
                    legend="{{tenant}} {{outcome}}",
                ),
            ),
            stacked=True,
            empty="none",
        ),
        Panel(
            title="Output tokens by tenant",
            description="Tokens of answers: what fills engines.",
            unit="cps",
            queries=(
                Query(
                    expr=_top(_SCOPE.rate(names.TENANT_TOKENS, 'type="output"', by=("tenant",))), legend="{{tenant}}"
                ),
            ),
            stacked=True,
        ),
        Panel(
            title="Share of output tokens",
            description="Who has how much of all answers' tokens. Under load tiers share by weight, and the tenants of "
            "a tier equally, as long as they want as much.",
            unit="percentunit",
            queries=(
                Query(
                    expr=_top(
                        share_of_all(
                            _SCOPE.rate(names.TENANT_TOKENS, 'type="output"', by=("tenant",)),
                            _SCOPE.rate(names.TENANT_TOKENS, 'type="output"'),
                        )
                    ),
                    legend="{{tenant}}",
                ),
            ),
            most=1.0,
            width=12,
        ),
        Panel(
            title="Cost by tenant and hour",
            description="What tenants' tokens cost at the configured price (`[telemetry] price_input`, `price_cached`, "
            "`price_output`, per million tokens); 0 where none is configured.",
            unit="short",
            queries=(
                Query(
                    expr=_top(_SCOPE.rate(names.TENANT_COST, by=("tenant", "currency")) + " * 3600"),
                    legend="{{tenant}} {{currency}}",
                ),
            ),
            decimals=2,
            width=12,
        ),
    ),
)

_LEDGER: Final = Row(
    title="Ledger of quotas",
    panels=(
        Panel(
            title="Gateways without Redis",
            description="Gateways that decide quotas by themselves: at their share of the limits, less a fifth.",
            unit="short",
            queries=(Query(expr=_SCOPE.now(names.LIMITER_DEGRADED, by=("gateway",)), legend="{{gateway}}"),),
            thresholds=(Threshold(at=1, color=ORANGE),),
            most=1.0,
        ),
        panels.redis_round_trip(_SCOPE),
        Panel(
            title="Questions without an answer",
            description="Questions to Redis that were not answered in time, or not at all.",
            unit="ops",
            queries=(Query(expr=_SCOPE.rate(names.REDIS_FAILURES), legend="failed"),),
            thresholds=rising(orange=0.1, red=1.0),
        ),
    ),
)

BOARD: Final = Board(
    uid="spillway-admission",
    title="Spillway: admission and tenants",
    description="Who is let in, who waits, who is refused and why, and what each tenant uses.",
    rows=(_DECISIONS, _QUEUE, _PREDICTION, _TENANTS, _LEDGER),
)
