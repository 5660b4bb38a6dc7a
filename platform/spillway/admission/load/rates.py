"""How often something happens, of late."""

from math import exp
from typing import Final

TAU_S: Final = 3.0
"""Rates are of the last seconds, the older the less."""


class RateMeter:
    """Events per second of late: each counts less with time, and a meter that is young is not taken for a slow one."""

    __slots__ = ("_began", "_sum", "_tau_s", "_when")

    def __init__(self, tau_s: float = TAU_S) -> None:
        self._tau_s = tau_s
        self._began: float | None = None
        self._when = 0.0
        self._sum = 0.0

    def add(self, count: float, now: float) -> None:
        """Count events."""
        if self._began is None:
            self._began = self._when = now
        if now > self._when:
            self._sum *= exp((self._when - now) / self._tau_s)
            self._when = now
        self._sum += count

    def per_s(self, now: float) -> float:
        """Return the rate."""
        if self._began is None:
            return 0.0
        seen = 1.0 - exp(-max(now - self._began, self._tau_s / 10) / self._tau_s)
        return self._sum * exp(min(0.0, self._when - now) / self._tau_s) / (self._tau_s * seen)
