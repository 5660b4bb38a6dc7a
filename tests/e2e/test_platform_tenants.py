"""Tenants on a running Spillway, as an operator makes them: keys, quotas, revocation, and Redis that goes away."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from spillway.bench.client import Connection, Reply, get, post
from spillway.bench.kills import PATIENT
from spillway.bench.served import SERVES_ALL, Served

ASK = {"model": "demo", "messages": [{"role": "user", "content": "Count from 2 to 5"}], "max_tokens": 8}
SEEN_WITHIN_S = 10.0
"""A change takes a second at most; a busy machine may take longer to let anybody look."""


@pytest.fixture(scope="module")
def guarded() -> Iterator[Served]:
    with tempfile.TemporaryDirectory(prefix="spillway-e2e-") as folder:
        flags = ("--engines", "1", "--gateways", "2", "--drain-grace-s", "0", *PATIENT, *SERVES_ALL)
        instance = Served.start(*flags, folder=Path(folder))
        try:
            yield instance
        finally:
            instance.end()


def tenants(served: Served, *arguments: str) -> str:
    """Run `spillway tenants` as its operator would, and return what it prints."""
    command = [sys.executable, "-m", "spillway", "tenants", *arguments]
    environment = {**os.environ, "SPILLWAY_STATE_DIR": str(served.folder / "state")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


async def ask(served: Served, key: str | None) -> Reply:
    """Ask on a connection of its own, so that any gateway may answer."""
    connection = await Connection.open(*served.api)
    try:
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        return await connection.exchange(post("/v1/chat/completions", ASK, headers=headers))
    finally:
        connection.close()


async def versions(served: Served) -> list[int]:
    """Which version of the tenants each gateway knows, as the scrape says."""
    scrape = (await served.ask_ops(get("/metrics"))).body.decode()
    return [
        int(float(found))
        for found in re.findall(r"^spillway_gateway_tenants_version\{[^}]*\} (\S+)", scrape, re.MULTILINE)
    ]


async def change(served: Served, *arguments: str) -> str:
    """Change tenants, and wait until both gateways know; return what the command printed, its last word a key."""
    before = max(await versions(served))
    said = await asyncio.to_thread(tenants, served, *arguments)
    async with asyncio.timeout(SEEN_WITHIN_S):
        while len(known := await versions(served)) < 2 or min(known) <= before:
            pass  # asking takes its time
    return said.split()[-1]


def test_a_tenant_from_its_first_key_to_its_last(guarded: Served) -> None:
    async def live() -> None:
        async def statuses(key: str | None) -> set[int]:
            return {(await ask(guarded, key)).status for _ in range(4)}

        assert await statuses(None) == {200}, "nobody is known yet: everybody may ask"

        first = await change(guarded, "add", "acme", "--tier", "gold")
        assert await statuses(None) == {401}
        assert await statuses(first) == {200}
        assert (await ask(guarded, "sk-spill-nobody")).json()["error"]["code"] == "invalid_api_key"

        second = await change(guarded, "key", "acme")
        assert await statuses(second) == {200}
        key_id = first.removeprefix("sk-spill-").partition("-")[0]
        await change(guarded, "revoke", key_id)
        assert await statuses(first) == {401}
        assert await statuses(second) == {200}, "the other key of the tenant is as good as before"

        await change(guarded, "revoke", "acme")
        assert await statuses(second) == {401}
        async with asyncio.timeout(SEEN_WITHIN_S):
            while "acme" not in await asyncio.to_thread(tenants, guarded, "usage"):
                pass  # it is written each second
        assert "revoke" in tenants(guarded, "audit")

    asyncio.run(live())


def test_a_quota_holds_over_gateways_and_while_redis_is_away(guarded: Served) -> None:
    async def live() -> None:
        key = await change(guarded, "add", "bounded", "--rpm", "6", "--burst", "6")
        began = time.monotonic()
        replies = [await ask(guarded, key) for _ in range(20)]
        more = (time.monotonic() - began) / 10  # one each ten seconds
        # where the machine holds Redis up for too long, the gateway decides on its share, and says so
        replies = [reply for reply in replies if "x-spillway-limiter" not in reply.headers]
        served = [reply for reply in replies if reply.status == 200]
        refused = [reply for reply in replies if reply.status == 429]
        assert len(served) + len(refused) == len(replies)
        assert refused
        assert len(served) <= 6 + more + 1
        assert all(reply.headers["x-spillway-limit"] == "requests_per_minute=6" for reply in refused)
        assert all(float(reply.headers["retry-after"]) >= 1 for reply in refused)
        assert {reply.headers["x-ratelimit-limit-requests"] for reply in replies} == {"6"}

        free = await change(guarded, "add", "ample", "--rpm", "600000")
        redis = (await guarded.pool())["redis"]["pid"]
        os.kill(redis, signal.SIGSTOP)
        try:
            degraded = await until_header(guarded, free, "x-spillway-limiter")
        finally:
            os.kill(redis, signal.SIGCONT)
        assert degraded == "degraded"
        os.kill((await guarded.until(lambda pool: pool["redis"]["state"] == "ready"))["redis"]["pid"], signal.SIGKILL)
        assert {(await ask(guarded, free)).status for _ in range(20)} == {200}, "no request fails for Redis"
        await guarded.until(lambda pool: pool["redis"]["state"] == "ready")

    asyncio.run(live())


async def until_header(served: Served, key: str, name: str) -> str:
    """Ask until an answer bears a header; every answer until then is a good one."""
    async with asyncio.timeout(SEEN_WITHIN_S):
        while True:
            reply = await ask(served, key)
            assert reply.status == 200, reply.body
            if name in reply.headers:
                return str(reply.headers[name])
