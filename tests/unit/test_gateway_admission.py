"""What clients of the gateway see of admission: who they are, their quota, refused load, and brownout."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import pytest

from spillway.admission.admission import Admission
from spillway.admission.contract import (
    Ask,
    Band,
    Caller,
    Claim,
    Denial,
    Grant,
    Kind,
    LimitName,
    Limits,
    Objective,
    Standing,
    Tenant,
)
from spillway.admission.headers import duration
from spillway.admission.load.model_load import EngineLoad, ModelLoad, Pace, Waiting
from spillway.pool.contract import Refused
from spillway.settings import BrownoutStep, RouteRule, Settings
from spillway_wire.messages import Capacity
from spillway_wire.outcomes import Outcome

CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "Count from 2 to 5"}]
ACME = Tenant(id="acme", tier="silver", limits=Limits(requests_per_minute=60, tokens_per_minute=6000))
STANDING = Standing(
    limit_requests=60,
    remaining_requests=59,
    reset_requests_s=1.0,
    limit_tokens=6000,
    remaining_tokens=5980,
    reset_tokens_s=0.2,
)


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "demo", "messages": MESSAGES} | fields


@dataclass
class Doorman:
    """Knows one key."""

    tenant: Tenant = ACME

    def identify_now(self, headers: Any) -> Caller | None:
        if (b"authorization", b"Bearer right") not in headers:
            raise Refused(Outcome.UNAUTHENTICATED, "Incorrect or missing API key.")
        return Caller(tenant=self.tenant, key_id="key:1")

    async def identify(self, headers: Any) -> Caller:
        raise AssertionError("never needed")


@dataclass
class Ledger:
    """Says what its test says, and keeps what it is told."""

    decision: Grant | Denial = field(default_factory=lambda: Grant(standing=STANDING))
    claims: list[Claim] = field(default_factory=list)
    settled: list[tuple[str, int, bool]] = field(default_factory=list)
    silent: bool = False

    async def acquire(self, claim: Claim) -> Grant | Denial:
        self.claims.append(claim)
        if self.silent:
            await asyncio.Event().wait()
        return self.decision

    def progress(self, request_id: str, used_tokens: int) -> None:
        pass

    def settle(self, request_id: str, actual_tokens: int, *, refund_request: bool = False) -> None:
        self.settled.append((request_id, actual_tokens, refund_request))


@dataclass
class Usage:
    """Keeps what it is told."""

    added: list[tuple[str, Kind, int, int]] = field(default_factory=list)

    def add(self, tenant_id: str, kind: Kind, prompt_tokens: int, output_tokens: int, now: float) -> None:
        self.added.append((tenant_id, kind, prompt_tokens, output_tokens))

    def day_tokens(self, tenant_id: str, kind: Kind | None = None) -> int:
        return 7 if kind is None else 3


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def usage() -> Usage:
    return Usage()


@pytest.fixture
def guarded(house: Any, ledger: Ledger, usage: Usage) -> Callable[..., Admission]:
    """Give the house an admission with these parts."""

    def install(tenant: Tenant = ACME, settings: Settings | None = None) -> Admission:
        settings = settings or house.gateway.settings
        house.gateway.settings = settings
        admission = Admission(
            settings, house.pool, identity=Doorman(tenant), ledger=ledger, usage=usage, clock=house.gateway.clock
        )
        house.gateway.admission = admission
        return admission

    return install


KEY = [(b"authorization", b"Bearer right")]


# ---- who asks ----


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/generate", "/generate_batch", "/tokenize", "/detokenize"])
def test_without_a_key_nothing_is_read(guarded: Any, ask: Callable[..., Any], path: str, ledger: Ledger) -> None:
    guarded()
    call = ask(path, b"not even JSON")
    assert (call.status, call.error["code"]) == (401, "invalid_api_key")
    assert call.headers["www-authenticate"] == "Bearer"
    assert ledger.claims == []


def test_models_are_shown_to_those_who_may_use_them(guarded: Any, ask: Callable[..., Any]) -> None:
    guarded()
    assert ask("/v1/models", method="GET").status == 401
    assert [each["id"] for each in ask("/v1/models", headers=KEY, method="GET").json["data"]] == ["demo", "default"]
    guarded(replace(ACME, models=("other",)))
    assert ask("/v1/models", headers=KEY, method="GET").json["data"] == []
    assert ask("/v1/models/demo", headers=KEY, method="GET").status == 404


def test_health_needs_no_key(guarded: Any, ask: Callable[..., Any]) -> None:
    guarded()
    assert ask("/health", method="GET").status == ask("/ready", method="GET").status == 200


def test_a_tenant_may_not_use_what_is_not_its_own(guarded: Any, ask: Callable[..., Any], ledger: Ledger) -> None:
    guarded(replace(ACME, models=("other",)))
    call = ask(CHAT, chat(), headers=KEY)
    assert (call.status, call.error["spillway"]["outcome"]) == (403, "forbidden")
    guarded(replace(ACME, bands=(Band.DEFAULT,)))
    call = ask(CHAT, chat(service_tier="priority"), headers=KEY)
    assert call.status == 403
    assert "default" in call.error["message"]
    assert ledger.claims == []


# ---- quota ----


def test_what_is_reserved_is_settled_with_what_was_used(
    house: Any, guarded: Any, ask: Callable[..., Any], ledger: Ledger, usage: Usage
) -> None:
    admission = guarded()
    call = ask(CHAT, chat(max_tokens=50), headers=KEY)
    assert call.status == 200
    (claim,) = ledger.claims
    told = call.json["usage"]
    assert claim.tokens == told["prompt_tokens"] + 50  # nobody has answered yet: all of it is likely
    assert [scope.account for scope in claim.scopes] == ["acme"]
    assert ledger.settled == [(claim.request_id, told["total_tokens"], False)]
    assert usage.added == [("acme", Kind.CHAT, told["prompt_tokens"], told["completion_tokens"])]
    assert not admission.open
    work = house.pool.tickets[0].work
    assert (work.tenant_id, work.band, work.tpot_s) == ("acme", Band.DEFAULT, 0.2)
    assert work.cache_salt.startswith("acme\0")


@pytest.mark.parametrize("stream", [False, True])
def test_headers_say_what_is_left(guarded: Any, ask: Callable[..., Any], *, stream: bool) -> None:
    guarded()
    headers = ask(CHAT, chat(stream=stream), headers=KEY).headers
    said = {name.removeprefix("x-ratelimit-"): headers[name] for name in headers if name.startswith("x-ratelimit-")}
    assert said == {
        "limit-requests": "60",
        "remaining-requests": "59",
        "reset-requests": "1s",
        "limit-tokens": "6000",
        "remaining-tokens": "5980",
        "reset-tokens": "200ms",
    }
    assert "x-spillway-limiter" not in headers


def test_a_ledger_on_its_own_is_said_so(guarded: Any, ask: Callable[..., Any], ledger: Ledger) -> None:
    guarded()
    ledger.decision = Grant(standing=STANDING, degraded=True)
    assert ask(CHAT, chat(), headers=KEY).headers["x-spillway-limiter"] == "degraded"


def denial(name: LimitName, wait_s: float | None = None) -> Denial:
    return Denial(name=name, account="acme", limit=60, measured=61, wait_s=wait_s, standing=STANDING)


@pytest.mark.parametrize(
    ("refusal", "status", "code", "after"),
    [
        (denial(LimitName.REQUESTS, 2.5), 429, "rate_limit_exceeded", "2500"),
        (denial(LimitName.TOKENS, 7.0), 429, "rate_limit_exceeded", "7000"),
        (denial(LimitName.CONCURRENT), 429, "rate_limit_exceeded", "1000"),
        (denial(LimitName.DAY), 429, "insufficient_quota", None),
        (denial(LimitName.REQUEST_SIZE), 400, "request_too_large", None),
    ],
)
def test_a_denied_claim_says_which_limit_and_when_to_return(
    house: Any,
    guarded: Any,
    ask: Callable[..., Any],
    ledger: Ledger,
    *,
    refusal: Denial,
    status: int,
    code: str,
    after: str | None,
) -> None:
    guarded()
    ledger.decision = refusal
    call = ask(CHAT, chat(), headers=KEY)
    assert (call.status, call.error["code"], call.headers.get("retry-after-ms")) == (status, code, after)
    assert call.headers["x-spillway-limit"] == f"{refusal.name.value}=60"
    assert call.headers["x-ratelimit-limit-requests"] == "60"
    assert house.pool.tickets == []
    assert ledger.settled == []  # a denied claim has nothing to give back
    if code == "insufficient_quota":
        assert call.headers["x-should-retry"] == "false"


def test_each_kind_of_call_has_its_own_account(guarded: Any, ask: Callable[..., Any], ledger: Ledger) -> None:
    batch = Limits(max_concurrent=1)
    guarded(replace(ACME, limits_by_kind={Kind.BATCH: batch}))
    ask("/generate_batch", {"prompts": ["a", "b"]}, headers=KEY)
    ask("/generate", {"prompt": "a"}, headers=KEY)
    accounts = [[(scope.account, scope.used_today) for scope in claim.scopes] for claim in ledger.claims]
    assert accounts == [[("acme", 7), ("acme/batch", 3)], [("acme", 7)]]


def test_a_tenant_without_limits_asks_nobody(guarded: Any, ask: Callable[..., Any], ledger: Ledger) -> None:
    guarded(Tenant(id="acme", tier="gold"))
    assert ask(CHAT, chat(), headers=KEY).status == 200
    assert not ledger.claims
    assert not ledger.settled


@pytest.mark.parametrize("outcome", [Outcome.NO_ENGINE, Outcome.EXPIRED, Outcome.OVERLOADED, Outcome.ENGINE_FAILED])
def test_what_was_not_served_costs_nothing(
    house: Any, guarded: Any, ask: Callable[..., Any], ledger: Ledger, *, usage: Usage, outcome: Outcome
) -> None:
    guarded()
    house.pool.refuse = Refused(outcome, "not now")
    ask(CHAT, chat(), headers=KEY)
    assert [(tokens, refund) for _, tokens, refund in ledger.settled] == [(0, True)]
    assert usage.added == []


def test_a_client_that_leaves_while_the_ledger_thinks_leaves_nothing_reserved(
    guarded: Any, ask: Callable[..., Any], ledger: Ledger
) -> None:
    guarded()
    ledger.silent = True
    call = ask(CHAT, chat(), headers=[*KEY, (b"x-request-timeout", b"0.02")])
    assert call.status == 503
    assert [(tokens, refund) for _, tokens, refund in ledger.settled] == [(0, True)]


# ---- load ----


def busy(waiting: int) -> ModelLoad:
    """An engine of one second a request, with so many waiting."""
    capacity = Capacity(max_num_seqs=1, max_num_batched_tokens=512, max_model_len=2048, num_blocks=1000, block_size=16)
    engine = EngineLoad(
        engine_id="engine-0",
        capacity=capacity,
        sequences=1,
        free_blocks=900,
        prefill_tokens=waiting * 1000,
        limit=1,
        pace=Pace(0.01, 0.001, 0.001),
    )
    line = {Band.DEFAULT: {"acme": Waiting(waiting, waiting, waiting * 1000)}} if waiting else {}
    return ModelLoad(engines=(engine,), waiting=line, resumed=0, own_running=1)


def taught(admission: Admission) -> Admission:
    """Let it see one request through, which took a second."""
    now = admission.clock()
    first = Ask(
        request_id="first",
        model="demo",
        tenant_id="acme",
        key_id="key:1",
        band=Band.DEFAULT,
        weight=1.0,
        objective=Objective(ttft_s=2.0, tpot_s=0.2),
    )
    assert not isinstance(admission.door.confirm(first, busy(0), now), Refused)
    admission.door.dispatched("first", now, "engine-0")
    admission.door.first_token("first", now + 0.1)
    admission.door.finished("first", now + 1.0, 10)
    return admission


def test_load_is_refused_before_quota_is_asked(
    house: Any, guarded: Any, ask: Callable[..., Any], ledger: Ledger
) -> None:
    taught(guarded())
    house.pool.load = lambda _: busy(50)
    call = ask(CHAT, chat(), headers=KEY)
    assert (call.status, call.error["code"]) == (429, "slow_down")
    assert call.headers["x-spillway-outcome"] == "overloaded"
    assert float(call.headers["retry-after"]) >= 1
    assert call.headers["x-spillway-limit"].startswith("ttft")
    assert ledger.claims == []
    house.pool.load = lambda _: busy(0)
    assert ask(CHAT, chat(), headers=KEY).status == 200


def test_load_that_comes_while_quota_is_asked_gives_the_quota_back(
    house: Any, guarded: Any, ask: Callable[..., Any], ledger: Ledger
) -> None:
    taught(guarded())
    loads = iter([busy(0), busy(50)])
    house.pool.load = lambda _: next(loads)
    call = ask(CHAT, chat(), headers=KEY)
    assert (call.status, call.error["code"]) == (429, "slow_down")
    assert [(tokens, refund) for _, tokens, refund in ledger.settled] == [(0, True)]
    assert house.pool.tickets == []


def test_bands_follow_the_service_tier(house: Any, guarded: Any, ask: Callable[..., Any]) -> None:
    guarded(replace(ACME, default_band=Band.BULK))
    for tier in ("priority", "default", "flex"):
        ask(CHAT, chat(service_tier=tier), headers=KEY)
    bands = [ticket.work.band for ticket in house.pool.tickets]
    assert bands == [Band.INTERACTIVE, Band.BULK, Band.BULK]


# ---- brownout ----


def test_brownout_degrades_and_says_so(house: Any, guarded: Any, ask: Callable[..., Any]) -> None:
    ladder = (
        BrownoutStep(name="short", at=0.1, tiers=("silver",), max_tokens=3),
        BrownoutStep(name="plain", at=0.2, single_choice=True, no_logprobs=True),
    )
    admission = guarded(settings=replace(house.gateway.settings, brownout=ladder))
    now = house.gateway.clock()
    whole = ask(CHAT, chat(n=2, logprobs=True, top_logprobs=2), headers=KEY)
    assert len(whole.json["choices"]) == 2
    assert "x-spillway-brownout" not in whole.headers
    ladder_now = admission.door.brownout("demo", now)
    for step in range(8):
        ladder_now.observe(1.0, now + step * 0.3)
    call = ask(CHAT, chat(n=2, logprobs=True, top_logprobs=2), headers=KEY)
    assert call.headers["x-spillway-brownout"] == "short, plain"
    (choice,) = call.json["choices"]
    assert (choice["logprobs"], choice["finish_reason"]) == (None, "length")
    assert call.json["usage"]["completion_tokens"] == 3


# ---- rules ----


def test_rules_may_choose_by_tenant(gateway_house: ModuleType) -> None:
    from spillway.gateway.routes import Asked, route  # noqa: PLC0415

    rules = (RouteRule(to="big", tenant="acme"),)
    asked = Asked(named="demo", model="demo", tenant="acme", tier="default", priority=0, prompt_tokens=1, headers=())
    assert route(rules, asked) == "big"
    assert route(rules, replace(asked, tenant="anonymous")) == "demo"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.0, b"0ms"), (0.012, b"12ms"), (1.0, b"1s"), (1.5, b"1.5s"), (360.0, b"6m0s"), (3605.25, b"1h0m5.25s")],
)
def test_durations_are_written_as_openai_does(seconds: float, said: bytes) -> None:
    assert duration(seconds) == said
