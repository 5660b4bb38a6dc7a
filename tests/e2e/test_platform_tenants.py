"""Tenants on a running Spillway, as an operator makes them: keys, quotas, revocation, and Redis that goes away."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spillway.bench.client import Connection, Reply, get, post
from spillway.bench.kills import PATIENT
from spillway.bench.served import Served

ASK = {"model": "demo", "messages": [{"role": "user", "content": "Count from 2 to 5"}], "max_tokens": 8}
SEEN_WITHIN_S = 10.0
"""A change takes a second at most; a busy machine may take longer to let anybody look."""


@pytest.fixture(scope="module")
def guarded() -> Iterator[Served]:
    with tempfile.TemporaryDirectory(prefix="spillway-e2e-") as folder:
        flags = ("--engines", "1", "--gateways", "2", "--drain-grace-s", "0", *PATIENT)
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


async def until_status(served: Served, key: str | None, status: int) -> None:
    """Ask until both gateways, as far as one can tell, answer with `status`."""
    in_a_row = 0
    async with asyncio.timeout(SEEN_WITHIN_S):
        while in_a_row < 8:
            reply = await ask(served, key)
            in_a_row = in_a_row + 1 if reply.status == status else 0


def test_a_tenant_from_its_first_key_to_its_last(guarded: Served) -> None:
    async def live() -> None:
        assert (await ask(guarded, None)).status == 200, "nobody is known yet: everybody may ask"

        first = tenants(guarded, "add", "acme", "--tier", "gold")
        await until_status(guarded, None, 401)
        await until_status(guarded, first, 200)
        assert (await ask(guarded, "sk-spill-nobody")).json()["error"]["code"] == "invalid_api_key"

        second = tenants(guarded, "key", "acme").split()[-1]
        await until_status(guarded, second, 200)
        key_id = first.removeprefix("sk-spill-").partition("-")[0]
        tenants(guarded, "revoke", key_id)
        await until_status(guarded, first, 401)
        assert (await ask(guarded, second)).status == 200, "the other key of the tenant is as good as before"

        tenants(guarded, "revoke", "acme")
        await until_status(guarded, second, 401)
        async with asyncio.timeout(SEEN_WITHIN_S):
            while "acme" not in await asyncio.to_thread(tenants, guarded, "usage"):
                pass  # it is written each second
        assert "revoke" in tenants(guarded, "audit")

    asyncio.run(live())


def test_a_quota_holds_over_gateways_and_while_redis_is_away(guarded: Served) -> None:
    async def live() -> None:
        key = tenants(guarded, "add", "bounded", "--rpm", "6", "--burst", "6").split()[-1]
        await until_key_is_known(guarded, key)
        replies = [await ask(guarded, key) for _ in range(20)]
        served = [reply for reply in replies if reply.status == 200]
        refused = [reply for reply in replies if reply.status == 429]
        assert len(served) + len(refused) == 20
        assert len(served) <= 7, "six at once, and one more each ten seconds"
        assert all(reply.headers["x-spillway-limit"] == "requests_per_minute=6" for reply in refused)
        assert all(float(reply.headers["retry-after"]) >= 1 for reply in refused)
        assert {reply.headers["x-ratelimit-limit-requests"] for reply in replies} == {"6"}

        free = tenants(guarded, "add", "ample", "--rpm", "600000").split()[-1]
        await until_key_is_known(guarded, free)
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


async def until_key_is_known(served: Served, key: str) -> None:
    """Wait until all gateways know a key; asking for models costs no quota."""
    in_a_row = 0
    async with asyncio.timeout(SEEN_WITHIN_S):
        while in_a_row < 8:
            connection = await Connection.open(*served.api)
            reply: Any = await connection.exchange(get("/v1/models", headers={"authorization": f"Bearer {key}"}))
            connection.close()
            in_a_row = in_a_row + 1 if reply.status == 200 else 0


async def until_header(served: Served, key: str, name: str) -> str:
    """Ask until an answer bears a header; every answer until then is a good one."""
    async with asyncio.timeout(SEEN_WITHIN_S):
        while True:
            reply = await ask(served, key)
            assert reply.status == 200, reply.body
            if name in reply.headers:
                return str(reply.headers[name])
