"""Promise 4 in small: clients, traces and metrics tell the same of the same requests while engines die.

Times are held against each other by the whole campaign (`spillway bench truth`), on a machine with nothing else to do.
What holds on any machine is held here: counts, buckets, conservation, and that no client is ahead of its gateway.
"""

import asyncio

from spillway.bench.served import Served
from spillway.bench.truth.campaign import Campaign, Heard
from spillway.bench.truth.command import compare
from spillway.bench.truth.judgement import Verdict

TIMES = "client and trace measure the same times"


def test_clients_traces_and_metrics_tell_the_same(served: Served) -> None:
    async def test() -> tuple[Heard, Verdict]:
        campaign = Campaign(served, seed=11, kill_every_s=1.5, in_flight=12)
        heard = await campaign.run(lambda heard: heard.sent >= 300 and heard.num_recovered > 0)
        return heard, await compare(served, heard)

    heard, verdict = asyncio.run(test())
    wrong = {promise: found for promise, found in verdict.wrong.items() if found and promise != TIMES}
    assert wrong == {}
    assert verdict.counts["arrivals"] > 200
    assert verdict.counts["of them recovered"] > 0
    assert len(heard.looks) > 3
    assert verdict.times
