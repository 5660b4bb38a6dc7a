"""Headers become a caller, or one refusal that tells nothing; and what a caller may use.

==========================  ====================  ==================  =====================================
who is known                no credential         a right one         a wrong one
==========================  ====================  ==================  =====================================
no tenant and no issuer     anonymous             anonymous           anonymous: clients always send some
any                         401                   its tenant          401
any, and `network.open`     anonymous             its tenant          401
==========================  ====================  ==================  =====================================

Wrong, malformed, unknown, expired and revoked credentials, and those of a tenant that is disabled or not there, get the
same answer in the same time, as nearly as one can tell: whoever guesses learns nothing.
"""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

from spillway.admission.contract import Band, Caller, Tenant
from spillway.admission.identity import keys
from spillway.admission.identity.directory import Directory
from spillway.pool.contract import Refused
from spillway_wire.outcomes import Outcome

if TYPE_CHECKING:
    from spillway.admission.identity.bearer import BearerTokens, Verified

Headers = Collection[tuple[bytes, bytes]]
"""As ASGI gives them: names in small letters."""
MESSAGE: Final = "Incorrect or missing API key. Send one as `Authorization: Bearer KEY`."
_SCHEME: Final = "bearer"


def _unauthenticated() -> Refused:
    return Refused(Outcome.UNAUTHENTICATED, MESSAGE)


class Identifier:
    """Tells who asks. `directory` and `bearer` may be replaced at any time; requests to come are told by the new."""

    def __init__(
        self, directory: Directory, bearer: "BearerTokens | None", *, is_open: bool, clock: Callable[[], float]
    ) -> None:
        """`is_open`: the setting `network.open`. `clock`: seconds since 1970."""
        self.directory = directory
        self.bearer = bearer
        self.is_open = is_open
        self._clock = clock

    @property
    def needs_credentials(self) -> bool:
        """Whether one has to say who one is, or at least may not say it wrongly."""
        return self.bearer is not None or self.directory.has_tenants

    def identify_now(self, headers: Headers) -> Caller | None:
        """Return who asks, or raise `Refused`; None, seldom, if that takes `identify`: the issuer's keys are wanted."""
        if not self.needs_credentials:
            return self._anonymous()
        text = _credential(headers)
        if text is None:
            if self.is_open:
                return self._anonymous()
            raise _unauthenticated()
        if self.bearer is None or text.startswith(keys.PREFIX):
            return self._by_key(text)
        from spillway.admission.identity.bearer import RejectedError  # noqa: PLC0415 - loaded where tokens are used

        try:
            verified = self.bearer.verify_now(text)
        except RejectedError:
            raise _unauthenticated() from None
        return None if verified is None else self._by_token(verified)

    async def identify(self, headers: Headers) -> Caller:
        """Return who asks, or raise `Refused`; waits only where a token's key is not known yet, and for 2 s at most."""
        caller = self.identify_now(headers)
        if caller is not None:
            return caller
        from spillway.admission.identity.bearer import RejectedError  # noqa: PLC0415 - loaded where tokens are used

        text = _credential(headers)
        if text is None or self.bearer is None:
            raise _unauthenticated()
        try:
            return self._by_token(await self.bearer.verify(text))
        except RejectedError:
            raise _unauthenticated() from None

    def _anonymous(self) -> Caller:
        tenant = self.directory.anonymous
        return Caller(tenant=tenant, key_id=tenant.id)

    def _by_key(self, text: str) -> Caller:
        public = keys.public_id(text)
        known = None if public is None else self.directory.keys.get(public)
        is_right = keys.matches(text, known)
        if known is None or not is_right or not known.is_valid(self._clock()):
            raise _unauthenticated()
        return Caller(tenant=self._enabled(known.tenant_id), key_id=f"key:{known.id}")

    def _by_token(self, verified: "Verified") -> Caller:
        return Caller(tenant=self._enabled(verified.tenant_id), key_id=f"jwt:{verified.subject}")

    def _enabled(self, tenant_id: str) -> Tenant:
        tenant = self.directory.tenants.get(tenant_id)
        if tenant is None or not tenant.enabled:
            raise _unauthenticated()
        return tenant


def _credential(headers: Headers) -> str | None:
    """Return the key or token that was sent; None if none was. Raises `Refused` for what is none, or for two."""
    found: str | None = None
    for name, value in headers:
        if name == b"authorization":
            scheme, _, text = value.decode("latin-1").strip().partition(" ")
            text = text.strip()
            if scheme.lower() != _SCHEME or not text:
                raise _unauthenticated()
        elif name == b"x-api-key":
            text = value.decode("latin-1").strip()
        else:
            continue
        if found not in {None, text}:
            raise _unauthenticated()
        found = text
    return found


# ---- what a caller may use ----


def may_use(tenant: Tenant, model: str) -> bool:
    """Whether a tenant may use the served model of that name; also what `/v1/models` shows it."""
    return not tenant.models or model in tenant.models


def check_model(caller: Caller, model: str) -> None:
    """Raise `Refused` if the caller may not use the served model of that name (aliases resolved)."""
    if not may_use(caller.tenant, model):
        allowed = ", ".join(caller.tenant.models)
        raise Refused(
            Outcome.FORBIDDEN, f"tenant {caller.tenant.id!r} may not use the model {model!r}; it may use: {allowed}"
        )


def check_band(caller: Caller, band: Band) -> None:
    """Raise `Refused` if the caller may not ask for that band."""
    if band not in caller.tenant.bands:
        allowed = ", ".join(each.label for each in caller.tenant.bands)
        raise Refused(
            Outcome.FORBIDDEN,
            f"tenant {caller.tenant.id!r} may not ask for the band {band.label!r}; it may ask for: {allowed}",
        )
