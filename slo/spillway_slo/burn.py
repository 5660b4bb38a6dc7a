"""The arithmetic of error budgets, in one place: rules, `/slo` and reports all get their numbers here.

With the target T (a fraction of good events), the budget is 1 - T, and over any window ::

    error ratio = bad / total      burn rate = error ratio / budget      budget left = 1 - burn rate of the period

All that is written into files is computed in exact fractions: 1 - 0.999 is 0.001 and nothing else.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

WARN_AT: Final = Fraction(4, 5)
"""Of its limit: where a percentile warns."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What a window saw."""

    bad: float
    total: float

    @property
    def ratio(self) -> float | None:
        """The error ratio; None if there was nothing."""
        return min(max(self.bad, 0.0) / self.total, 1.0) if self.total > 0 else None


NOTHING: Final = Counted(0.0, 0.0)


def budget(target: Fraction) -> Fraction:
    """Return the share of events that may be bad."""
    return 1 - target


def threshold(factor: Fraction, target: Fraction) -> Fraction:
    """Return the error ratio above which a window burns at `factor`."""
    return factor * budget(target)


def is_reachable(factor: Fraction, target: Fraction) -> bool:
    """Whether any error ratio can be above the threshold: one of 1 or more never is."""
    return threshold(factor, target) < 1


def events_for_patience(factor: Fraction, target: Fraction) -> int:
    """Return how many events a window must have so that a single bad one is no more than the threshold."""
    return math.ceil(1 / threshold(factor, target))


def burn_rate(ratio: float | None, target: Fraction) -> float | None:
    """Return how fast the budget is spent; 1: exactly all of it in the period. None: nobody asked."""
    return None if ratio is None else ratio / float(budget(target))


def budget_left(ratio: float | None, target: Fraction) -> float:
    """Return what is left of the budget of a period with this error ratio; below 0 it is overspent."""
    return 1.0 - (burn_rate(ratio, target) or 0.0)


def is_burning(
    short: float | None, long: Counted, factor: Fraction, target: Fraction, *, min_failures: int = 1
) -> bool:
    """Whether an alert fires: both windows above the threshold, and enough bad events to speak of.

    A count of bad events comes from a difference of counters, so it is held against half an event less.
    """
    above = float(threshold(factor, target))
    if short is None or long.ratio is None or long.bad <= min_failures - 0.5:
        return False
    return short > above and long.ratio > above


def quantile(q: float, bounds: Sequence[float], cumulative: Sequence[float]) -> float | None:
    """Return the q-quantile of a histogram as Prometheus' `histogram_quantile` does: linear inside a bucket.

    `bounds` are the finite upper bounds, ascending; `cumulative` has one more, for the infinite bucket. What lies there
    is told as the last finite bound. None if nothing was observed.
    """
    total = cumulative[-1]
    if total <= 0:
        return None
    rank = q * total
    for place, bound in enumerate(bounds):
        if cumulative[place] >= rank:
            before = cumulative[place - 1] if place else 0.0
            start = bounds[place - 1] if place else 0.0
            inside = cumulative[place] - before
            return bound if inside <= 0 else start + (bound - start) * (rank - before) / inside
    return bounds[-1]


def passes_warning(value: float | None, limit: float) -> bool:
    """Whether a percentile is above four fifths of its limit."""
    return value is not None and value > float(WARN_AT) * limit


def decimal(value: Fraction) -> str:
    """Write a fraction exactly, as a decimal where it has an end, else as a quotient."""
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    if rest != 1:
        return f"({value.numerator} / {value.denominator})"
    places = 0
    while (value * 10**places).denominator != 1:
        places += 1
    digits = str((value * 10**places).numerator).rjust(places + 1, "0")
    return f"{digits[:-places]}.{digits[-places:]}" if places else digits
