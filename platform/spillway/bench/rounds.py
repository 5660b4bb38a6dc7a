"""What stands in between, by asking with it and without it in turns: pure arithmetic on what load runs saw.

::

    round 1    through    direct        the difference of the two is one finding
    round 2    through    direct        another
    …                                   the median of all is what counts

The two of a round follow each other within seconds, so what the machine does besides meets both; and what meets only
one of them spoils one round, which the median leaves out. A round in which something else ran on the core of what is
measured tells of that: it is taken again, and what is left out is decided by the kernel's books, not by the latencies.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, Literal

from spillway.bench.figures import Spread
from spillway.bench.load import Run

MOST_ROBBED: Final = 0.05
"""Share of its time that what is measured may wait for its core in an undisturbed round."""
MOST_TRIES: Final = 4
"""Times as many rounds as are wanted, at most."""

What = Literal["first", "whole"]
"""A field of `load.Timing`: until the first byte or token, or until the end."""


@dataclass(frozen=True, slots=True)
class Round:
    """The same load, once through what is measured and once past it."""

    through: Run
    direct: Run
    robbed: float
    """Share of the run through it in which what is measured could have run, but something else used its core."""

    @property
    def is_undisturbed(self) -> bool:
        """Whether it had its core to itself."""
        return self.robbed <= MOST_ROBBED


def is_enough(rounds: Sequence[Round], wanted: int) -> bool:
    """Whether there are as many undisturbed rounds as wanted, or it is no use to go on."""
    return sum(each.is_undisturbed for each in rounds) >= wanted or len(rounds) >= MOST_TRIES * wanted


def counted(rounds: Sequence[Round], wanted: int) -> tuple[Round, ...]:
    """Return the undisturbed rounds; where there are too few, all: then the figures are those of a busy machine."""
    undisturbed = tuple(each for each in rounds if each.is_undisturbed)
    return undisturbed if len(undisturbed) >= wanted else tuple(rounds)


@dataclass(frozen=True, slots=True)
class Compared:
    """A latency both ways, in milliseconds: medians over the rounds."""

    through: Spread
    direct: Spread
    added_p50: float
    """Median of the rounds' differences, not the difference of the medians; so with p99."""
    added_p99: float


def compare(rounds: Sequence[Round], what: What) -> Compared:
    """Compare one latency over `rounds`, of which there must be at least one, each with at least one right answer."""
    through = [_spread(each.through, what) for each in rounds]
    direct = [_spread(each.direct, what) for each in rounds]
    pairs = list(zip(through, direct, strict=True))
    return Compared(
        _typical(through),
        _typical(direct),
        median(with_it.p50 - without.p50 for with_it, without in pairs),
        median(with_it.p99 - without.p99 for with_it, without in pairs),
    )


def _spread(run: Run, what: What) -> Spread:
    return Spread.of([getattr(timing, what) for timing in run.timings])


def _typical(spreads: Sequence[Spread]) -> Spread:
    """Return each figure's median; the count is of all."""
    return Spread(
        sum(spread.count for spread in spreads),
        *(median(getattr(spread, field) for spread in spreads) for field in ("p50", "p95", "p99", "longest")),
    )
