"""Who may use ops: admin endpoints need the admin key always, pages need it where others than this machine can come."""

import hmac

from spillway.gateway.problems import Problem
from spillway_wire.outcomes import Outcome

_SCHEME = "bearer"


class AdminKey:
    """The key, and the question whether a request has it."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def check(self, authorization: str | None) -> None:
        """Raise the problem of a request whose `Authorization` header does not hold the key."""
        if authorization is None:
            raise Problem(
                Outcome.UNAUTHENTICATED,
                "The admin key is missing: send it as `Authorization: Bearer KEY`. It is in admin.key in the state "
                "folder of this instance.",
            )
        scheme, _, given = authorization.partition(" ")
        # compare_digest takes a time that does not tell how much of the key was right.
        if scheme.lower() != _SCHEME or not hmac.compare_digest(given.strip().encode(), self._key):
            raise Problem(Outcome.UNAUTHENTICATED, "That is not the admin key of this instance.")

    def __repr__(self) -> str:
        return "AdminKey(…)"
