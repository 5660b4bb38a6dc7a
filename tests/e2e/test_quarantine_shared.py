"""What killed engines through one gateway, the other refuses, and so does a successor: nobody pays for it again."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from spillway.bench.client import Reply, post
from spillway.bench.served import Served

PLATFORM = Path(__file__).parents[1] / "fakes" / "poisoned_platform.py"
TALK = [{"role": "user", "content": "die"}]
PILL = post("/v1/chat/completions", {"model": "demo", "messages": TALK, "max_tokens": 13})
HARMLESS = post("/v1/chat/completions", {"model": "demo", "messages": TALK, "max_tokens": 12})
REFUSED = "outcome_engine_failed"
CRASHES = 4
"""Two with whatever else was aboard, two alone."""


@pytest.fixture
def poisoned() -> Iterator[Served]:
    with tempfile.TemporaryDirectory(prefix="spillway-e2e-") as name:
        folder = Path(name)
        log = folder / "serve.log"
        with log.open("w") as errors:
            process = subprocess.Popen(
                [sys.executable, str(PLATFORM), name], stdout=subprocess.PIPE, stderr=errors, text=True
            )
        try:
            assert process.stdout is not None
            words = process.stdout.readline().split()
            assert words[:1] == ["ready"], log.read_text()
            api, ops = (urlsplit(word.partition("=")[2]) for word in words[1:])
            key = (folder / "state" / "admin.key").read_text().strip()
            yield Served(
                process, folder, log, (api.hostname or "", api.port or 0), (ops.hostname or "", ops.port or 0), key
            )
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
            assert process.stdout is not None
            process.stdout.close()


async def ask(served: Served, request: bytes) -> Reply:
    """Ask on a connection of its own, that either gateway may accept: that is the kernel's choice."""
    connection = await served.connect()
    try:
        return await connection.exchange(request)
    finally:
        connection.close()


def refused_by(pool: dict[str, Any]) -> dict[str, int]:
    return {gateway["id"]: gateway["counters"].get(REFUSED, 0) for gateway in pool["gateways"]}


def num_deaths(pool: dict[str, Any]) -> int:
    return sum(engine["incarnation"] - 1 for engine in pool["engines"])


def is_whole(pool: dict[str, Any]) -> bool:
    return all(place["state"] == "ready" for place in (*pool["engines"], *pool["gateways"]))


def test_a_second_gateway_and_a_successor_refuse_what_killed_engines_through_the_first(poisoned: Served) -> None:
    async def until_refused(enough: Callable[[dict[str, int]], bool]) -> None:
        """Send the pill again and again, until those that matter have refused it."""
        while not enough(refused_by(await poisoned.pool())):
            reply = await ask(poisoned, PILL)
            assert (reply.status, reply.headers["x-should-retry"]) == (500, "false")
            assert b"engines have died of this request" in reply.body

    async def test() -> None:
        first = await ask(poisoned, PILL)
        assert (first.status, first.headers.get("x-should-retry")) == (500, "false"), first.body
        after = await poisoned.until(is_whole)
        assert num_deaths(after) == CRASHES
        assert sorted(refused_by(after).values()) == [0, 1]

        await until_refused(lambda counts: all(counts.values()))
        assert num_deaths(await poisoned.until(is_whole)) == CRASHES

        gateways = {gateway["id"]: gateway for gateway in after["gateways"]}
        finder = next(name for name, count in refused_by(after).items() if count)
        os.kill(gateways[finder]["pid"], signal.SIGKILL)
        before = refused_by(
            await poisoned.until(
                lambda pool: is_whole(pool) and any(gateway["incarnation"] == 2 for gateway in pool["gateways"])
            )
        )
        await until_refused(lambda counts: counts[finder] > before[finder])
        whole = await poisoned.until(is_whole)
        assert num_deaths(whole) == CRASHES
        assert (await ask(poisoned, HARMLESS)).status == 200

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test()

    asyncio.run(bounded())
