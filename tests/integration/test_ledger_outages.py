"""Whatever Redis does, no request fails for it, none waits longer than the timeout, and nothing is left over."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from runpy import run_path
from types import ModuleType
from typing import Any

import pytest
import uvloop

from spillway.admission.contract import Denial
from spillway.admission.ledger.breaker import Sign

FAKES = Path(__file__).parents[1] / "fakes"
SERVER = run_path(str(FAKES / "fake_redis_server.py"))
LEDGER = run_path(str(FAKES / "fake_redis_ledger.py"))
PROXY = run_path(str(FAKES / "fake_redis_proxy.py"))
claim, running = LEDGER["claim"], LEDGER["running"]


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


def kill(server: Any) -> None:
    server.kill()


def stop(server: Any) -> None:
    server.stop()


def pause(server: Any) -> None:
    server.client.execute_command("CLIENT", "PAUSE", 800)  # UNPAUSE would have to wait, too


def fill_memory(server: Any) -> None:
    server.client.config_set("maxmemory", 1)


def demote(server: Any) -> None:
    server.client.execute_command("REPLICAOF", "127.0.0.1", "1")


def heal_empty(server: Any) -> None:
    server.heal()


def heal_full(server: Any) -> None:
    """Without losing what it knows."""
    server.go_on()
    server.client.config_set("maxmemory", 0)
    server.client.execute_command("REPLICAOF", "NO", "ONE")


def owed(server: Any) -> int:
    """Claims that are on an account there; each has a lease. Others only keep late ones out, for a lease's time."""
    found = [key for key, record in server.client.hgetall("spillway:{acme}:claims").items() if record != b"0 0"]
    leases = {key for key, _ in server.client.zrange("spillway:{acme}:leases", 0, -1, withscores=True)}
    assert leases.issuperset(found)
    return len(found)


@pytest.mark.parametrize(
    ("strike", "heal"),
    [(kill, heal_empty), (stop, heal_full), (pause, heal_full), (fill_memory, heal_full), (demote, heal_full)],
    ids=lambda what: what.__name__,
)
def test_no_request_fails_or_waits_and_nothing_is_left_over(
    server: Any, asgi: ModuleType, strike: Callable[[Any], None], heal: Callable[[Any], None]
) -> None:
    async def test() -> None:
        async with running(server.url) as here:
            here.all_granted(await here.wave())  # these stay under way until after the outage
            assert here.ledger.state == "shared"
            held = list(here.ledger._open)
            strike(server)
            await here.wave_settled_until("local")
            assert here.events == ["ledger_local"]
            assert here.ledger.facts()["ledger_local"] == 1
            here.waits.clear()
            answers = await here.wave()
            here.all_granted(answers)
            assert all(answer.degraded for answer in answers)
            heal(server)
            await asgi.eventually(lambda: here.ledger.state == "shared")
            assert here.events == ["ledger_local", "ledger_shared"]
            # All that is under way is held there (again), what was granted meanwhile as well.
            await asgi.eventually(lambda: owed(server) == len(held) + 20)
            answers = await here.wave()
            assert not any(answer.degraded for answer in answers)
            here.settle_all()
            await asgi.eventually(lambda: owed(server) == 0)
            assert len(here.ledger._local) == 0

    run(test)


def test_a_flushed_redis_holds_again_what_is_under_way_and_no_request_notices(server: Any, asgi: ModuleType) -> None:
    async def test() -> None:
        async with running(server.url, lease_s=0.6) as here:
            here.all_granted(await here.wave())
            server.client.flushall()
            server.client.script_flush()
            answers = await here.wave()
            here.all_granted(answers)
            assert not any(answer.degraded for answer in answers)
            await asgi.eventually(lambda: owed(server) == 40)
            assert here.events == []
            here.settle_all()
            await asgi.eventually(lambda: owed(server) == 0)

    run(test)


def test_lost_scripts_are_loaded_within_the_same_request(server: Any) -> None:
    async def test() -> None:
        async with running(server.url) as here:
            for _ in range(3):
                here.all_granted(await here.wave())
                server.client.script_flush()
            assert here.ledger.counters["failures"] == 0

    run(test)


@pytest.mark.parametrize("delay_s", [0.1, 5.0])
def test_a_slow_redis_is_not_waited_for(server: Any, asgi: ModuleType, delay_s: float) -> None:
    async def test() -> None:
        async with PROXY["proxying"](server.socket) as proxy, running(proxy.url) as here:
            here.all_granted(await here.wave())
            proxy.delay_s = delay_s
            await here.wave_settled_until("local")
            proxy.delay_s = 0.0
            await asgi.eventually(lambda: here.ledger.state == "shared")
            here.settle_all()
            # What was asked and not answered may have been done late; it was settled all the same.
            await asgi.eventually(lambda: server.client.hget("spillway:{acme}:quota", "acme").split()[6] == b"0")

    run(test)


def test_refused_connections_cost_no_wait(server: Any, asgi: ModuleType) -> None:
    async def test() -> None:
        async with PROXY["proxying"](server.socket) as proxy, running(proxy.url) as here:
            here.all_granted(await here.wave())
            await proxy.refuse()
            await here.wave_settled_until("local")
            await proxy.listen()
            await asgi.eventually(lambda: here.ledger.state == "shared")

    run(test)


def test_a_redis_that_restarted_unseen_costs_nothing(server: Any) -> None:
    async def test() -> None:
        async with running(server.url) as here:
            here.all_granted(await here.wave())
            server.restart()
            answers = await here.wave()
            here.all_granted(answers)
            assert not any(answer.degraded for answer in answers)

    run(test)


def test_an_outage_leaves_a_share_of_the_limits_and_counts_what_is_under_way(server: Any) -> None:
    limits = {"max_concurrent": 10}

    async def test() -> None:
        async with running(server.url, num_gateways=2) as here:
            for number in range(3):
                await here.ask(claim(f"a{number}", **limits))
            server.stop()
            await here.wave_settled_until("local", but=("a0", "a1", "a2"))
            answers = [await here.ledger.acquire(claim(f"b{number}", **limits)) for number in range(5)]
            refused = [answer for answer in answers if isinstance(answer, Denial)]
            assert len(refused) == 4  # 10 shared by two gateways, 0.8 of it for certain: 4, and 3 are under way
            assert {(answer.limit, answer.degraded) for answer in refused} == {(4, True)}

    run(test)
    server.go_on()


def test_what_was_being_asked_when_the_breaker_opened_is_examined_like_any_other(server: Any) -> None:
    async def test() -> None:
        async with running(server.url) as here:
            await here.wave(1)
            server.stop()
            for _ in range(2):
                here.ledger._breaker.note(Sign.TIMEOUT)  # the next one opens it, while all of these wait
            asked = (here.ask(claim(f"a{number}", tenant="zeta", max_concurrent=5)) for number in range(8))
            answers = await asyncio.gather(*asked)
            assert here.ledger.state == "local"
            assert sum(isinstance(answer, Denial) for answer in answers) == 4  # 0.8 of 5 are let in

    run(test)
    server.go_on()


def test_a_claim_whose_answer_never_came_is_charged_once_at_most(server: Any, asgi: ModuleType) -> None:
    limits = {"tokens_per_minute": 1_000_000, "tokens_per_day": 10_000}

    async def test() -> None:
        async with running(server.url) as here:
            await here.ask(claim("a", 100, tenant="zeta", **limits))
            server.stop()
            await here.ask(
                claim("b", 100, tenant="zeta", **limits)
            )  # Redis has it in its socket, and will do it when it goes on
            await here.wave_settled_until("local", but=("a", "b"))
            here.ledger.settle("a", 40)
            here.ledger.settle("b", 70)
            server.go_on()
            await asgi.eventually(lambda: here.ledger.state == "shared" and not len(here.ledger._outbox))
            used, held, leases = (float(x) for x in server.client.hget("spillway:{zeta}:quota", "zeta").split()[4:7])
            assert (held, leases) == (0, 0)
            assert used in {40, 110}  # of b, all or nothing, as Redis took it before its settlement or after

    run(test)


def test_who_leaves_while_waiting_has_reserved_nothing(server: Any, asgi: ModuleType) -> None:
    async def test() -> None:
        async with running(server.url) as here:
            await here.wave(1)
            here.settle_all()
            server.stop()
            asking = asyncio.ensure_future(here.ask(claim("a")))
            await asgi.eventually(lambda: "a" in here.ledger._open)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            assert here.ledger.num_open == 0
            server.go_on()
            await asgi.eventually(lambda: not len(here.ledger._outbox))
            await asgi.eventually(lambda: server.client.hget("spillway:{acme}:quota", "acme").split()[6] == b"0")

    run(test)


def test_without_a_redis_each_gateway_keeps_its_part() -> None:
    async def test() -> None:
        async with running(None, num_gateways=2) as here:
            answers = [await here.ask(claim(f"a{number}", max_concurrent=4)) for number in range(3)]
            assert [isinstance(answer, Denial) for answer in answers] == [False, False, True]
            assert (here.ledger.state, here.ledger.share) == ("local", 0.5)
            here.ledger.settle("a0", 1)
            assert not isinstance(await here.ask(claim("a3", max_concurrent=4)), Denial)

    run(test)
