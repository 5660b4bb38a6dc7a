"""What an operator orders, and what goes wrong in the midst of it: no client notices either."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from spillway.bench.books import is_idle
from spillway.bench.served import Served
from spillway.bench.streams import Answer, Count, is_exact, stream

COUNTS = [Count(9 * number + 1, 9 * number + 64) for number in range(4)]


async def while_streaming(served: Served, order: Callable[[], Awaitable[None]]) -> None:
    """Keep four streams counting, one after another on each connection, until `order` is done; all are exact."""
    over = asyncio.Event()

    async def one_after_another(count: Count) -> list[Answer]:
        connection = await served.connect()
        answers = [await stream(connection, count.fields())]
        while not over.is_set():
            answers.append(await stream(connection, count.fields()))
        connection.close()
        return answers

    async with asyncio.TaskGroup() as group:
        streams = [group.create_task(one_after_another(count)) for count in COUNTS]
        try:
            await order()
        finally:
            over.set()
    for count, answers in zip(COUNTS, streams, strict=True):
        for answer in answers.result():
            assert is_exact(answer, count), answer
    await served.until(is_idle)


def engine(pool: dict[str, Any], engine_id: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in pool["engines"] if each["id"] == engine_id)
    return found


async def accepted(served: Served, path: str) -> None:
    reply = await served.order(path)
    assert reply.status == 202, reply.body


def incarnations(pool: dict[str, Any]) -> dict[str, int]:
    return {each["id"]: each["incarnation"] for each in pool["engines"]}


def test_a_rolling_restart_fails_no_request(served: Served) -> None:
    async def test() -> None:
        before = incarnations(await served.until(is_idle))

        async def order() -> None:
            await accepted(served, "/admin/rolling-restart")
            wanted = {engine_id: incarnation + 1 for engine_id, incarnation in before.items()}
            await served.until(lambda pool: incarnations(pool) == wanted and pool["engines"][-1]["state"] == "ready")

        await while_streaming(served, order)

    asyncio.run(test())


def test_an_engine_killed_while_it_drains_and_again_while_it_starts_costs_no_stream(served: Served) -> None:
    async def test() -> None:
        before = engine(await served.until(is_idle), "engine-0")

        async def order() -> None:
            await accepted(served, "/admin/engines/engine-0/restart")
            os.kill(before["pid"], signal.SIGKILL)
            starting = engine(
                await served.until(
                    lambda pool: (
                        engine(pool, "engine-0")["incarnation"] > before["incarnation"]
                        and engine(pool, "engine-0")["state"] in {"spawning", "loading", "warming"}
                    )
                ),
                "engine-0",
            )
            os.kill(starting["pid"], signal.SIGKILL)
            await served.until(
                lambda pool: (
                    engine(pool, "engine-0")["incarnation"] > starting["incarnation"]
                    and engine(pool, "engine-0")["state"] == "ready"
                )
            )

        await while_streaming(served, order)

    asyncio.run(test())


def test_a_drained_engine_stays_out_until_it_is_restarted(served: Served) -> None:
    async def test() -> None:
        async def order() -> None:
            await accepted(served, "/admin/engines/engine-1/drain")
            await served.until(lambda pool: engine(pool, "engine-1")["state"] == "stopped")
            await accepted(served, "/admin/engines/engine-1/restart")
            await served.until(lambda pool: engine(pool, "engine-1")["state"] == "ready")

        await while_streaming(served, order)

    asyncio.run(test())
