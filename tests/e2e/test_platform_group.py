"""More than one of everything: a gateway dies beside another, a standby takes over, the settings' file changes."""

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spillway.bench.client import post
from spillway.bench.served import SERVES_ALL, Served
from spillway.bench.streams import Answer, Count, stream

FILE = """
gateways = {gateways}
engines = 1
standby = 1
[drain]
grace_s = {grace_s}
[generation]
max_tokens_generate = {max_tokens}
"""
LONG = Count(1, 300).fields() | {"ignore_eos": True, "max_tokens": 1500}
"""Long enough that all that is done to Spillway happens while it lasts."""
FAILED = "outcome_gateway_failed"
COMPLETED = "outcome_completed"


@pytest.fixture(scope="module")
def group() -> Iterator[Served]:
    """Two gateways before an engine and its standby, with their settings in a file."""
    with tempfile.TemporaryDirectory(prefix="spillway-e2e-") as folder:
        file = Path(folder) / "spillway.toml"
        file.write_text(FILE.format(gateways=2, grace_s=0, max_tokens=7))
        instance = Served.start("--config", str(file), *SERVES_ALL, folder=Path(folder))
        try:
            yield instance
        finally:
            instance.end()


def by_id(places: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {place["id"]: place for place in places}


def engine_states(pool: dict[str, Any]) -> list[str]:
    return sorted(engine["state"] for engine in pool["engines"])


def is_whole(pool: dict[str, Any]) -> bool:
    return (
        engine_states(pool) == ["ready", "standby"]
        and all(gateway["state"] == "ready" and not gateway["open_requests"] for gateway in pool["gateways"])
        and not any(engine["running"] or engine["waiting"] for engine in pool["engines"])
    )


def grown(before: dict[str, Any], after: dict[str, Any], counter: str) -> dict[str, int]:
    """How much a counter of each gateway has grown."""
    old = by_id(before["gateways"])
    return {
        gateway["id"]: gateway["counters"].get(counter, 0) - old[gateway["id"]]["counters"].get(counter, 0)
        for gateway in after["gateways"]
    }


async def one_stream(served: Served, on_text: Callable[[str], object] = lambda _: None) -> Answer:
    connection = await served.connect()
    try:
        return await stream(connection, LONG, on_text=on_text)
    finally:
        connection.close()


async def undisturbed(served: Served) -> dict[str, Any]:
    """What every stream has to say."""
    answer = await one_stream(served)
    assert answer.is_success
    return answer.said()


async def counting(served: Served, streams: list["asyncio.Task[Answer]"]) -> None:
    """Begin another stream, on a connection that either gateway may accept, and wait for its first number."""
    began = asyncio.Event()
    streams.append(asyncio.create_task(one_stream(served, on_text=lambda _: began.set())))
    await began.wait()


def test_a_killed_gateway_takes_its_own_streams_with_it_and_no_other(group: Served) -> None:
    async def test() -> None:
        expected = await undisturbed(group)
        before = await group.until(is_whole)
        streams: list[asyncio.Task[Answer]] = []
        held = [0]
        async with asyncio.timeout(30):
            while not all(held):  # who accepts a connection is the kernel's choice, and both must have some
                for _ in range(4):
                    await counting(group, streams)
                held = [gateway["open_requests"] for gateway in (await group.pool())["gateways"]]
        killed_at = time.perf_counter()
        os.kill(by_id(before["gateways"])["gateway-0"]["pid"], signal.SIGKILL)
        await counting(group, streams)  # the socket is the supervisor's: nobody is refused
        answers = await asyncio.gather(*streams)

        cut = [answer for answer in answers if not answer.is_done]
        lived = [answer for answer in answers if answer.is_done]
        assert cut
        assert all(answer.said() == expected for answer in lived)
        assert sum(answer.arrivals[1] < killed_at < answer.arrivals[-1] for answer in lived) >= 1
        after = await group.until(is_whole)
        assert grown(before, after, FAILED) == {"gateway-0": len(cut), "gateway-1": 0}
        assert sum(grown(before, after, COMPLETED).values()) == len(lived)
        incarnations = {gateway["id"]: gateway["incarnation"] for gateway in after["gateways"]}
        assert incarnations == {"gateway-0": 2, "gateway-1": 1}

    asyncio.run(test())


def test_a_standby_takes_over_and_who_was_killed_comes_back_as_the_next_one(group: Served) -> None:
    async def test() -> None:
        expected = await undisturbed(group)
        before = await group.until(is_whole)
        (active,) = (engine for engine in before["engines"] if engine["state"] == "ready")
        (standby,) = (engine for engine in before["engines"] if engine["state"] == "standby")
        streams: list[asyncio.Task[Answer]] = []
        for _ in range(6):
            await counting(group, streams)
        os.kill(active["pid"], signal.SIGKILL)
        assert all(answer.said() == expected for answer in await asyncio.gather(*streams))

        engines = by_id((await group.until(is_whole))["engines"])
        assert (engines[standby["id"]]["state"], engines[standby["id"]]["pid"]) == ("ready", standby["pid"])
        assert engines[active["id"]]["state"] == "standby"
        assert engines[active["id"]]["incarnation"] == active["incarnation"] + 1

    asyncio.run(test())


def test_a_changed_file_is_taken_over_while_streams_go_on_and_a_broken_one_is_not(group: Served) -> None:
    file = group.folder / "spillway.toml"
    speechless = post("/generate", {"prompt": "Hello", "ignore_eos": True})

    async def tokens() -> int:
        connection = await group.connect()
        reply = await connection.exchange(speechless)
        connection.close()
        generated: int = reply.json()["usage"]["completion_tokens"]
        return generated

    async def told(event: str, is_there: Callable[[str], bool]) -> None:
        async with asyncio.timeout(20):
            while not any(event in line and is_there(line) for line in group.log.read_text().splitlines()):  # noqa: ASYNC110 - a process writes it
                await asyncio.sleep(0.02)

    async def test() -> None:
        expected = await undisturbed(group)
        before = await group.until(is_whole)
        assert await tokens() == 7
        streams: list[asyncio.Task[Answer]] = []
        await counting(group, streams)
        file.write_text("gateways = 'many'")
        group.process.send_signal(signal.SIGHUP)
        await told("reload_failed", lambda line: "gateways" in line)
        assert await tokens() == 7

        file.write_text(FILE.format(gateways=3, grace_s=1, max_tokens=3))
        group.process.send_signal(signal.SIGHUP)
        await told("reloaded", lambda line: "drain" in line and "generation" in line and "gateways" in line)
        async with asyncio.timeout(20):
            while {await tokens() for _ in range(8)} != {3}:  # both gateways have heard of it
                pass
        assert (await streams[0]).said() == expected
        after = await group.until(is_whole)
        assert [gateway["pid"] for gateway in after["gateways"]] == [gateway["pid"] for gateway in before["gateways"]]

    asyncio.run(test())
