"""API keys: their form, their hashes, and that a wrong one costs what an unknown one costs."""

import hmac
import os
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from spillway.admission.identity import keys
from spillway.admission.identity.keys import Key


def known(text: str, **more: Any) -> Key:
    public = keys.public_id(text)
    assert public is not None
    return Key(id=public, tenant_id="acme", digest=keys.digest_of(text), **more)


def test_a_key_is_its_prefix_a_public_id_and_256_random_bits() -> None:
    asked: list[int] = []

    def random_bytes(count: int) -> bytes:
        asked.append(count)
        return bytes(range(count))

    text = keys.new_key(random_bytes)

    assert asked == [5, 32]
    assert text.startswith("sk-spill-AAAQEAYE-")
    assert keys.public_id(text) == "AAAQEAYE"
    assert len({keys.new_key(os.urandom) for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: text[:-1],
        lambda text: text + "a",
        lambda text: text.upper(),
        lambda text: text.replace("sk-spill-", "sk-"),
        lambda text: text + "\n",
        lambda text: "sk-spill-" + "É" * 8 + text[17:],
    ],
)
def test_what_has_not_the_form_of_a_key_has_no_id(spoil: Callable[[str], str]) -> None:
    assert keys.public_id(spoil(keys.new_key(os.urandom))) is None


def test_only_the_whole_key_matches() -> None:
    text, other = keys.new_key(os.urandom), keys.new_key(os.urandom)

    assert keys.matches(text, known(text))
    assert not keys.matches(other, known(text))
    assert not keys.matches(text[:-1], known(text))
    assert not keys.matches("\udcff", known(text))
    assert not keys.matches(text, None)
    assert known(text).digest == sha256(text.encode()).digest()


def test_an_unknown_key_is_hashed_and_compared_like_a_wrong_one(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return hmac_compare(one, other)

    hmac_compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", compare)
    text, other = keys.new_key(os.urandom), keys.new_key(os.urandom)

    assert not keys.matches(other, known(text))
    assert not keys.matches(other, None)
    assert compared == [(32, 32), (32, 32)]


def test_a_key_is_valid_until_it_expires_or_is_revoked() -> None:
    text = keys.new_key(os.urandom)

    assert known(text).is_valid(1e12)
    assert known(text, expires_at=100.0).is_valid(99.9)
    assert not known(text, expires_at=100.0).is_valid(100.0)
    assert not known(text, revoked_at=50.0).is_valid(10.0)


def test_a_declaration_can_be_read_back_and_holds_no_secret() -> None:
    text = keys.new_key(os.urandom)

    line = keys.declaration(text)

    assert keys.is_declaration(line)
    assert keys.declared(line, "acme") == known(text)
    assert text.rpartition("-")[2] not in line
    for wrong in ("", line[:-1], line + "0", text, "x" * 8 + line[8:]):
        assert not keys.is_declaration(wrong)
        with pytest.raises(ValueError, match="not the hash"):
            keys.declared(wrong, "acme")
    with pytest.raises(ValueError, match="not an API key"):
        keys.declaration(line)
