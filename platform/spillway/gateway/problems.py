"""Every end but a good one, as HTTP: the one table from outcome to status, type and code, and the bodies of errors.

Errors have OpenAI's body, so that its clients understand them; what Spillway knows beyond that (the outcome, which
limit was met and what was measured) stands beside it under `spillway`, and again in headers.
"""

import math
from dataclasses import dataclass
from typing import Final

import msgspec

from spillway.pool.contract import Refused
from spillway_wire.outcomes import Outcome

RETRY_AFTER_S: Final = (1.0, 120.0)
"""OpenAI's clients wait no longer than the upper bound; beyond it they do not come back at all."""

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Kind:
    """How an outcome looks to a client of OpenAI's API."""

    status: int
    type: str
    code: str | None
    retry_after_s: float | None = None
    """Said where the refusal itself does not know better; None: coming back does not help."""


_OVERLOADED: Final = "server_is_overloaded"
_INVALID: Final = "invalid_request_error"

KINDS: Final[dict[Outcome, Kind]] = {
    Outcome.INVALID: Kind(400, _INVALID, None),
    Outcome.TOO_LARGE: Kind(400, _INVALID, "context_length_exceeded"),
    Outcome.UNKNOWN_MODEL: Kind(404, _INVALID, "model_not_found"),
    Outcome.UNAUTHENTICATED: Kind(401, "authentication_error", "invalid_api_key"),
    Outcome.FORBIDDEN: Kind(403, "permission_error", None),
    Outcome.QUOTA: Kind(429, "rate_limit_error", "rate_limit_exceeded"),
    Outcome.OVERLOADED: Kind(429, "rate_limit_error", "slow_down", 1.0),
    Outcome.EXPIRED: Kind(503, "service_unavailable_error", _OVERLOADED, 1.0),
    Outcome.DRAINING: Kind(503, "service_unavailable_error", _OVERLOADED, 1.0),
    Outcome.NO_ENGINE: Kind(503, "service_unavailable_error", _OVERLOADED, 1.0),
    Outcome.ENGINE_FAILED: Kind(500, "server_error", "engine_failed"),
    Outcome.GATEWAY_FAILED: Kind(500, "server_error", "gateway_failed"),
    Outcome.INTERNAL: Kind(500, "server_error", None),
    # nobody is there to read these; a log has to call them something
    Outcome.CLIENT_GONE: Kind(499, _INVALID, "client_gone"),
    Outcome.SLOW_READER: Kind(408, _INVALID, "slow_reader"),
}
"""All outcomes but `completed`."""


class Problem(Exception):  # noqa: N818 - it becomes an answer
    """A request ends here, with an answer that says why."""

    def __init__(
        self,
        outcome: Outcome,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        status: int | None = None,
        retry_after_s: float | None = None,
        should_retry: bool | None = None,
        limit: str | None = None,
        measured: str | None = None,
    ) -> None:
        super().__init__(message)
        kind = KINDS[outcome]
        self.outcome = outcome
        self.message = message
        self.param = param
        self.type = kind.type
        self.code = code or kind.code
        self.status = status or kind.status
        self.retry_after_s = None if should_retry is False else retry_after_s or kind.retry_after_s
        self.should_retry = should_retry
        self.limit = limit
        self.measured = measured

    @classmethod
    def of(cls, refused: Refused) -> "Problem":
        """Translate what the pool says."""
        return cls(
            refused.outcome,
            refused.message,
            retry_after_s=refused.retry_after_s,
            should_retry=refused.should_retry,
            limit=refused.limit,
            measured=refused.measured,
            code=refused.code,
        )


def invalid(message: str, param: str | None = None, *, code: str | None = None) -> Problem:
    """Return the problem of a request that can never succeed as it is."""
    return Problem(Outcome.INVALID, message, param=param, code=code)


class Detail(msgspec.Struct, frozen=True, omit_defaults=True):
    """What Spillway knows beyond OpenAI's four keys."""

    outcome: str
    limit: str | None = None
    """Which limit was met, such as `max_queued_requests=1024`."""
    measured: str | None = None
    """What was measured against it."""


class ErrorObject(msgspec.Struct, frozen=True):
    """OpenAI's error: four keys, always all of them."""

    message: str
    type: str
    param: str | None
    code: str | None
    spillway: Detail | None = None


class ErrorBody(msgspec.Struct, frozen=True):
    """The body of every answer that is an error."""

    error: ErrorObject


def body(problem: Problem) -> bytes:
    """Return the JSON body of an error."""
    detail = Detail(problem.outcome.value, problem.limit, problem.measured)
    return msgspec.json.encode(
        ErrorBody(ErrorObject(problem.message, problem.type, problem.param, problem.code, detail))
    )


def headers(problem: Problem) -> Headers:
    """Return what an error says in headers: outcome, limit, and whether and when to come back."""
    found: Headers = [(b"x-spillway-outcome", problem.outcome.value.encode())]
    if problem.limit is not None:
        found.append((b"x-spillway-limit", _header_value(problem.limit)))
    if problem.measured is not None:
        found.append((b"x-spillway-measured", _header_value(problem.measured)))
    if problem.retry_after_s is not None:
        wait_s = min(max(problem.retry_after_s, RETRY_AFTER_S[0]), RETRY_AFTER_S[1])
        found.append((b"retry-after", b"%d" % math.ceil(wait_s)))
        found.append((b"retry-after-ms", b"%d" % math.ceil(wait_s * 1000)))
    if problem.outcome is Outcome.UNAUTHENTICATED:
        found.append((b"www-authenticate", b"Bearer"))
    if problem.should_retry is not None:
        found.append((b"x-should-retry", b"true" if problem.should_retry else b"false"))
    return found


def _header_value(text: str) -> bytes:
    return "".join(character if " " <= character <= "~" else "?" for character in text).encode("ascii")
