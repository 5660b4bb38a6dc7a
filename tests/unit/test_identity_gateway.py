"""Identity of one gateway, whole: what the command line changes and what a hang-up brings is heeded."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from spillway.admission.contract import Kind, Tenant
from spillway.admission.identity import changes, keys, refresh
from spillway.admission.identity.database import FILE, StoreError
from spillway.admission.identity.identity import Identity
from spillway.admission.identity.records import StoredTenant
from spillway.admission.identity.store import Store
from spillway.pool.contract import Refused
from spillway.settings import AuthSettings, Settings, TenantSettings

PRIVATE = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of a second is for people; what is waited for here is the change itself."""
    monkeypatch.setattr(refresh, "EVERY_S", 0.001)


@asynccontextmanager
async def identity(folder: Path, settings: Settings, log: Callable[..., None] = print) -> AsyncIterator[Identity]:
    made = Identity(settings, folder, None, log=log)
    try:
        await made.start()
        yield made
    finally:
        await made.close()
        await made.close()


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())


def bearer(text: str) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"authorization", f"Bearer {text}".encode()),)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - another connection writes it
            await asyncio.sleep(0.001)


def edit(folder: Path, change: Callable[[Any], Any]) -> None:
    store = Store(folder / FILE)
    store.edit(change, who="ann", now=1.0)
    store.close()


def test_a_tenant_that_is_made_and_revoked_is_known_without_a_word(tmp_path: Path) -> None:
    text = keys.new_key(os.urandom)
    key = changes.new_key(text, "acme", now=1.0, expires_at=None)

    async def main() -> None:
        async with identity(tmp_path, Settings()) as who:
            assert (await who.identify(())).is_anonymous
            edit(tmp_path, lambda edit: changes.add(edit, StoredTenant(id="acme", tier="gold"), key))
            await until(lambda: who.directory.has_tenants)
            assert (await who.identify(bearer(text))).tenant.id == "acme"
            edit(tmp_path, lambda edit: changes.revoke_key(edit, key.id))
            await until(lambda: who.directory.keys[key.id].revoked_at is not None)
            with pytest.raises(Refused):
                await who.identify(bearer(text))
            assert who.facts()["tenants_version"] == 2.0

    run(main)


def test_a_hang_up_brings_declared_tenants_and_tiers(tmp_path: Path) -> None:
    text = keys.new_key(os.urandom)
    log: list[dict[str, str]] = []
    declared = TenantSettings(tenant=Tenant(id="acme", tier="gold"), keys=(keys.declaration(text),))

    async def main() -> None:
        edit(tmp_path, _add_acme)
        async with identity(tmp_path, Settings(), lambda _, **said: log.append(said)) as who:
            with pytest.raises(Refused):
                await who.identify(bearer(text))
            await who.reload(Settings(tenants=(declared,)))
            assert (await who.identify(bearer(text))).tenant.id == "acme"
            await who.reload(Settings(tenants=(declared,)))
            assert log == [{"note": "tenant acme is stored and declared: the declaration counts"}], "it is told once"

    run(main)


def _add_acme(change: Any) -> None:
    key = changes.new_key(keys.new_key(os.urandom), "acme", now=1.0, expires_at=None)
    changes.add(change, StoredTenant(id="acme", tier="gold"), key)


def issuer(folder: Path) -> AuthSettings:
    public = json.loads(ECAlgorithm.to_jwk(PRIVATE.public_key()))
    (folder / "keys.json").write_text(json.dumps({"keys": [public]}))
    return AuthSettings(jwt_issuer="i", jwt_audience="a", jwt_jwks=str(folder / "keys.json"), jwt_algorithms=("ES256",))


def token() -> str:
    claims = {"iss": "i", "aud": "a", "exp": time.time() + 60, "tenant": "acme", "sub": "ann"}
    return jwt.encode(claims, PRIVATE, "ES256")


def test_an_issuer_is_believed_from_the_start_and_until_it_is_taken_away(tmp_path: Path) -> None:
    acme = (TenantSettings(tenant=Tenant(id="acme", tier="gold")),)
    settings = Settings(auth=issuer(tmp_path), tenants=acme)

    async def main() -> None:
        async with identity(tmp_path, settings) as who:
            caller = who.identify_now(bearer(token()))
            assert caller is not None, "its keys were read before the first request"
            assert (caller.tenant.id, caller.key_id) == ("acme", "jwt:ann")
            assert who.facts()["jwks_keys"] == 1.0
            await who.reload(Settings(tenants=acme))
            with pytest.raises(Refused):
                await who.identify(bearer(token()))
            await who.reload(settings)
            assert (await who.identify(bearer(token()))).tenant.id == "acme"

    run(main)


def test_nobody_comes_in_while_an_issuer_is_exchanged(tmp_path: Path) -> None:
    before, after = issuer(tmp_path), AuthSettings(jwt_issuer="j", jwt_audience="a", jwt_jwks=str(tmp_path / "no.json"))

    async def main() -> None:
        async with identity(tmp_path, Settings(auth=before), lambda *_, **__: None) as who:
            reloading = asyncio.create_task(who.reload(Settings(auth=after)))
            tries = 0
            while not reloading.done():
                with pytest.raises(Refused):
                    who.identify_now(())
                tries += 1
                await asyncio.sleep(0)
            assert tries > 1
            assert who.facts()["jwks_away"] == 1.0

    run(main)


def test_what_was_used_is_in_the_store_after_the_end(tmp_path: Path) -> None:
    async def main() -> None:
        now = time.time()
        async with identity(tmp_path, Settings()) as who:
            who.usage.add("anonymous", Kind.CHAT, 3, 4, now)
        async with identity(tmp_path, Settings()) as again:
            assert again.usage.day_tokens("anonymous") == 7

    run(main)


def test_a_gateway_does_not_start_without_knowing_who_asks(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database, and long enough to be looked at" * 100)

    async def main() -> None:
        with pytest.raises(StoreError, match="file is not a database"):
            async with identity(tmp_path, Settings(), lambda *_, **__: None):
                pass

    run(main)
