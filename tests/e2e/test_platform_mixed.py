"""Requests of all kinds at once, a tenth of them leaving at a random moment: one outcome each, and nothing is left."""

import asyncio

from spillway.bench.mixed import Mixture, run
from spillway.bench.served import Served


def test_every_request_ends_in_one_outcome_and_gives_back_what_it_held(served: Served) -> None:
    mixture = Mixture(served, seed=3)

    async def test() -> None:
        counted = (await served.pool())["gateways"][0]["counters"]
        before, after, counters = await run(served, mixture, 900)
        outcomes = {name: number for name, number in counters.items() if name.startswith("outcome_")}
        assert counters["arrivals"] == sum(outcomes.values())
        arrived = counters["arrivals"] - counted["arrivals"]
        assert mixture.seen.arrivals - mixture.seen.arrivals_left <= arrived <= mixture.seen.arrivals
        assert outcomes["outcome_client_gone"] > counted["outcome_client_gone"]
        for outcome in ("outcome_internal", "outcome_engine_failed", "outcome_overloaded"):
            assert outcomes[outcome] == counted[outcome]
        assert after.owed(before) == {}

    asyncio.run(test())
    assert mixture.seen.wrong == []
    assert mixture.seen.left > 0
