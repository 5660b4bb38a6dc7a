"""How a request can end: one terminal outcome each, set exactly once, and the reason a completed one stopped."""

from enum import StrEnum


class Outcome(StrEnum):
    """The terminal outcomes of a request: metric label, span status, log field and HTTP status all derive from it."""

    COMPLETED = "completed"

    INVALID = "invalid"
    TOO_LARGE = "too_large"
    UNKNOWN_MODEL = "unknown_model"

    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"

    QUOTA = "quota"
    OVERLOADED = "overloaded"
    EXPIRED = "expired"
    DRAINING = "draining"
    NO_ENGINE = "no_engine"

    ENGINE_FAILED = "engine_failed"
    GATEWAY_FAILED = "gateway_failed"
    INTERNAL = "internal"

    CLIENT_GONE = "client_gone"
    SLOW_READER = "slow_reader"


class FinishReason(StrEnum):
    """Why a completed choice stopped. Anything else is no completion and has an `Outcome` of its own."""

    STOP = "stop"
    """An end-of-sequence token or one of the request's stop tokens was sampled."""

    LENGTH = "length"
    """`max_tokens` or the model's context length was reached."""
