"""The scripts in a real Redis and their twin in Python give the same answers, to the last bit, on the same history."""

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spillway.admission.contract import Claim, Limits, Scope
from spillway.admission.ledger import scripts
from spillway.admission.ledger.local import LocalQuotas
from spillway.admission.ledger.scripts import Script, Settlement

LEASE_MS = 15_000.0
MIDNIGHT_MS = 1_763_683_200_000.0
TENANTS = ("acme", "acme", "acme", "zeta")
REQUESTS = tuple("abcdefghijkl")


def _limit(highest: int) -> st.SearchStrategy[int | None]:
    return st.one_of(st.none(), st.integers(0, highest))


ANY = st.builds(
    Limits,
    requests_per_minute=_limit(200),
    request_burst=st.one_of(st.none(), st.integers(1, 6)),
    tokens_per_minute=_limit(3_000),
    max_concurrent=_limit(4),
    tokens_per_day=_limit(6_000),
)
LIKELY = st.sampled_from(
    [
        Limits(requests_per_minute=7, request_burst=3),
        Limits(requests_per_minute=60, request_burst=2, tokens_per_minute=1_000),
        Limits(tokens_per_minute=700, max_concurrent=6),
        Limits(tokens_per_day=2_000),
        Limits(requests_per_minute=100, tokens_per_minute=2_000, max_concurrent=3, tokens_per_day=5_000),
    ]
)
LIMITS = st.one_of(LIKELY, ANY)


@dataclass(frozen=True)
class Acquire:
    claim: Claim
    forced: bool


@dataclass(frozen=True)
class Renew:
    tenant: str
    used: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Settle:
    settlements: tuple[Settlement, ...]


@dataclass(frozen=True)
class Reap:
    tenant: str


@dataclass(frozen=True)
class Wait:
    ms: float


@st.composite
def claims(draw: st.DrawFn, limits: tuple[Limits, ...]) -> Claim:
    tenant = draw(st.sampled_from(TENANTS))
    kinds = draw(st.sampled_from([(), ("chat",), ("batch",)]))
    accounts = (tenant, *(f"{tenant}/{kind}" for kind in kinds))
    used = st.sampled_from([0, 0, 0, 500, 1_999])
    scopes = tuple(
        Scope(account=account, limits=draw(st.sampled_from(limits)), used_today=draw(used)) for account in accounts
    )
    tokens = draw(st.one_of(st.integers(0, 300), st.integers(0, 1_500)))
    return Claim(request_id=draw(st.sampled_from(REQUESTS)), tenant_id=tenant, scopes=scopes, tokens=tokens)


@st.composite
def histories(draw: st.DrawFn) -> list[object]:
    limits = tuple(draw(st.lists(LIMITS, min_size=1, max_size=3)))
    tenant = st.sampled_from(TENANTS)
    used = st.lists(st.tuples(st.sampled_from(REQUESTS), st.integers(0, 900)), min_size=1, max_size=4)
    settlements = tenant.flatmap(
        lambda name: st.lists(
            st.builds(
                Settlement,
                tenant_id=st.just(name),
                request_id=st.sampled_from(REQUESTS),
                actual_tokens=st.integers(0, 4_000),
                refund_request=st.booleans(),
                is_late=st.booleans(),
            ),
            min_size=1,
            max_size=3,
        ).map(lambda found: Settle(tuple(found)))
    )
    waits = st.one_of(
        st.floats(0.001, 3_000.0),
        st.sampled_from([1.0, 1_000.0, 60_000 / 7, LEASE_MS, LEASE_MS + 1, 60_000.0, 86_400_000.0]),
        st.floats(-7_200_000.0, -0.001),  # the clock is set back
        st.sampled_from([-3_000.0, -86_400_000.0, -172_800_000.0]),
    ).map(Wait)
    acquire = st.builds(Acquire, claims(limits), st.sampled_from([False] * 5 + [True]))
    renew = st.builds(Renew, tenant, used.map(tuple))
    step = st.one_of(acquire, acquire, acquire, renew, settlements, waits, waits, st.builds(Reap, tenant))
    return draw(st.lists(step, min_size=5, max_size=50))


def _server() -> Any:
    """Load the double; `tests/conftest.py` gives those that others share."""
    path = Path(__file__).parents[1] / "fakes" / "fake_redis_server.py"
    spec = importlib.util.spec_from_file_location("fake_redis_server", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def redis() -> Iterator[Any]:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(_server().serving())
        for script in Script:
            assert server.client.execute_command(*scripts.load(script)) == scripts.digest(script)
        yield server.client


def _words(answer: Any) -> list[float | str]:
    """Numbers as numbers: the two write them in different ways."""
    found: list[float | str] = []
    for word in answer:
        text = word.decode() if isinstance(word, bytes) else str(word)
        try:
            found.append(float(text))
        except ValueError:
            found.append(text)
    return found


def _both(redis: Any, local: LocalQuotas, step: object, now: float) -> tuple[Any, Any]:
    """Do one step on both sides; return what they say."""
    match step:
        case Acquire(claim, forced):
            said = redis.execute_command(*scripts.acquire(claim, LEASE_MS, forced=forced, now=now))
            return _words(said), _words(local.acquire(claim, now, forced=forced))
        case Renew(tenant, used):
            said = redis.execute_command(*scripts.renew(tenant, used, LEASE_MS, now=now))
            return [word.decode() for word in said], local.renew(tenant, used, now)
        case Settle(settlements):
            tenant = settlements[0].tenant_id
            said = redis.execute_command(*scripts.settle(tenant, settlements, LEASE_MS, now=now))
            held = [
                local.settle(
                    tenant,
                    one.request_id,
                    one.actual_tokens,
                    now,
                    refund_request=one.refund_request,
                    is_late=one.is_late,
                )
                for one in settlements
            ]
            return said, sum(held)
        case Reap(tenant):
            said = redis.execute_command(*scripts.reap(tenant, LEASE_MS, now=now))
            return tuple(said), local.reap(tenant, now)
        case _:
            raise AssertionError(step)


def _kept(redis: Any, tenant: str) -> dict[str, object]:
    """What Redis has of a tenant: accounts, claims, ends of leases."""
    name = f"spillway:{{{tenant}}}"
    accounts = {key.decode(): tuple(map(float, words.split())) for key, words in redis.hgetall(f"{name}:quota").items()}
    claims = {key.decode(): words.decode().split() for key, words in redis.hgetall(f"{name}:claims").items()}
    leases = {key.decode(): score for key, score in redis.zrange(f"{name}:leases", 0, -1, withscores=True)}
    return {"accounts": accounts, "claims": claims, "leases": leases}


def _kept_here(local: LocalQuotas, tenant: str) -> dict[str, object]:
    """What the twin has."""
    books = local._books.get(tenant)
    if books is None:
        return {"accounts": {}, "claims": {}, "leases": {}}
    accounts = {
        name: (a.requests, a.tokens, a.at, a.day, a.used, a.held, a.leases, a.rpm, a.tpm)
        for name, a in books.accounts.items()
    }
    claims = {
        request: [str(record.reserved), str(record.used), *record.accounts] for request, record in books.claims.items()
    }
    return {"accounts": accounts, "claims": claims, "leases": dict(books.leases)}


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories(), start=st.floats(-30_000.0, 30_000.0))
def test_scripts_and_their_twin_answer_and_keep_the_same(redis: Any, history: list[object], start: float) -> None:
    redis.flushall()
    local = LocalQuotas(LEASE_MS)
    now = MIDNIGHT_MS + start
    for step in history:
        if isinstance(step, Wait):
            now += step.ms
            continue
        said, twin = _both(redis, local, step, now)
        assert said == twin, step
        for tenant in set(TENANTS):
            assert _kept(redis, tenant) == _kept_here(local, tenant), step
