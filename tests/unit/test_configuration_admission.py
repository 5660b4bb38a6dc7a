"""Tiers, tenants, the brownout ladder and the issuer in spillway.toml: what is read, and what is refused, by name."""

import contextlib
import os
from pathlib import Path

import msgspec
import pytest

from spillway.admission.contract import Band, Kind, Limits, Tenant
from spillway.admission.identity import changes, keys
from spillway.admission.identity.records import StoredTenant
from spillway.admission.identity.store import Store
from spillway.configuration import configure
from spillway.errors import ConfigurationError, SpillwayError
from spillway.settings import BrownoutStep, Settings, TenantSettings, TierSettings
from spillway.supervisor.reload import TAKEN_OVER

HASH = keys.declaration(keys.new_key(bytes))
MODELS = """
[models.chat]
model = "demo"
aliases = ["gpt"]
"""


def read(tmp_path: Path, file: str) -> Settings:
    (tmp_path / "spillway.toml").write_text(file + MODELS)
    return configure({}, {}, tmp_path)


def refusal(tmp_path: Path, file: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, file)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_a_word_there_are_tiers_a_ladder_and_no_tenants(tmp_path: Path) -> None:
    settings = read(tmp_path, "")

    assert (settings.tiers, settings.brownout) == (Settings().tiers, Settings().brownout)
    assert settings.tenants == ()


def test_all_of_it_is_read_and_reaches_the_gateways(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        f"""
        [tiers.gold]
        ttft_s = 0.5
        [tiers.basic]
        weight = 0.25
        [tenants.acme]
        tier = "silver"
        weight = 3
        keys = ["{HASH}"]
        requests_per_minute = 60
        request_burst = 6
        tokens_per_minute = 1000
        max_concurrent = 4
        tokens_per_day = 100_000
        models = ["chat"]
        bands = ["interactive", "bulk"]
        default_band = "bulk"
        [tenants.acme.batch]
        max_concurrent = 1
        [tenants."globex.eu"]
        tier = "basic"
        [tenants.plain]
        bands = ["bulk"]
        [admission]
        anonymous_tier = "basic"
        [[brownout]]
        name = "short"
        at = 1
        tiers = ["basic"]
        bands = ["bulk"]
        max_tokens = 16
        """,
    )

    assert settings.tiers["gold"] == TierSettings(ttft_s=0.5, tpot_s=0.1, bulk_ttft_s=10.0, weight=4.0)
    assert list(settings.tiers) == ["gold", "silver", "bronze", "basic"]
    limits = Limits(
        requests_per_minute=60, request_burst=6, tokens_per_minute=1000, max_concurrent=4, tokens_per_day=100_000
    )
    acme = Tenant(
        id="acme",
        tier="silver",
        weight=3.0,
        limits=limits,
        limits_by_kind={Kind.BATCH: Limits(max_concurrent=1)},
        models=("chat",),
        bands=(Band.INTERACTIVE, Band.BULK),
        default_band=Band.BULK,
    )
    assert settings.tenants == (
        TenantSettings(tenant=acme, keys=(HASH,)),
        TenantSettings(tenant=Tenant(id="globex.eu", tier="basic", weight=0.25)),
        TenantSettings(
            tenant=Tenant(id="plain", tier="basic", weight=0.25, bands=(Band.BULK,), default_band=Band.BULK)
        ),
    )
    assert settings.brownout == (BrownoutStep(name="short", at=1.0, tiers=("basic",), bands=("bulk",), max_tokens=16),)
    assert msgspec.json.decode(msgspec.json.encode(settings), type=Settings) == settings


def test_a_ladder_can_have_no_steps(tmp_path: Path) -> None:
    (tmp_path / "spillway.toml").write_text("brownout = []")

    assert configure({}, {}, tmp_path).brownout == ()


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("tenants = 1", "spillway.toml: tenants is 1; it must be a table, written [tenants]"),
        ("[tenants]\nacme = 1", "spillway.toml: tenants.acme is 1; it must be a table, written [tenants.acme]"),
        ("[tenants.Acme]", "spillway.toml: tenants.Acme: the name is 'Acme'; it must be a tenant's name: at most 64"),
        ("[tenants.anonymous]", "it must be another name: 'anonymous' is who asks while no tenant is known"),
        ("[tenants.a]\nrpm = 1", "spillway.toml: tenants.a.rpm is no setting of a tenant; there are: tier, weight"),
        ("[tenants.a.b]", "tenants.a.b is no setting of a tenant; there are: tier"),
        ("[tenants.a]\ntier = 'golt'", "tenants.a.tier names the tier 'golt', which is not there (did you mean gold?)"),
        ("[tenants.a]\ntier = 'x'", "names the tier 'x', which is not there; there are: gold, silver, bronze"),
        ("[tenants.a]\nweight = 0", "tenants.a.weight is 0; it must be a number, from 0.01 to 1000"),
        ("[tenants.a]\nkeys = ['sk-x']", "tenants.a.keys is ['sk-x']; it must be the hash of a key, as `spillway"),
        ("[tenants.a]\nkeys = 'x'", "tenants.a.keys is 'x'; it must be a list, each the hash of a key"),
        ("[tenants.a]\nrequests_per_minute = 0", "tenants.a.requests_per_minute is 0; it must be a whole number, from"),
        ("[tenants.a]\nrequest_burst = 3", "tenants.a.request_burst is 3; it is of requests_per_minute, which must be"),
        ("[tenants.a.chat]\nrequest_burst = 3", "tenants.a.chat.request_burst is 3; it is of requests_per_minute"),
        ("[tenants.a.chat]\ntier = 'gold'", "tenants.a.chat.tier is no setting of a kind of call; there are: requests"),
        ("[tenants.a]\nchat = 3", "tenants.a.chat is no setting of a tenant"),
        (
            "[tenants.a]\nmodels = ['caht']",
            "tenants.a.models names 'caht', which is not the name of a served model (did",
        ),
        ("[tenants.a]\nmodels = ['gpt']", "is not the name of a served model (it is an alias: write 'chat')"),
        (
            "[tenants.a]\nbands = ['fast']",
            "tenants.a.bands is ['fast']; it must be one of: system, interactive, default",
        ),
        ("[tenants.a]\nbands = []", "tenants.a.bands is []; it must name one at least of: system"),
        ("[tenants.a]\ndefault_band = 'fast'", "tenants.a.default_band is 'fast'; it must be one of: system"),
        (
            "[tenants.a]\ndefault_band = 'system'",
            "tenants.a.default_band is 'system'; it must be one of the tenant's bands: interactive, default, bulk",
        ),
        ("[tiers.Gold]", "tiers.Gold: the name is 'Gold'; it must be a name: at most 64 small letters"),
        ("[tiers.gold]\nttft = 1", "tiers.gold.ttft is no setting of a tier; there are: ttft_s, tpot_s, bulk_ttft_s"),
        ("[tiers.gold]\nttft_s = 0", "tiers.gold.ttft_s is 0; it must be a number, from 0.001"),
        ("[admission]\nanonymous_tier = 'x'", "admission.anonymous_tier names the tier 'x', which is not there"),
        ("[brownout]\nat = 1", "brownout is {'at': 1}; it must be tables, each written [[brownout]]"),
        ("[[brownout]]\nname = 'x'", "brownout[0] lacks 'at'"),
        ("[[brownout]]\nname = 'x'\nat = 1", "brownout[0] changes nothing; give it max_tokens, single_choice or"),
        ("[[brownout]]\nname = 'x'\nat = -1\n", "brownout[0].at is -1; it must be a number, from 0 to 100"),
        ("[[brownout]]\nname = 'x'\nat = 1\nmax_tokens = 0", "brownout[0].max_tokens is 0; it must be a whole number"),
        ("[[brownout]]\nname = 'x'\nat = 1\nbands = ['x']", "brownout[0].bands is ['x']; it must be one of: system"),
        (
            "[[brownout]]\nname = 'x'\nat = 1\nmax_tokens = 5\ntiers = ['x']",
            "brownout[0].tiers names the tier 'x', which is not there; there are: gold",
        ),
        (
            "[[brownout]]\nname = 'x'\nat = 1\nno_logprobs = true\n[[brownout]]\nname = 'x'\nat = 2\nmax_tokens = 5",
            "two steps of brownout are called 'x'; names must differ",
        ),
        (
            f"[tenants.a]\nkeys = ['{HASH}']\n[tenants.b]\nkeys = ['{HASH}']",
            f"tenants.b.keys names the key {HASH[:8]}, which tenants.a.keys names already",
        ),
        (
            "[[routes]]\nto = 'chat'\ntenant = 'Acme'",
            "routes[0].tenant is 'Acme'; it must be a tenant's name: at most 64 small letters",
        ),
        ("[auth]\njwt_algorithms = ['none']", "auth.jwt_algorithms is ['none']; it must be one of: RS256"),
        ("[auth]\njwt_algorithms = ['RS256', 'HS256']", "auth.jwt_algorithms is ['RS256', 'HS256']; it must be one of"),
        ("[auth]\njwt_jwks = 'http://x/y'", "auth.jwt_jwks is 'http://x/y'; it must be a file, or a URL that starts"),
        (
            "[auth]\njwt_jwks = 'keys.json'",
            "auth.jwt_jwks is given without auth.jwt_issuer: no token would be believed",
        ),
        ("[auth]\njwt_audience = 'x'", "auth.jwt_audience is given without auth.jwt_issuer"),
        ("[auth]\njwt_issuer = 'x'", "auth.jwt_issuer is given without auth.jwt_audience; tokens need all three"),
        (
            "[auth]\njwt_issuer = 'x'\njwt_audience = 'y'\njwt_jwks = '/nowhere/keys.json'",
            "auth.jwt_jwks is '/nowhere/keys.json'; it must be a file that can be read (No such file or directory)",
        ),
        (
            "[auth]\njwt_issuer = 'x'\njwt_audience = 'y'\njwt_jwks = 'https://x'\njwt_algorithms = []",
            "auth.jwt_algorithms is empty: no token would be believed",
        ),
    ],
)
def test_what_is_wrong_is_told_by_its_place(tmp_path: Path, file: str, told: str) -> None:
    assert told in refusal(tmp_path, file)


def test_an_issuer_is_read_from_every_source(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.touch()
    flags = {"--auth-jwt-jwks": str(file), "--auth-jwt-algorithms": "ES256,EdDSA"}

    auth = configure(flags, {"SPILLWAY_AUTH_JWT_ISSUER": "i", "SPILLWAY_AUTH_JWT_AUDIENCE": "a"}, tmp_path).auth

    assert (auth.jwt_issuer, auth.jwt_audience, auth.jwt_jwks) == ("i", "a", str(file))
    assert auth.jwt_algorithms == ("ES256", "EdDSA")


def test_a_rule_may_ask_for_a_tenant(tmp_path: Path) -> None:
    rules = read(tmp_path, "[[routes]]\nto = 'chat'\ntenant = 'acme'\n[[routes]]\nto = 'chat'\ntenant = 'anonymous'")

    assert [rule.tenant for rule in rules.routes] == ["acme", "anonymous"]


# ---- who may listen for others ----

OTHERS = "[network]\nhost = '0.0.0.0'\n"


def test_others_may_reach_the_api_where_somebody_is_asked_for_a_key(tmp_path: Path) -> None:
    told = refusal(tmp_path, OTHERS)
    for way in ("`spillway tenants add NAME`", "[tenants.NAME]", "auth.jwt_issuer", "--open"):
        assert way in told

    issuer = "[auth]\njwt_issuer = 'x'\njwt_audience = 'y'\njwt_jwks = 'https://x'"
    for asked in ("[tenants.acme]", issuer, "open = true"):
        assert read(tmp_path, OTHERS + asked).network.host == "0.0.0.0"  # noqa: S104 - it is read, not bound


def test_stored_tenants_are_looked_for_in_the_state_folder(tmp_path: Path) -> None:
    (tmp_path / "spillway.toml").write_text(OTHERS)
    environment = {"XDG_STATE_HOME": str(tmp_path)}
    state = tmp_path / "spillway"
    with pytest.raises(ConfigurationError, match="nobody would be asked for a key"):
        configure({}, environment, tmp_path)
    assert not state.exists(), "looking makes nothing"

    state.mkdir()
    key = changes.new_key(keys.new_key(os.urandom), "acme", now=1.0, expires_at=None)
    with contextlib.closing(Store(state / "tenants.db")) as store:
        store.edit(lambda edit: changes.add(edit, StoredTenant(id="acme", tier="gold"), key), who="ann", now=1.0)
    assert configure({}, environment, tmp_path).network.host == "0.0.0.0"  # noqa: S104 - it is read, not bound
    assert configure({"--state-dir": str(state)}, {}, tmp_path).state_dir == str(state)

    (state / "tenants.db").write_bytes(b"no database, and long enough to be looked at" * 100)
    with pytest.raises(SpillwayError, match="cannot be used"):
        configure({}, environment, tmp_path)


def test_a_hang_up_takes_all_of_it_over() -> None:
    assert {"tiers", "tenants", "brownout", "auth", "admission"} <= TAKEN_OVER
