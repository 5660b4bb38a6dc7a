"""OAuth 2.0 bearer tokens: JWTs of one issuer, verified with its keys. The algorithm is the settings' choice.

::

    token ──▶ verified before? ──yes──▶ is it still its time? ──▶ Verified
                 │ no
                 ▼
    header: alg among the settings', kid among the keys ──not there──▶ the keys may be new: wait for them, or refuse
                 ▼
    PyJWT: signature, issuer, audience, exp, nbf, iat ──▶ claims: tenant, subject

A signature takes tens of microseconds; a token that was verified is remembered by its hash until it expires, and
forgotten when the issuer's keys change: one may have been withdrawn.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import jwt

from spillway.admission.identity.jwks import JwksSource, KeySet
from spillway.settings import AuthSettings

_MOST_BYTES: Final = 16 * 1024
_MOST_REMEMBERED: Final = 8192
_LONGEST_SUBJECT: Final = 128


class RejectedError(Exception):
    """The token is not believed. The reason is for the log and tests, not for who sent it."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What a token says that is believed."""

    tenant_id: str
    subject: str
    """Printable, and at most 128 characters."""
    expires_at: float
    """Seconds since 1970, with the leeway."""


class BearerTokens:
    """Verifies tokens of one issuer."""

    def __init__(self, settings: AuthSettings, source: JwksSource, *, clock: Callable[[], float]) -> None:
        """`clock`: seconds since 1970."""
        self._settings, self._source, self._clock = settings, source, clock
        self._remembered: OrderedDict[bytes, Verified] = OrderedDict()
        self._keys: KeySet = source.keys
        """What the remembered ones were verified with."""

    def verify_now(self, token: str) -> Verified | None:
        """Return what a token says; None if that takes `verify`: its key may be one that was not read yet.

        Raises `RejectedError`.
        """
        if len(token) > _MOST_BYTES:
            raise RejectedError("too long")
        if self._source.keys is not self._keys:
            self._keys = self._source.keys
            self._remembered.clear()
        mark = sha256(token.encode()).digest()
        known = self._remembered.get(mark)
        if known is not None:
            if known.expires_at <= self._clock():
                del self._remembered[mark]
                raise RejectedError("expired")
            self._remembered.move_to_end(mark)
            return known
        verified = self._verify(token)
        if verified is not None:
            self._remembered[mark] = verified
            if len(self._remembered) > _MOST_REMEMBERED:
                self._remembered.popitem(last=False)
        return verified

    async def verify(self, token: str) -> Verified:
        """Return what a token says, after reading the issuer's keys again if that may help. Raises `RejectedError`."""
        verified = self.verify_now(token)
        if verified is None:
            await self._source.refresh()
            verified = self.verify_now(token)
        if verified is None:
            raise RejectedError("unknown key")
        return verified

    def _verify(self, token: str) -> Verified | None:
        try:
            header = jwt.get_unverified_header(token)
            algorithm, kid = header.get("alg"), header.get("kid")
            if algorithm not in self._settings.jwt_algorithms:
                raise RejectedError(f"the algorithm {algorithm!r}")
            key = self._keys.find(kid, algorithm)
            if key is None:
                if self._source.may_help:
                    return None
                raise RejectedError("unknown key")
            claims = jwt.decode(
                token,
                key.material,
                algorithms=[algorithm],
                issuer=self._settings.jwt_issuer,
                audience=self._settings.jwt_audience,
                leeway=self._settings.jwt_leeway_s,
                options={"require": ["exp", "iss", "aud"]},
            )
            return self._believed(claims)
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise RejectedError(f"{type(error).__name__}: {error}") from None

    def _believed(self, claims: Mapping[str, Any]) -> Verified:
        tenant_id = claim(claims, self._settings.jwt_tenant_claim)
        if not isinstance(tenant_id, str):
            raise RejectedError(f"it names no tenant in {self._settings.jwt_tenant_claim!r}")
        subject = claims.get("sub")
        shown = "".join(character if character.isprintable() else "?" for character in str(subject or ""))
        return Verified(
            tenant_id=tenant_id,
            subject=shown[:_LONGEST_SUBJECT],
            expires_at=float(claims["exp"]) + self._settings.jwt_leeway_s,
        )


def claim(claims: Mapping[str, Any], path: str) -> object:
    """Return the claim of that name; or what dots lead to, object by object. None if there is none."""
    if path in claims:  # names may hold dots themselves, as in https://example.com/tenant
        return claims[path]
    found: Any = claims
    for name in path.split("."):
        if not isinstance(found, Mapping) or name not in found:
            return None
        found = found[name]
    return found
