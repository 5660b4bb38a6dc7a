"""How long a client is willing to wait, read from its headers."""

import math
from collections.abc import Iterable
from typing import Final

import msgspec

from spillway.gateway.problems import invalid

_TOTAL: Final = b"x-request-timeout"
_BETWEEN_BYTES: Final = (b"x-stainless-read-timeout", b"x-stainless-timeout")
"""What OpenAI's clients send of their own accord (Python's, JavaScript's)."""


class Patience(msgspec.Struct, frozen=True):
    """Seconds from the request's arrival."""

    whole_s: float
    """Until the answer is complete."""
    first_byte_s: float | None = None
    """Until a stream begins: such a client waits that long for each read, and a stream that flows renews it."""


def patience(headers: Iterable[tuple[bytes, bytes]], *, at_most_s: float) -> Patience:
    """Return the client's patience, or the server's own if that is shorter. Raises `Problem` for what is no time."""
    whole_s = at_most_s
    between_s: float | None = None
    for name, value in headers:
        if name == _TOTAL:
            whole_s = min(whole_s, _seconds(name, value))
        elif name in _BETWEEN_BYTES:
            between_s = min(between_s or math.inf, _seconds(name, value))
    return Patience(whole_s, between_s)


def _seconds(name: bytes, value: bytes) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0.0 < seconds < math.inf:
        said = value[:40].decode("latin-1")
        header = name.decode()
        raise invalid(f"the header {header} is {said!r}; it must be seconds, above 0", header, code="invalid_value")
    return seconds
