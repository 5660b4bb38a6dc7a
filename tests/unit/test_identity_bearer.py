"""Bearer tokens: what is believed, what is not, and how little the issuer's keys are read for it."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from spillway.admission.contract import Caller, Tenant
from spillway.admission.identity.bearer import BearerTokens, RejectedError, Verified, claim
from spillway.admission.identity.directory import Directory
from spillway.admission.identity.identify import MESSAGE, Identifier
from spillway.admission.identity.jwks import JwksSource
from spillway.pool.contract import Refused
from spillway.settings import AuthSettings, Settings, TenantSettings

EC, OTHER_EC = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)
AUTH = AuthSettings(
    jwt_issuer="https://issuer", jwt_audience="spillway", jwt_jwks="keys.json", jwt_algorithms=("ES256", "RS256")
)
SETTINGS = Settings(auth=AUTH, tenants=(TenantSettings(tenant=Tenant(id="acme", tier="gold")),))


def public(private: Any, kid: str | None, **more: Any) -> dict[str, Any]:
    algorithm = RSAAlgorithm if isinstance(private, rsa.RSAPrivateKey) else ECAlgorithm
    found: dict[str, Any] = json.loads(algorithm.to_jwk(private.public_key()))
    return found | ({} if kid is None else {"kid": kid}) | more


class Issuer:
    """Publishes keys, signs tokens, and counts how often it was asked."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.keys = list(keys) or [public(EC, "one")]
        self.asked = 0
        self.now = 0.0
        self.wall = time.time()
        self.source = JwksSource(self.fetch, 300.0, clock=lambda: self.now, log=lambda *_, **__: None)
        self.tokens = BearerTokens(AUTH, self.source, clock=lambda: self.wall)

    async def fetch(self) -> bytes:
        self.asked += 1
        return json.dumps({"keys": self.keys}).encode()

    def sign(self, private: Any = EC, kid: str | None = "one", algorithm: str = "ES256", **claims: Any) -> str:
        now = int(self.wall)
        said = {"iss": "https://issuer", "aud": "spillway", "exp": now + 60, "tenant": "acme", "sub": "ann"} | claims
        given = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(given, private, algorithm, headers=None if kid is None else {"kid": kid})


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


def verify(issuer: Issuer, token: str) -> Verified:
    return asyncio.run(issuer.tokens.verify(token))


def test_a_token_of_the_issuer_is_believed(issuer: Issuer) -> None:
    assert issuer.tokens.verify_now(issuer.sign()) is None, "no key was read yet"

    found = verify(issuer, issuer.sign())

    assert (found.tenant_id, found.subject) == ("acme", "ann")
    assert found.expires_at == int(issuer.wall) + 60 + 30
    assert verify(issuer, issuer.sign(aud=["other", "spillway"])).tenant_id == "acme"


def wrong(name: str) -> Callable[[Issuer], str]:
    """Tokens that are not believed, by what is wrong with them."""
    day = 86_400
    cases: dict[str, Callable[[Issuer], str]] = {
        "signature": lambda issuer: issuer.sign(OTHER_EC),
        "issuer": lambda issuer: issuer.sign(iss="https://other"),
        "no issuer": lambda issuer: issuer.sign(iss=None),
        "audience": lambda issuer: issuer.sign(aud="other"),
        "no audience": lambda issuer: issuer.sign(aud=None),
        "expired": lambda issuer: issuer.sign(exp=int(issuer.wall) - 31),
        "never expires": lambda issuer: issuer.sign(exp=None),
        "expires at infinity": lambda issuer: issuer.sign(exp=10**400),
        "not yet": lambda issuer: issuer.sign(nbf=int(issuer.wall) + day),
        "issued later": lambda issuer: issuer.sign(iat=int(issuer.wall) + day),
        "no tenant": lambda issuer: issuer.sign(tenant=None),
        "tenant is no text": lambda issuer: issuer.sign(tenant=["acme"]),
        "none": lambda issuer: issuer.sign("", algorithm="none"),
        "symmetric": lambda issuer: issuer.sign("x" * 64, algorithm="HS256"),
        "algorithm not chosen": lambda issuer: issuer.sign(RSA, algorithm="PS256"),
        "kid of another": lambda issuer: issuer.sign(RSA, algorithm="RS256"),
        "unknown kid": lambda issuer: issuer.sign(kid="two"),
        "cut": lambda issuer: issuer.sign()[:-4],
        "changed": lambda issuer: issuer.sign().replace(".", ".e", 1),
        "no token": lambda issuer: "x.y.z",
        "nothing": lambda issuer: "",
        "nested": lambda issuer: jwt.utils.base64url_encode(b"[" * 9000).decode() + ".e30.x",
        "too long": lambda issuer: issuer.sign(more="x" * 20_000),
        "é": lambda issuer: "é.é.é",
    }
    return cases[name]


NAMES = [
    *("signature", "issuer", "no issuer", "audience", "no audience", "expired", "never expires", "expires at infinity"),
    *("not yet", "issued later", "no tenant", "tenant is no text", "none", "symmetric", "algorithm not chosen"),
    *("kid of another", "unknown kid", "cut", "changed", "no token", "nothing", "nested", "too long", "é"),
]


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_token_is_not_believed_and_its_sender_is_told_nothing(issuer: Issuer, name: str) -> None:
    token = wrong(name)(issuer)

    with pytest.raises(RejectedError):
        verify(issuer, token)

    asked = Identifier(Directory.of(SETTINGS), issuer.tokens, is_open=False, clock=lambda: issuer.wall)
    with pytest.raises(Refused) as caught:
        asyncio.run(asked.identify(((b"authorization", b"Bearer " + token.encode("latin-1")),)))
    assert caught.value.message == MESSAGE


def test_a_public_key_is_no_secret_to_sign_with(issuer: Issuer) -> None:
    pem = RSA.public_key().public_bytes(*_pem())
    issuer.keys = [public(RSA, "one")]
    head = jwt.utils.base64url_encode(b'{"alg":"HS256","kid":"one"}')
    body = jwt.utils.base64url_encode(json.dumps(jwt.decode(issuer.sign(), options=_UNVERIFIED)).encode())
    signature = jwt.get_algorithm_by_name("HS256").sign(
        head + b"." + body, pem
    )  # what a confused verifier would accept
    token = b".".join((head, body, jwt.utils.base64url_encode(signature))).decode()

    with pytest.raises(RejectedError, match="the algorithm 'HS256'"):
        verify(issuer, token)


_UNVERIFIED: Any = {"verify_signature": False}


def _pem() -> tuple[Any, Any]:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415

    return Encoding.PEM, PublicFormat.SubjectPublicKeyInfo


def test_clocks_may_differ_by_the_leeway(issuer: Issuer) -> None:
    now = int(issuer.wall)

    assert verify(issuer, issuer.sign(exp=now - 20, nbf=now + 20, iat=now + 20)).subject == "ann"


def test_a_signature_is_checked_once_and_the_token_forgotten_when_it_expires(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    decode = jwt.decode

    def counted(token: str, *rest: Any, **more: Any) -> Any:
        decoded.append(token)
        return decode(token, *rest, **more)

    monkeypatch.setattr(jwt, "decode", counted)
    token = issuer.sign()

    first = verify(issuer, token)
    assert issuer.tokens.verify_now(token) is first
    assert decoded == [token]

    issuer.wall = first.expires_at
    with pytest.raises(RejectedError, match="expired"):
        issuer.tokens.verify_now(token)


def test_verified_tokens_are_forgotten_when_the_issuer_withdraws_a_key(issuer: Issuer) -> None:
    token = issuer.sign()
    verify(issuer, token)

    issuer.keys = [public(OTHER_EC, "two")]
    asyncio.run(issuer.source.refresh())

    with pytest.raises(RejectedError, match="unknown key"):
        issuer.tokens.verify_now(token)


def test_new_keys_are_read_when_a_token_names_one_but_once_in_ten_seconds(issuer: Issuer) -> None:
    verify(issuer, issuer.sign())
    issuer.keys.append(public(OTHER_EC, "two"))
    new = issuer.sign(OTHER_EC, "two")

    with pytest.raises(RejectedError, match="unknown key"):
        issuer.tokens.verify_now(new)
    issuer.now = 10.0
    assert issuer.tokens.verify_now(new) is None
    assert verify(issuer, new).subject == "ann"
    assert issuer.asked == 2
    for number in range(50):
        with pytest.raises(RejectedError):
            verify(issuer, issuer.sign(kid=f"guess-{number}"))
    assert issuer.asked == 2


def test_a_token_without_a_kid_is_verified_with_the_only_key_that_fits() -> None:
    assert verify(Issuer(public(EC, "one"), public(RSA, "two")), Issuer().sign(kid=None)).subject == "ann"
    with pytest.raises(RejectedError, match="unknown key"):
        verify(Issuer(public(EC, "one"), public(OTHER_EC, "two")), Issuer().sign(kid=None))


def test_rsa_tokens_are_believed_where_they_are_chosen() -> None:
    issuer = Issuer(public(RSA, "one", alg="RS256", use="sig"))

    assert verify(issuer, issuer.sign(RSA, algorithm="RS256")).subject == "ann"


def test_the_subject_is_shown_without_what_cannot_be_printed(issuer: Issuer) -> None:
    assert verify(issuer, issuer.sign(sub="a\nb" + "c" * 200)).subject == "a?b" + "c" * 125
    assert verify(issuer, issuer.sign(sub=None)).subject == ""


def test_a_claim_is_found_by_its_name_or_by_a_dotted_path() -> None:
    claims = {"tenant": "a", "org": {"unit": {"id": "b"}}, "https://x.y/tenant": "c", "list": ["d"]}

    assert claim(claims, "tenant") == "a"
    assert claim(claims, "org.unit.id") == "b"
    assert claim(claims, "https://x.y/tenant") == "c"
    for missing in ("nothing", "org.unit.name", "tenant.id", "list.0", "org..id"):
        assert claim(claims, missing) is None


def test_a_token_makes_its_tenant_the_caller_and_keys_stay_valid_beside(issuer: Issuer) -> None:
    asked = Identifier(Directory.of(SETTINGS), issuer.tokens, is_open=False, clock=lambda: issuer.wall)
    header = ((b"authorization", f"Bearer {issuer.sign()}".encode()),)

    assert asked.identify_now(header) is None
    caller = asyncio.run(asked.identify(header))
    assert caller == Caller(tenant=SETTINGS.tenants[0].tenant, key_id="jwt:ann")
    assert asked.identify_now(header) == caller
    for unknown in ("globex", "anonymous"):
        with pytest.raises(Refused, match="Incorrect or missing"):
            asked.identify_now(((b"x-api-key", issuer.sign(tenant=unknown).encode()),))


def test_an_issuer_alone_closes_the_door(issuer: Issuer) -> None:
    asked = Identifier(Directory.of(Settings()), issuer.tokens, is_open=False, clock=lambda: issuer.wall)

    with pytest.raises(Refused):
        asked.identify_now(())
