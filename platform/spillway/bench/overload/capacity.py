"""How much goes through: the highest open-loop rate of which at least 95 % is good. The search is pure.

First a closed loop with more and more clients, until more of them get no more through: an upper bound, as nobody waits
in line for long. Then open loops: a rate that is good enough is followed by a higher one, one that is
not by a lower, until the two are within 6 % of each other.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from spillway.errors import SpillwayError

GOOD_SHARE: Final = 0.95
CLIENTS: Final = (8, 16, 32, 64, 128)
GAIN: Final = 1.05
"""More clients that bring less are the last."""
FIRST_SHARE: Final = 0.9
"""Of what the closed loop brought, to begin with."""
STRIDE: Final = 1.25
NEAR: Final = 1.06
MOST_TRIES: Final = 9


class NoCapacityError(SpillwayError):
    """No rate was good enough."""


@dataclass(slots=True)
class Search:
    """Which rate to try next."""

    first: float
    low: float | None = None
    """The highest rate that was good enough."""
    high: float | None = None
    """The lowest that was not."""
    tries: int = 0

    @property
    def is_done(self) -> bool:
        """Whether both are near enough, or it is no use to go on."""
        near = self.low is not None and self.high is not None and self.high / self.low <= NEAR
        return near or self.tries >= MOST_TRIES

    def next(self) -> float:
        """Return the rate to try."""
        if self.low is None:
            return self.first if self.high is None else self.high / STRIDE
        return self.low * STRIDE if self.high is None else math.sqrt(self.low * self.high)

    def note(self, rate: float, good_share: float) -> None:
        """Take in what a rate brought. One that failed below another that did not, by chance, lowers both."""
        self.tries += 1
        if good_share >= GOOD_SHARE:
            self.low = rate if self.low is None else max(self.low, rate)
        else:
            self.high = rate if self.high is None else min(self.high, rate)


@dataclass(frozen=True, slots=True)
class Probe:
    """One rate that was tried."""

    rate: float
    good_share: float
    goodput: float


@dataclass(frozen=True, slots=True)
class Capacity:
    """What was found."""

    rate: float
    """Requests a second."""
    closed_loop: float | None = None
    """Answers a second, with as many clients as bring anything."""
    probes: tuple[Probe, ...] = field(default_factory=tuple)

    @property
    def peak(self) -> float:
        """The highest goodput of any probe that was good enough; the rate itself where nothing was probed."""
        return max((probe.goodput for probe in self.probes if probe.good_share >= GOOD_SHARE), default=self.rate)


def ramp(answers_per_s: Callable[[int], float]) -> float:
    """Return what the closed loop brings at its best; `answers_per_s` measures with so many clients."""
    best = 0.0
    for clients in CLIENTS:
        found = answers_per_s(clients)
        if found < GAIN * best:
            return max(best, found)
        best = found
    return best


def find_capacity(closed_loop: float, probe: Callable[[float], Probe]) -> Capacity:
    """Search for the capacity, given what a closed loop brings. Raises `NoCapacityError`."""
    search, probes = Search(FIRST_SHARE * closed_loop), []
    while not search.is_done:
        found = probe(search.next())
        probes.append(found)
        search.note(found.rate, found.good_share)
    if search.low is None:
        raise NoCapacityError(
            f"no rate down to {probes[-1].rate:.2f} requests a second was {GOOD_SHARE:.0%} good; "
            "give objectives that this machine can hold (--ttft, --tpot)"
        )
    return Capacity(search.low, closed_loop, tuple(probes))
