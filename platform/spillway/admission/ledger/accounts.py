"""One account: levels that drain, and what is reserved. Pure; times in ms. The twin of `lua/account.lua`.

A level is what was used lately: 0 is an idle account, and it drains at the limit's rate. For requests that is GCRA,
told as (theoretical arrival - now) / period; a level of tokens above the limit is a debt, of one minute's at most.
The arithmetic is done in the same order as in the scripts, so that both come to the same bits.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from spillway.admission.contract import Limits

DAY_MS: Final = 86_400_000
MINUTE_MS: Final = 60_000
EPSILON: Final = 1e-6
"""Of a request or a token: who waits as long as was said is let in."""
NONE: Final = -1
"""No limit, in scripts and accounts."""


def or_none(limit: int | None) -> int:
    """Return a limit as scripts and accounts have it."""
    return NONE if limit is None else limit


@dataclass(slots=True)
class Account:
    """What is kept of one set of limits."""

    at: float
    """The time that the levels are of."""
    day: float
    """The UTC day that `used` is of, counted from 1970."""
    requests: float = 0.0
    tokens: float = 0.0
    used: float = 0.0
    """Tokens of the day, without what is only reserved."""
    held: float = 0.0
    """Tokens that claims reserve."""
    leases: int = 0
    """Claims that are being served."""
    rpm: int = NONE
    tpm: int = NONE

    @classmethod
    def fresh(cls, now: float) -> "Account":
        """Return an account on which nothing has happened."""
        return cls(at=now, day=now // DAY_MS)

    def advance(self, now: float) -> bool:
        """Bring it to `now`; return whether the clock was set back since."""
        went_back = self.at > now
        elapsed = max(0.0, now - self.at)
        self.requests = _drained(self.requests, self.rpm, elapsed)
        self.tokens = _drained(self.tokens, self.tpm, elapsed)
        self.at = now
        today = now // DAY_MS
        if self.day not in {today, today + 1}:  # back over midnight by a little must not give a second budget
            self.day, self.used = today, 0
        return went_back

    def take_limits(self, limits: Limits, used_today: int) -> None:
        """Go by `limits` from here on, and by what the durable store knows of the day."""
        self.rpm, self.tpm = or_none(limits.requests_per_minute), or_none(limits.tokens_per_minute)
        if self.rpm < 0:
            self.requests = 0.0
        if self.tpm < 0:
            self.tokens = 0.0
        self.used = max(self.used, used_today)

    def reserve(self, tokens: int, *, forced: bool) -> None:
        """Put a claim on it. `forced`: it counted as a request before."""
        if not forced:
            self.requests = self.requests + 1 if self.rpm >= 0 else 0.0
        if self.tpm >= 0:
            self.tokens = min(2 * self.tpm, self.tokens + tokens)
        self.held += tokens
        self.leases += 1

    def release(self, reserved: int, actual: int, *, refund_request: bool) -> None:
        """Take a claim off it: what was not used goes back, what was used beyond is owed."""
        if self.tpm >= 0:
            self.tokens = min(2 * self.tpm, max(0.0, self.tokens - reserved + actual))
        if refund_request:
            self.requests = max(0.0, self.requests - 1)
        self.used += actual
        self.held = max(0.0, self.held - reserved)
        self.leases = max(0, self.leases - 1)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on it but, perhaps, the day's use."""
        return self.leases == 0 and self.requests == 0 and self.tokens == 0


def _drained(level: float, limit: int, elapsed: float) -> float:
    return 0.0 if limit < 0 else max(0.0, level - elapsed * limit / MINUTE_MS)


def reset_s(level: float, limit: int) -> float | None:
    """Return after how many seconds a level is drained; None if never."""
    if level <= 0:
        return 0.0
    return level * 60.0 / limit if limit > 0 else None


def tightest(values: Iterable[tuple[int, int, float | None]]) -> tuple[int, int, float | None] | None:
    """Return the (limit, remaining, reset) of which the least remains; None of nothing."""
    return min(values, key=lambda value: value[1], default=None)
