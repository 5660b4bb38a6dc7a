"""Several gateways and one Redis: one limit for all, and what a dead one held goes back."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from runpy import run_path
from types import ModuleType
from typing import Any

import pytest
import uvloop

from spillway.admission.contract import Claim, Grant, Scope
from spillway.admission.contract import Limits as Whole
from spillway.admission.ledger import scripts

FAKES = Path(__file__).parents[1] / "fakes"
SERVER = run_path(str(FAKES / "fake_redis_server.py"))
LEDGER = run_path(str(FAKES / "fake_redis_ledger.py"))
claim = LEDGER["claim"]
running = partial(LEDGER["running"], timeout_s=20.0)
"""Redis is there all the time; on a busy machine it may be slow, and a limit kept by a share is another one."""


@pytest.fixture(scope="module")
def started() -> Iterator[Any]:
    with SERVER["serving"]() as server:
        yield server


@pytest.fixture
def server(started: Any) -> Any:
    started.heal()
    return started


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(bounded())


async def granted(here: Any, prefix: str, count: int, **limits: int) -> list[str]:
    names = [f"{prefix}{number}" for number in range(count)]
    answers = await asyncio.gather(*(here.ask(claim(name, **limits)) for name in names))
    return [name for name, answer in zip(names, answers, strict=True) if isinstance(answer, Grant)]


def test_a_limit_is_one_for_all_gateways(server: Any) -> None:
    async def test() -> None:
        async with running(server.url, gateway_id="a") as one, running(server.url, gateway_id="b") as two:
            limits = {"requests_per_minute": 60, "request_burst": 25, "max_concurrent": 17}
            found = await asyncio.gather(granted(one, "a", 40, **limits), granted(two, "b", 40, **limits))
            assert sum(map(len, found)) == 17

    run(test)


def test_what_is_asked_in_one_tick_travels_together(server: Any) -> None:
    async def test() -> None:
        async with running(server.url) as here:
            await here.wave(200)
            assert here.ledger._shared is not None
            assert here.ledger._shared.num_batches <= 3

    run(test)


def test_settlements_travel_together_and_free_what_was_held(server: Any, asgi: ModuleType) -> None:
    async def test() -> None:
        async with running(server.url) as here:
            assert len(await granted(here, "a", 30, max_concurrent=30)) == 30
            assert await granted(here, "b", 1, max_concurrent=30) == []
            server.client.config_resetstat()
            here.settle_all()
            await asgi.eventually(lambda: not len(here.ledger._outbox))
            assert server.client.info("commandstats")["cmdstat_evalsha"]["calls"] <= 3
            assert len(await granted(here, "c", 30, max_concurrent=30)) == 30

    run(test)


def test_progress_is_told_with_the_renewal_and_stays_charged_after_a_death(server: Any, asgi: ModuleType) -> None:
    async def test() -> None:
        async with running(server.url, gateway_id="heir") as heir:
            async with running(server.url, gateway_id="dead", lease_s=0.5) as dead:
                await dead.ask(claim("a", 1_000, tokens_per_day=10_000))
                dead.ledger.progress("a", 300)
                key = "spillway:{acme}:claims"
                await asgi.eventually(lambda: server.client.hget(key, "a") == b"1000 300 acme")
                await asgi.eventually(lambda: server.client.sismember(scripts.HOLDERS, "acme"))
            # It went without settling; its lease runs out, and whoever is elected ends it.
            assert heir.ledger._upkeep is not None

            for _ in range(1_000):
                server.client.delete(scripts.REAPER)
                await heir.ledger._upkeep.reap()
                if not server.client.exists(key):
                    break
                await asyncio.sleep(0.01)
            used, held, leases = (float(x) for x in server.client.hget("spillway:{acme}:quota", "acme").split()[4:7])
            assert (used, held, leases) == (300, 0, 0)
            assert heir.ledger.facts()["ledger_reaped"] == 1
            assert not server.client.sismember(scripts.HOLDERS, "acme")

    run(test)


def test_one_gateway_reaps_at_a_time(server: Any) -> None:
    async def test() -> None:
        async with running(server.url, gateway_id="a") as one, running(server.url, gateway_id="b") as two:
            assert await one.ledger._shared.reap() == 0
            assert await two.ledger._shared.reap() is None

    run(test)


def test_gateways_count_each_other_for_their_shares(server: Any, asgi: ModuleType) -> None:
    async def test() -> None:
        async with running(server.url, gateway_id="a") as one:
            async with running(server.url, gateway_id="b") as two:
                await asgi.eventually(lambda: two.ledger.facts()["ledger_gateways"] == 2)
                assert two.ledger.share == 0.4
            await asgi.eventually(lambda: one.ledger.facts()["ledger_gateways"] == 1)  # the other said that it left

    run(test)


def test_the_accounts_of_kinds_are_limited_apart(server: Any) -> None:
    def of(kind: str, name: str) -> Claim:
        scopes = (
            Scope(account="acme", limits=Whole(max_concurrent=3)),
            Scope(account=f"acme/{kind}", limits=Whole(max_concurrent=2)),
        )
        return Claim(request_id=name, tenant_id="acme", scopes=scopes, tokens=1)

    async def test() -> None:
        async with running(server.url) as here:
            asked = [of("batch", "1"), of("batch", "2"), of("batch", "3"), of("chat", "4"), of("chat", "5")]
            answers = [await here.ask(one) for one in asked]
            accounts = [getattr(answer, "account", None) for answer in answers]
            assert accounts == [None, None, "acme/batch", None, "acme"]

    run(test)


def test_who_has_no_limits_never_reaches_redis(server: Any) -> None:
    async def test() -> None:
        async with running(server.url) as here:
            none = Claim(request_id="a", tenant_id="acme", scopes=(), tokens=5)
            assert isinstance(await here.ask(none), Grant)
            assert here.ledger._shared.num_batches == 0
            assert here.ledger.num_open == 0

    run(test)


def test_a_ledger_that_closes_settles_first(server: Any) -> None:
    async def test() -> None:
        async with running(server.url) as here:
            await here.wave()
            here.settle_all()
        assert server.client.hlen("spillway:{acme}:claims") == 0
        assert server.client.zcard(scripts.GATEWAYS) == 0

    run(test)
