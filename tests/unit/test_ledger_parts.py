"""Small parts of the ledger: shares, where claims are held, what waits to be settled, what answers mean."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.admission.contract import Claim, Denial, Limits, Scope
from spillway.admission.ledger import scripts
from spillway.admission.ledger.answers import decision
from spillway.admission.ledger.claims import TRANSITIONS, Event, OpenClaim, Place
from spillway.admission.ledger.local import LocalQuotas
from spillway.admission.ledger.outbox import Outbox
from spillway.admission.ledger.scripts import Script, Settlement
from spillway.admission.ledger.share import on_a_share, share_of


def claim(tokens: int = 100, *, used_today: int = 0, **limits: int) -> Claim:
    scope = Scope(account="acme", limits=Limits(**limits), used_today=used_today)
    return Claim(request_id="a", tenant_id="acme", scopes=(scope,), tokens=tokens)


# ---- shares ----


def test_shares_of_all_gateways_are_less_than_the_whole() -> None:
    assert share_of(4) * 4 == pytest.approx(0.8)
    limits = (
        on_a_share(
            claim(10, requests_per_minute=600, request_burst=50, tokens_per_minute=1_000, max_concurrent=20),
            share_of(4),
        )
        .scopes[0]
        .limits
    )
    assert limits == Limits(requests_per_minute=120, request_burst=10, tokens_per_minute=200, max_concurrent=4)


def test_what_is_left_of_a_day_is_shared_out() -> None:
    shared = on_a_share(claim(10, used_today=600, tokens_per_day=1_000), 0.2).scopes[0]
    assert (shared.limits.tokens_per_day, shared.used_today) == (680, 600)
    spent = on_a_share(claim(10, used_today=1_200, tokens_per_day=1_000), 0.2).scopes[0]
    assert spent.limits.tokens_per_day == 1_000


@given(st.integers(0, 5_000), st.integers(0, 5_000), st.integers(1, 50), st.integers(0, 6_000))
def test_no_request_is_too_large_for_a_share_that_the_whole_would_allow(
    per_minute: int, per_day: int, num_gateways: int, tokens: int
) -> None:
    asked = claim(tokens, tokens_per_minute=per_minute, tokens_per_day=per_day, max_concurrent=1, requests_per_minute=1)
    shared = on_a_share(asked, share_of(num_gateways))
    whole = decision(asked, LocalQuotas(1e4).acquire(asked, 1e12))
    assert isinstance(decision(shared, LocalQuotas(1e4).acquire(shared, 1e12)), Denial) is isinstance(whole, Denial)
    part = shared.scopes[0].limits
    assert part.tokens_per_minute is not None
    assert part.tokens_per_minute <= per_minute


def test_what_is_not_limited_is_not_limited_in_a_share() -> None:
    assert on_a_share(claim(), 0.1).scopes[0].limits == Limits()


# ---- where claims are held ----


def held(*events: Event, used: int = 0) -> OpenClaim:
    found = OpenClaim(claim(100))
    found.used = used
    for event in events:
        found.learn(event)
    return found


def test_a_claim_that_was_granted_there_is_settled_there() -> None:
    said = held(Event.GRANTED).settlement(70, refund_request=True)
    assert said == Settlement(tenant_id="acme", request_id="a", actual_tokens=70, refund_request=True)


def test_a_claim_that_was_granted_here_is_never_charged_there() -> None:
    local = held(Event.NOT_DONE)
    assert local.settlement(70, refund_request=False) is None
    assert local.restoring.tokens == 0
    local.learn(Event.RESTORED)
    local.used = 50
    assert local.used_there == 0
    assert local.settlement(70, refund_request=True) == Settlement(
        tenant_id="acme", request_id="a", actual_tokens=0, refund_request=False
    )


def test_a_claim_that_was_lost_there_is_charged_for_the_rest() -> None:
    lost = held(Event.GRANTED, Event.MISSED, used=30)
    assert lost.restoring.tokens == 70
    lost.learn(Event.RESTORED)
    lost.used = 80
    assert lost.used_there == 50
    said = lost.settlement(90, refund_request=False)
    assert said is not None
    assert said.actual_tokens == 60


@pytest.mark.parametrize("event", [Event.FOUND, Event.MISSED])
def test_a_claim_without_an_answer_is_settled_late_until_it_is_known(event: Event) -> None:
    unsure = held(Event.NO_ANSWER)
    said = unsure.settlement(70, refund_request=False)
    assert said is not None
    assert (said.is_late, said.actual_tokens, said.how) == (True, 70, "t")
    unsure.learn(event)
    known = unsure.settlement(70, refund_request=False)
    assert (known is None) is (event is Event.MISSED)


def test_every_place_but_the_first_can_be_reached_and_left() -> None:
    assert set(TRANSITIONS.values()) == set(Place) - {Place.ASKED}
    assert {before for before, _ in TRANSITIONS} == set(Place)


# ---- what waits to be settled ----


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def settlement(name: str) -> Settlement:
    return Settlement(tenant_id="acme", request_id=name, actual_tokens=1)


def names(waiting: list[Settlement]) -> list[str]:
    return [one.request_id for one in waiting]


def test_settlements_stay_until_they_arrived() -> None:
    outbox = Outbox(Clock())
    for name in "abc":
        outbox.put(settlement(name), 15.0)
    first = outbox.first(2)
    assert (names(first), len(outbox)) == (["a", "b"], 3)
    assert names(outbox.first(2)) == ["a", "b"]
    outbox.sent(first)
    assert (names(outbox.first(9)), outbox.num_dropped) == (["c"], 0)


def test_a_settlement_is_dropped_when_its_lease_is_over_or_too_many_wait() -> None:
    clock = Clock()
    outbox = Outbox(clock, most=2)
    for until, name in ((5.0, "a"), (6.0, "b"), (7.0, "c")):
        outbox.put(settlement(name), until)
    clock.now = 6.0
    assert names(outbox.first(9)) == ["c"]
    assert outbox.num_dropped == 2


def test_what_was_dropped_while_it_was_sent_takes_nothing_with_it() -> None:
    outbox = Outbox(Clock(), most=2)
    outbox.put(settlement("a"), 5.0)
    outbox.put(settlement("b"), 5.0)
    sent = outbox.first(1)
    outbox.put(settlement("c"), 5.0)
    outbox.sent(sent)
    assert names(outbox.first(9)) == ["b", "c"]


# ---- scripts ----


@pytest.mark.parametrize("script", Script)
def test_scripts_are_found_and_known_by_what_they_say(script: Script) -> None:
    assert scripts.load(script)[1] == scripts.text(script)
    assert len(scripts.digest(script)) == 40


def test_redis_goes_by_its_own_clock_in_production() -> None:
    command = scripts.acquire(claim(max_concurrent=3), 15_000.0)
    assert command[:7] == ("EVALSHA", scripts.digest(Script.ACQUIRE), 3, *command[3:6], "")
    assert all("{acme}" in str(key) for key in command[3:6])


# ---- the twin forgets ----


def test_the_twin_forgets_tenants_that_are_idle() -> None:
    local = LocalQuotas(15_000.0)
    asked = claim(100, tokens_per_minute=100, max_concurrent=1)
    local.acquire(asked, 1e12)
    local.settle("acme", "a", 100, 1e12)
    local.forget(1e12 + 59_000)
    assert "acme" in local._books
    local.forget(1e12 + 60_000 + 86_400_000)
    assert local._books == {}
