"""Promise 1 through the front door: engines die in every way while clients stream, and the streams are exact.

The rounds are those of `spillway.bench.kills`, with fewer blows; that drill also judges detection and pauses.
"""

import asyncio
import os
import random
import signal
from collections.abc import Mapping, Sequence
from typing import Any

import psutil

from spillway.bench.books import is_idle
from spillway.bench.kills import Drill, variety
from spillway.bench.served import Served
from spillway.bench.streams import Count, is_exact, stream

MORE_BLOWS = 8
COUNTING = [Count(9 * number + 1, 9 * number + 64).fields() for number in range(32)]


def drill(served: Served, how: str, requests: Sequence[Mapping[str, Any]], num_kills: int) -> None:
    drill = Drill(served, how, random.Random(len(requests) + num_kills), latest=0.5)
    owed = asyncio.run(drill.run(requests, num_kills))
    for _ in range(MORE_BLOWS):
        if drill.seen.num_recovered:
            break  # else every blow, at a random moment, fell on an engine with nothing to do: that shows nothing
        owed |= asyncio.run(drill.run(requests, 1))
    assert drill.seen.errors == []
    assert drill.seen.num_exact == drill.seen.num_streams >= num_kills * len(requests)
    assert drill.seen.num_recovered > 0
    assert owed == {}


def test_engines_killed_at_random_moments_cost_no_token_of_32_streams(served: Served) -> None:
    drill(served, "kill", COUNTING, num_kills=3)


def test_streams_of_every_kind_are_those_of_the_undisturbed_run(served: Served) -> None:
    drill(served, "kill", [variety(number) for number in range(24)], num_kills=2)


def test_a_stopped_engine_is_a_dead_one(served: Served) -> None:
    drill(served, "stop", COUNTING[:16], num_kills=1)


def test_a_step_that_raises_costs_no_stream(served: Served) -> None:
    drill(served, "exception", COUNTING[:16], num_kills=1)


def test_the_counts_are_what_was_asked_for(served: Served) -> None:
    async def test() -> None:
        for number in (0, 5, 17):
            connection = await served.connect()
            count = Count(9 * number + 1, 9 * number + 64)
            assert is_exact(await stream(connection, count.fields()), count)
            connection.close()

    asyncio.run(test())


def test_a_killed_gateway_is_replaced_and_what_it_held_is_aborted_and_booked(served: Served) -> None:
    async def test() -> None:
        before = (await served.until(is_idle))["gateways"][0]
        endless = COUNTING[0] | {"ignore_eos": True, "max_tokens": 1900}
        connections = [await served.connect() for _ in range(8)]
        streams = [asyncio.ensure_future(stream(connection, endless)) for connection in connections]
        await served.until(lambda pool: sum(engine["running"] for engine in pool["engines"]) == 8)
        os.kill(before["pid"], signal.SIGKILL)
        cut = await asyncio.gather(*streams)
        assert not any(answer.is_done for answer in cut)

        waiting = await served.connect()  # in the backlog of the socket that the supervisor holds
        count = Count(37, 90)
        assert is_exact(await stream(waiting, count.fields()), count)
        waiting.close()
        after = (await served.until(is_idle))["gateways"][0]
        assert after["incarnation"] > before["incarnation"]
        failed = "outcome_gateway_failed"
        assert after["counters"][failed] - before["counters"].get(failed, 0) == 8
        outcomes = sum(number for name, number in after["counters"].items() if name.startswith("outcome_"))
        assert after["counters"]["arrivals"] == outcomes
        assert not psutil.pid_exists(before["pid"])

    asyncio.run(test())
