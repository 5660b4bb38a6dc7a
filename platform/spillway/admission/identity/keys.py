"""API keys: `sk-spill-<public id>-<secret>`, how they are made, hashed and compared.

The public id finds the key and may be shown; the secret is 256 random bits. Only the SHA-256 of the whole key is kept.
A slow hash (bcrypt, Argon2) makes guessing dear where people choose secrets; nobody guesses 256 random bits at any
speed, and a slow hash would be paid with every request. The public id, different in every key, is its salt.
"""

import base64
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

PREFIX: Final = "sk-spill-"
_ID_BYTES: Final = 5
_SECRET_BYTES: Final = 32
_KEY: Final = re.compile(rf"{PREFIX}([A-Z2-7]{{8}})-[a-z2-7]{{52}}")
_DECLARED: Final = re.compile(r"([A-Z2-7]{8}):([0-9a-f]{64})")
_NOBODYS: Final = bytes(32)
"""Compared with where there is no such key; no text that anybody knows has this hash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What is known of one API key; times in seconds since 1970."""

    id: str
    tenant_id: str
    digest: bytes
    expires_at: float | None = None
    """None: never."""
    revoked_at: float | None = None

    def is_valid(self, now: float) -> bool:
        """Whether it may still be used."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def new_key(random_bytes: Callable[[int], bytes]) -> str:
    """Return a new key. `random_bytes` must be fit for secrets: `os.urandom`."""
    public = _base32(random_bytes(_ID_BYTES))
    return f"{PREFIX}{public}-{_base32(random_bytes(_SECRET_BYTES)).lower()}"


def _base32(data: bytes) -> str:
    return base64.b32encode(data).decode("ascii").rstrip("=")


def public_id(text: str) -> str | None:
    """Return the public id of a key; None if `text` has not the form of one."""
    found = _KEY.fullmatch(text)
    return found[1] if found else None


def digest_of(text: str) -> bytes:
    """Return the hash of a whole key."""
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


def matches(text: str, key: Key | None) -> bool:
    """Whether `text` is that key; takes as long whether it is, is not, or there is none."""
    same = hmac.compare_digest(digest_of(text), _NOBODYS if key is None else key.digest)
    return same and key is not None


def declaration(text: str) -> str:
    """Return what stands for the key `text` in spillway.toml. Raises ValueError if it is no key."""
    public = public_id(text)
    if public is None:
        raise ValueError("not an API key of Spillway")
    return f"{public}:{digest_of(text).hex()}"


def is_declaration(text: str) -> bool:
    """Whether `text` has the form that `declaration` returns."""
    return _DECLARED.fullmatch(text) is not None


def declared(text: str, tenant_id: str) -> Key:
    """Return the key that `declaration` wrote. Raises ValueError if `text` has another form."""
    found = _DECLARED.fullmatch(text)
    if found is None:
        raise ValueError("not the hash of an API key")
    return Key(id=found[1], tenant_id=tenant_id, digest=bytes.fromhex(found[2]))
