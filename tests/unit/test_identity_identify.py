"""Who asks: tenants that are declared and stored, credentials of every kind, and one answer to all that are wrong."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import msgspec
import pytest

from spillway.admission.contract import ANONYMOUS_ID, Band, Caller, Limits, Tenant
from spillway.admission.identity import changes, keys
from spillway.admission.identity.directory import Directory
from spillway.admission.identity.identify import MESSAGE, Identifier, check_band, check_model, may_use
from spillway.admission.identity.records import EMPTY, Snapshot, StoredTenant, by_id
from spillway.pool.contract import Refused
from spillway.settings import AdmissionSettings, Settings, TenantSettings, TierSettings
from spillway_wire.outcomes import Outcome

ACME, GLOBEX, GONE = (keys.new_key(Random(seed).randbytes) for seed in range(3))
NOW = 1000.0
DECLARED = Settings(
    tenants=(TenantSettings(tenant=Tenant(id="acme", tier="gold"), keys=(keys.declaration(ACME),)),),
)


def stored(text: str = GLOBEX, *, tenant: str = "globex", revoked_at: float | None = None, **more: Any) -> Snapshot:
    expires_at = more.pop("expires_at", None)
    key = changes.new_key(text, tenant, now=1.0, expires_at=expires_at)
    key = msgspec.structs.replace(key, revoked_at=revoked_at)
    return Snapshot(
        tenants=by_id([StoredTenant(id=tenant, tier=more.pop("tier", "bronze"), **more)]), keys=by_id([key]), version=7
    )


def identifier(settings: Settings = DECLARED, snapshot: Snapshot = EMPTY, *, is_open: bool = False) -> Identifier:
    return Identifier(Directory.of(settings, snapshot), None, is_open=is_open, clock=lambda: NOW)


def bearer(text: str) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"host", b"x"), (b"authorization", f"Bearer {text}".encode("latin-1")))


def who(asked: Identifier, *headers: tuple[bytes, bytes]) -> Caller:
    caller = asked.identify_now(headers)
    assert caller is not None
    assert asyncio.run(asked.identify(headers)) == caller
    return caller


def refused(asked: Identifier, *headers: tuple[bytes, bytes]) -> Refused:
    with pytest.raises(Refused) as caught:
        asked.identify_now(headers)
    return caught.value


# ---- while nobody is known ----


def test_while_nobody_is_known_everybody_is_anonymous_whatever_they_send() -> None:
    asked = identifier(Settings(admission=AdmissionSettings(anonymous_tier="silver")))

    for headers in ((), bearer("sk-anything"), bearer(ACME), ((b"authorization", b"Basic eDp5"),)):
        caller = who(asked, *headers)
        assert caller.is_anonymous
        assert (caller.key_id, caller.tenant.tier, caller.tenant.weight) == (ANONYMOUS_ID, "silver", 2.0)
        assert not caller.tenant.limited


@pytest.mark.parametrize("snapshot", [stored(), stored(enabled=False)])
def test_as_soon_as_anybody_is_known_one_has_to_say_who_one_is(snapshot: Snapshot) -> None:
    assert refused(identifier(Settings(), snapshot)).outcome is Outcome.UNAUTHENTICATED


# ---- right credentials ----


@pytest.mark.parametrize(
    "header",
    [
        (b"authorization", b"Bearer %b"),
        (b"authorization", b"bearer  %b "),
        (b"authorization", b"BEARER %b"),
        (b"x-api-key", b"%b"),
    ],
)
def test_a_key_is_taken_in_each_of_its_places(header: tuple[bytes, bytes]) -> None:
    name, form = header

    caller = who(identifier(), (name, form % ACME.encode()))

    assert caller.tenant == DECLARED.tenants[0].tenant
    assert caller.key_id == f"key:{keys.public_id(ACME)}"
    assert ACME.rpartition("-")[2] not in repr(caller)


def test_the_same_key_in_both_places_is_one_and_two_keys_are_none() -> None:
    asked = identifier(snapshot=stored())

    assert who(asked, *bearer(ACME), (b"x-api-key", ACME.encode())).tenant.id == "acme"
    refused(asked, *bearer(ACME), (b"x-api-key", GLOBEX.encode()))
    refused(asked, *bearer(ACME), *bearer(GLOBEX))


def test_several_keys_of_a_tenant_are_valid_at_once() -> None:
    both = TenantSettings(tenant=Tenant(id="acme", tier="gold"), keys=(keys.declaration(ACME), keys.declaration(GONE)))

    asked = identifier(Settings(tenants=(both,)))

    assert [who(asked, *bearer(text)).tenant.id for text in (ACME, GONE)] == ["acme", "acme"]


def test_a_key_is_valid_until_it_expires() -> None:
    assert who(identifier(snapshot=stored(expires_at=NOW + 1)), *bearer(GLOBEX)).tenant.id == "globex"
    refused(identifier(snapshot=stored(expires_at=NOW)), *bearer(GLOBEX))


# ---- wrong ones ----

WRONG: list[Callable[[], tuple[Identifier, tuple[tuple[bytes, bytes], ...]]]] = [
    lambda: (identifier(), ()),
    lambda: (identifier(), bearer(GONE)),
    lambda: (identifier(), bearer(ACME[:-1] + ("a" if ACME[-1] != "a" else "b"))),
    lambda: (identifier(), bearer("sk-x")),
    lambda: (identifier(), bearer("")),
    lambda: (identifier(), bearer("é" * 70)),
    lambda: (identifier(), bearer("a.b.c")),
    lambda: (identifier(), ((b"authorization", b"Basic " + ACME.encode()),)),
    lambda: (identifier(), ((b"authorization", b""),)),
    lambda: (identifier(), ((b"x-api-key", b""),)),
    lambda: (identifier(snapshot=stored(expires_at=1.0)), bearer(GLOBEX)),
    lambda: (identifier(snapshot=stored(revoked_at=1.0)), bearer(GLOBEX)),
    lambda: (identifier(snapshot=stored(enabled=False)), bearer(GLOBEX)),
    lambda: (identifier(snapshot=Snapshot(keys=stored().keys)), bearer(GLOBEX)),
    lambda: (identifier(snapshot=stored(tenant="acme")), bearer(GLOBEX)),
]


@pytest.mark.parametrize("case", WRONG)
def test_every_wrong_credential_gets_the_same_answer(
    case: Callable[[], tuple[Identifier, tuple[tuple[bytes, bytes], ...]]],
) -> None:
    asked, headers = case()

    told = refused(asked, *headers)

    assert vars(told) == vars(Refused(Outcome.UNAUTHENTICATED, MESSAGE))
    with pytest.raises(Refused, match="Incorrect or missing API key"):
        asyncio.run(asked.identify(headers))


def test_where_anybody_is_meant_no_credential_is_anonymous_and_a_wrong_one_is_not() -> None:
    asked = identifier(is_open=True)

    assert who(asked).is_anonymous
    assert who(asked, *bearer(ACME)).tenant.id == "acme"
    refused(asked, *bearer(GONE))
    refused(asked, (b"authorization", b"Basic eDp5"))


def test_a_new_directory_counts_from_the_next_request_on() -> None:
    asked = identifier()
    refused(asked, *bearer(GLOBEX))

    asked.directory = Directory.of(DECLARED, stored())
    assert who(asked, *bearer(GLOBEX)).tenant.id == "globex"

    asked.directory = Directory.of(DECLARED, stored(revoked_at=NOW))
    refused(asked, *bearer(GLOBEX))


# ---- what stands in the directory ----


def test_a_stored_tenant_gets_its_tiers_weight_unless_it_has_one() -> None:
    tiers = {"gold": TierSettings(weight=4.0), "bronze": TierSettings(weight=0.5)}
    settings = Settings(tiers=tiers)

    assert Directory.of(settings, stored()).tenants["globex"].weight == 0.5
    assert Directory.of(settings, stored(weight=3.0)).tenants["globex"].weight == 3.0
    limited = Directory.of(settings, stored(limits=Limits(max_concurrent=1))).tenants["globex"]
    assert limited.limited


def test_a_tier_that_is_not_configured_any_more_becomes_the_least() -> None:
    directory = Directory.of(Settings(), stored(tier="platinum"))

    assert (directory.tenants["globex"].tier, directory.tenants["globex"].weight) == ("bronze", 1.0)
    assert directory.notes == ("tenant globex has the tier platinum, which is not configured: it gets bronze",)


def test_a_declared_tenant_is_the_files_alone() -> None:
    directory = Directory.of(DECLARED, stored(tenant="acme", tier="bronze"))

    assert directory.tenants["acme"].tier == "gold"
    assert set(directory.keys) == {keys.public_id(ACME)}
    assert directory.notes == ("tenant acme is stored and declared: the declaration counts",)
    assert (directory.has_tenants, directory.version) == (True, 7)
    assert "sk-" not in repr(directory)


# ---- what a caller may use ----


def test_models_that_are_not_the_tenants_are_forbidden_with_those_that_are() -> None:
    tenant = Tenant(id="acme", tier="gold", models=("chat", "code"))
    caller = Caller(tenant=tenant, key_id="key:X")

    check_model(caller, "code")
    with pytest.raises(Refused, match="tenant 'acme' may not use the model 'demo'; it may use: chat, code") as caught:
        check_model(caller, "demo")

    assert caught.value.outcome is Outcome.FORBIDDEN
    assert [name for name in ("chat", "demo") if may_use(tenant, name)] == ["chat"]
    assert may_use(replace(tenant, models=()), "demo")


def test_bands_that_are_not_the_tenants_are_forbidden_with_those_that_are() -> None:
    caller = Caller(tenant=Tenant(id="acme", tier="gold", bands=(Band.DEFAULT, Band.BULK)), key_id="key:X")

    check_band(caller, Band.BULK)
    with pytest.raises(Refused, match="may not ask for the band 'system'; it may ask for: default, bulk") as caught:
        check_band(caller, Band.SYSTEM)
    assert caught.value.outcome is Outcome.FORBIDDEN
