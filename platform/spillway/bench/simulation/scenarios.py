"""The scenarios that tests and plots share. Rates are parts of what the engines can do, which `capacity` computes."""

from collections.abc import Sequence
from dataclasses import replace

from spillway.admission.contract import Band
from spillway.bench.simulation.engine import EngineKind
from spillway.bench.simulation.traffic import GOLD_BULK, LENGTHS, Lengths, Source
from spillway.bench.simulation.world import Scenario, limit_for

WARM_S = 10.0
"""Before anything is measured, at half of the capacity: a gateway that has served nobody knows nothing."""
SMALL = EngineKind.of()
FAST = EngineKind.of(4.0, slots=64)


def capacity(engines: Sequence[EngineKind], lengths: Lengths = LENGTHS, tpot_s: float = 0.1) -> float:
    """Return requests per second at full slots, in the mean."""
    mean = 2.718281828 ** (lengths.spread**2 / 2)
    prompt, answer = lengths.prompt * mean, lengths.answer * mean
    total = 0.0
    for kind in engines:
        rows = limit_for(kind, tpot_s)
        stay_s = answer * (kind.pace.fixed_s + rows * kind.pace.per_row_s) + rows * prompt * kind.pace.per_token_s
        total += rows / stay_s
    return total


def level(times: float, *, engine: EngineKind = SMALL, gateways: int = 1, seconds: float = 30.0) -> Scenario:
    """So many times the capacity, after a warm start."""
    rate = capacity([engine])
    return Scenario(
        sources=[Source(rates=[(0.0, 0.5 * rate), (WARM_S, times * rate)])],
        duration_s=WARM_S + seconds,
        engines=[engine],
        gateways=gateways,
    )


def outage() -> Scenario:
    """Two engines at 1.5 times what one can do; one is lost for ten seconds."""
    rate = capacity([SMALL])
    return Scenario(
        sources=[Source(rates=[(0.0, 0.8 * rate), (WARM_S, 1.5 * rate)])],
        duration_s=50.0,
        engines=[SMALL, SMALL],
        outages=[(1, 20.0, 30.0)],
    )


def priorities() -> Scenario:
    """Four times the capacity, a tenth of it interactive, the rest bulk."""
    rate = capacity([SMALL])
    return Scenario(
        sources=[
            Source(rates=[(0.0, 0.1 * rate), (WARM_S, 0.4 * rate)], band=Band.INTERACTIVE, tenant_id="people"),
            Source(
                rates=[(0.0, 0.4 * rate), (WARM_S, 3.6 * rate)], band=Band.BULK, objective=GOLD_BULK, tenant_id="jobs"
            ),
        ],
        duration_s=WARM_S + 40.0,
    )


def fairness() -> Scenario:
    """Two tenants of equal weight; one asks ten times as much as the other, who asks for all there is."""
    rate = capacity([SMALL])
    return Scenario(
        sources=[
            Source(rates=[(0.0, 0.2 * rate), (WARM_S, rate)], tenant_id="modest"),
            Source(rates=[(0.0, 0.2 * rate), (WARM_S, 10.0 * rate)], tenant_id="greedy"),
        ],
        duration_s=WARM_S + 60.0,
    )


def returns(*, obeys: bool = True, gateways: int = 1) -> Scenario:
    """A burst of ten seconds at four times the capacity, then half of it; who is refused comes back."""
    rate = capacity([SMALL])
    rates = [(0.0, 0.5 * rate), (WARM_S, 4.0 * rate), (WARM_S + 10.0, 0.5 * rate)]
    source = Source(rates=rates, tries=3, obeys=obeys)
    return Scenario(sources=[source], duration_s=100.0, drain_s=150.0, gateways=gateways)


def crowd(requests: int) -> Scenario:
    """So many at once, at a warm gateway."""
    base = level(0.5, seconds=20.0)
    at_once = Source(rates=[(WARM_S, requests * 1000.0), (WARM_S + 0.001, 0.0)], tenant_id="crowd")
    return replace(base, sources=[*base.sources, at_once])


def mixed_speeds() -> Scenario:
    """Two engines, one eight times as fast as the other, at twice what they can do together."""
    kinds = [EngineKind.of(0.5, slots=16), EngineKind.of(4.0, slots=64)]
    rate = capacity(kinds)
    sources = [Source(rates=[(0.0, 0.5 * rate), (WARM_S, 2.0 * rate)])]
    return Scenario(sources=sources, duration_s=WARM_S + 30.0, engines=kinds)


def longer_answers() -> Scenario:
    """At twice the capacity, answers become three times as long from one second to the next."""
    rate = capacity([SMALL])
    half = WARM_S + 20.0
    long = replace(LENGTHS, answer=3 * LENGTHS.answer)
    return Scenario(
        sources=[
            Source(rates=[(0.0, 0.5 * rate), (WARM_S, 2.0 * rate), (half, 0.0)]),
            Source(rates=[(half, 2.0 * rate)], lengths=long),
        ],
        duration_s=half + 30.0,
    )
