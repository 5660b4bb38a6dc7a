"""The rules of quotas, of the scripts in a real Redis and of their twin alike: one contract, two implementations."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest

from spillway.admission.contract import Claim, Denial, Grant, LimitName, Limits, Scope
from spillway.admission.ledger import scripts
from spillway.admission.ledger.answers import decision
from spillway.admission.ledger.local import LocalQuotas
from spillway.admission.ledger.scripts import Script, Settlement

SERVING = run_path(str(Path(__file__).parents[1] / "fakes" / "fake_redis_server.py"))["serving"]
LEASE_MS = 15_000.0
NOON_MS = 1_763_640_000_000.0
HALF_A_DAY_MS = 43_200_000.0


@dataclass
class Quotas:
    """Either of the two; time goes when told."""

    redis: Any = None
    now: float = NOON_MS
    local: LocalQuotas = field(default_factory=lambda: LocalQuotas(LEASE_MS))

    def acquire(self, claim: Claim, *, forced: bool = False) -> Grant | Denial:
        if self.redis is None:
            return decision(claim, self.local.acquire(claim, self.now, forced=forced))
        command = scripts.acquire(claim, LEASE_MS, forced=forced, now=self.now)
        return decision(claim, self.redis.execute_command(*command))

    def settle(self, request_id: str, actual: int, *, refund: bool = False, is_late: bool = False) -> bool:
        if self.redis is None:
            return self.local.settle("acme", request_id, actual, self.now, refund_request=refund, is_late=is_late)
        one = Settlement(
            tenant_id="acme", request_id=request_id, actual_tokens=actual, refund_request=refund, is_late=is_late
        )
        return bool(self.redis.execute_command(*scripts.settle("acme", [one], LEASE_MS, now=self.now)))

    def renew(self, request_id: str, used: int = 0) -> bool:
        if self.redis is None:
            return not self.local.renew("acme", [(request_id, used)], self.now)
        return not self.redis.execute_command(*scripts.renew("acme", [(request_id, used)], LEASE_MS, now=self.now))

    def reap(self) -> tuple[int, int]:
        if self.redis is None:
            return self.local.reap("acme", self.now)
        reaped, left = self.redis.execute_command(*scripts.reap("acme", LEASE_MS, now=self.now))
        return reaped, left


@pytest.fixture(scope="module")
def redis() -> Iterator[Any]:
    with SERVING() as server:
        for script in Script:
            server.client.execute_command(*scripts.load(script))
        yield server.client


@pytest.fixture(params=["redis", "local"])
def quotas(request: pytest.FixtureRequest) -> Quotas:
    if request.param == "local":
        return Quotas()
    client = request.getfixturevalue("redis")
    client.flushall()
    return Quotas(client)


def claim(request_id: str, tokens: int = 0, *, used_today: int = 0, **limits: int) -> Claim:
    scope = Scope(account="acme", limits=Limits(**limits), used_today=used_today)
    return Claim(request_id=request_id, tenant_id="acme", scopes=(scope,), tokens=tokens)


def with_chat(first: Claim, **limits: int) -> Claim:
    return replace(first, scopes=(*first.scopes, Scope(account="acme/chat", limits=Limits(**limits))))


def denied(answer: Grant | Denial) -> Denial:
    assert isinstance(answer, Denial)
    return answer


def test_a_burst_is_let_in_and_one_more_after_exactly_the_wait(quotas: Quotas) -> None:
    limits = {"requests_per_minute": 7, "request_burst": 3}
    assert [isinstance(quotas.acquire(claim(f"r{n}", **limits)), Grant) for n in range(4)] == [True] * 3 + [False]
    refusal = denied(quotas.acquire(claim("r3", **limits)))
    assert (refusal.name, refusal.limit, refusal.measured) == (LimitName.REQUESTS, 7, 8)
    assert refusal.wait_s == pytest.approx(60 / 7)
    assert refusal.standing.remaining_requests == 0
    assert refusal.standing.reset_requests_s == pytest.approx(3 * 60 / 7)
    quotas.now += 60_000 / 7 - 1
    assert denied(quotas.acquire(claim("r3", **limits))).wait_s == pytest.approx(0.001, rel=1e-3)
    quotas.now += 1
    assert isinstance(quotas.acquire(claim("r3", **limits)), Grant)


def test_a_refused_claim_costs_nothing_on_any_account(quotas: Quotas) -> None:
    own = {"requests_per_minute": 60, "request_burst": 5, "tokens_per_minute": 1_000, "max_concurrent": 5}
    first = quotas.acquire(with_chat(claim("a", 100, **own), max_concurrent=1))
    for number in range(10):
        refusal = denied(quotas.acquire(with_chat(claim(f"b{number}", 100, **own), max_concurrent=1)))
        assert (refusal.name, refusal.account, refusal.wait_s) == (LimitName.CONCURRENT, "acme/chat", None)
        assert (refusal.limit, refusal.measured) == (1, 2)
    assert refusal.standing == first.standing


def test_asking_again_for_the_same_request_charges_nothing(quotas: Quotas) -> None:
    asked = claim("a", 600, requests_per_minute=60, tokens_per_minute=1_000, max_concurrent=1, tokens_per_day=700)
    first = quotas.acquire(asked)
    assert isinstance(first, Grant)
    assert quotas.acquire(asked) == first
    assert first.standing.remaining_tokens == 400


def test_the_least_that_is_left_is_told(quotas: Quotas) -> None:
    asked = with_chat(claim("a", 10, requests_per_minute=600, tokens_per_minute=100), requests_per_minute=60)
    standing = quotas.acquire(asked).standing
    assert (standing.limit_requests, standing.remaining_requests) == (60, 9)
    assert (standing.limit_tokens, standing.remaining_tokens) == (100, 90)
    assert standing.reset_tokens_s == pytest.approx(6.0)


def test_what_was_not_used_goes_back_and_what_was_used_beyond_is_owed(quotas: Quotas) -> None:
    limits = {"tokens_per_minute": 1_000}
    quotas.acquire(claim("a", 600, **limits))
    assert quotas.settle("a", 100)
    assert not quotas.settle("a", 100)
    assert quotas.acquire(claim("b", 900, **limits)).standing.remaining_tokens == 0
    assert quotas.settle("b", 1_800)
    refusal = denied(quotas.acquire(claim("c", 100, **limits)))
    assert refusal.wait_s == pytest.approx(60.0)  # 900 owed and 100 wanted
    assert (refusal.limit, refusal.measured) == (1_000, 2_000)


def test_a_debt_is_one_bucket_at_most(quotas: Quotas) -> None:
    quotas.acquire(claim("a", 10, tokens_per_minute=1_000))
    quotas.settle("a", 1_000_000)
    refusal = denied(quotas.acquire(claim("b", 500, tokens_per_minute=1_000)))
    assert refusal.wait_s == pytest.approx(90.0)


def test_more_than_a_bucket_holds_is_refused_for_ever(quotas: Quotas) -> None:
    refusal = denied(quotas.acquire(claim("a", 1_001, tokens_per_minute=1_000)))
    assert (refusal.name, refusal.wait_s, refusal.measured) == (LimitName.REQUEST_SIZE, None, 1_001)


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        ({"requests_per_minute": 0}, LimitName.REQUESTS),
        ({"tokens_per_minute": 0}, LimitName.REQUEST_SIZE),
        ({"max_concurrent": 0}, LimitName.CONCURRENT),
        ({"tokens_per_day": 0}, LimitName.DAY),
    ],
)
def test_a_limit_of_zero_refuses_and_nothing_is_divided_by_it(
    quotas: Quotas, limits: dict[str, int], name: LimitName
) -> None:
    refusal = denied(quotas.acquire(claim("a", 1, **limits)))
    assert (refusal.name, refusal.limit, refusal.wait_s) == (name, 0, None)


def test_a_request_that_was_refused_later_does_not_count(quotas: Quotas) -> None:
    limits = {"requests_per_minute": 60, "request_burst": 1, "max_concurrent": 1}
    before = quotas.acquire(claim("a", **limits)).standing
    assert quotas.settle("a", 0, refund=True)
    assert quotas.acquire(claim("b", **limits)).standing == before


def test_a_day_ends_at_midnight_and_no_reservation_is_lost_over_it(quotas: Quotas) -> None:
    limits = {"tokens_per_day": 1_000}
    quotas.acquire(claim("a", 400, **limits))
    quotas.settle("a", 700)
    quotas.acquire(claim("b", 300, **limits))
    refusal = denied(quotas.acquire(claim("c", 1, **limits)))
    assert (refusal.name, refusal.measured, refusal.wait_s) == (LimitName.DAY, 1_001, HALF_A_DAY_MS / 1e3)
    quotas.now += HALF_A_DAY_MS - 1_000
    assert quotas.renew("b") is True
    quotas.now += 2_000
    assert isinstance(quotas.acquire(claim("d", 700, **limits)), Grant)
    assert denied(quotas.acquire(claim("e", 1, **limits))).measured == 1_001
    quotas.settle("b", 300)
    assert denied(quotas.acquire(claim("e", 1, **limits))).measured == 1_001


def test_a_day_is_never_thought_less_used_than_the_store_says(quotas: Quotas) -> None:
    refusal = denied(quotas.acquire(claim("a", 200, used_today=900, tokens_per_day=1_000)))
    assert (refusal.name, refusal.measured) == (LimitName.DAY, 1_100)


def test_a_lease_that_is_not_renewed_ends_and_gives_back_what_was_not_used(quotas: Quotas) -> None:
    limits = {"max_concurrent": 1, "tokens_per_minute": 60_000, "tokens_per_day": 10_000}
    quotas.acquire(claim("a", 9_000, **limits))
    quotas.now += 10_000
    assert quotas.renew("a", used=4_000)
    quotas.now += LEASE_MS - 1
    denied(quotas.acquire(claim("b", 1, **limits)))
    quotas.now += 1
    assert isinstance(quotas.acquire(claim("b", 6_000, **limits)), Grant)
    assert quotas.settle("a", 9_000) is False
    assert quotas.renew("a") is False
    assert denied(quotas.acquire(claim("c", 1, **limits | {"max_concurrent": 9}))).measured == 10_001


def test_the_reaper_ends_what_nobody_asks_for(quotas: Quotas) -> None:
    for number in range(3):
        quotas.acquire(claim(f"r{number}", 5, max_concurrent=9))
        quotas.now += 1_000
    quotas.now += LEASE_MS - 2_500
    assert quotas.reap() == (1, 2)
    quotas.now += LEASE_MS
    assert quotas.reap() == (2, 0)


def test_what_is_being_served_is_held_again_whatever_the_limits_say(quotas: Quotas) -> None:
    limits = {"requests_per_minute": 60, "request_burst": 1, "tokens_per_minute": 100, "max_concurrent": 1}
    quotas.acquire(claim("a", 100, **limits))
    held = quotas.acquire(claim("b", 60, **limits), forced=True)
    assert isinstance(held, Grant)
    assert held.standing.remaining_requests == 0
    assert held.standing.reset_tokens_s == pytest.approx(96.0)
    assert quotas.settle("b", 10)


def test_a_settlement_that_overtakes_its_claim_leaves_nothing_charged(quotas: Quotas) -> None:
    asked = claim("a", 50, max_concurrent=1, tokens_per_minute=100)
    assert quotas.settle("a", 0, is_late=True) is False
    assert quotas.acquire(asked).standing.remaining_tokens == 100
    assert isinstance(quotas.acquire(claim("b", 100, max_concurrent=1, tokens_per_minute=100)), Grant)


def test_a_clock_that_is_set_back_refuses_nobody_for_longer(quotas: Quotas) -> None:
    limits = {"requests_per_minute": 60, "request_burst": 2, "max_concurrent": 3}
    quotas.acquire(claim("a", **limits))
    quotas.acquire(claim("b", **limits))
    quotas.now -= 3_600_000
    assert denied(quotas.acquire(claim("c", **limits))).wait_s == pytest.approx(1.0)
    quotas.now += 1_000
    assert isinstance(quotas.acquire(claim("c", **limits)), Grant)
    quotas.now += LEASE_MS  # a lease later everything of before is over
    assert quotas.reap() == (3, 0)


def test_a_clock_that_goes_back_over_midnight_gives_no_second_budget(quotas: Quotas) -> None:
    quotas.now += HALF_A_DAY_MS + 5
    quotas.acquire(claim("a", 900, tokens_per_day=1_000))
    quotas.settle("a", 900)
    quotas.now -= 10
    assert denied(quotas.acquire(claim("b", 200, tokens_per_day=1_000))).name is LimitName.DAY
    quotas.now -= 3 * 86_400_000  # that was no clock: the store's word stands
    assert isinstance(quotas.acquire(claim("b", 200, tokens_per_day=1_000)), Grant)


@pytest.mark.parametrize("after_ms", [0, 1, 30_000])
def test_a_limit_that_was_taken_away_leaves_no_level_behind(quotas: Quotas, after_ms: float) -> None:
    quotas.acquire(claim("a", 90, tokens_per_minute=100, requests_per_minute=6))
    quotas.now += after_ms
    quotas.acquire(claim("b", 50, max_concurrent=9))
    standing = quotas.acquire(claim("c", 0, tokens_per_minute=100, requests_per_minute=6, request_burst=3)).standing
    assert (standing.remaining_tokens, standing.remaining_requests) == (100, 2)


def test_many_dead_leases_end_at_once(quotas: Quotas) -> None:
    for number in range(900):
        quotas.acquire(claim(f"r{number}", 1, max_concurrent=900))
    denied(quotas.acquire(claim("last", 1, max_concurrent=900)))
    quotas.now += LEASE_MS
    assert isinstance(quotas.acquire(claim("last", 1, max_concurrent=900)), Grant)
    assert quotas.reap() == (0, 1)


def test_every_key_of_a_tenant_has_its_tag_and_an_end(redis: Any) -> None:
    redis.flushall()
    quotas = Quotas(redis)
    quotas.acquire(with_chat(claim("a", 5, requests_per_minute=1, request_burst=10_000), max_concurrent=3))
    assert {key.decode() for key in redis.scan_iter()} == {
        f"spillway:{{acme}}:{kind}" for kind in ("quota", "leases", "claims")
    }
    assert all(redis.pttl(key) > 86_400_000 for key in redis.scan_iter())


def test_gateways_count_each_other_until_they_are_silent(redis: Any) -> None:
    redis.flushall()

    def beat(gateway: str, now: float) -> int:
        found: int = redis.execute_command(*scripts.heartbeat(gateway, 5_000, now=now))
        return found

    assert [beat("a", 0.0), beat("b", 3_000.0), beat("b", 4_999.0), beat("b", 5_000.0)] == [1, 2, 2, 1]
    assert beat("a", 1_000.0) == 1  # the clock was set back: nobody can be believed for so long
    assert beat("b", 1_000.0) == 2
