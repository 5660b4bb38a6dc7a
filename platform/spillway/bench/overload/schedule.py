"""When requests come: Poisson arrivals of a seed, and arrivals whose rate changes at once. Pure.

A Poisson process whose number of arrivals is known is that many independent, uniform times. The number is always
`rate * seconds`, so two minutes at one rate ask for equally much, and only the moments are left to chance.
"""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Phase:
    """A rate, in requests a second, for so long."""

    rate: float
    seconds: float


def arrivals(phases: Sequence[Phase], seed: str) -> list[float]:
    """Return the times of all arrivals, in order; the phases follow one another."""
    randomness = random.Random(seed)
    times: list[float] = []
    began = 0.0
    for phase in phases:
        count = round(phase.rate * phase.seconds)
        times += sorted(began + phase.seconds * randomness.random() for _ in range(count))
        began += phase.seconds
    return times


def merged(schedules: Sequence[Sequence[float]]) -> list[tuple[float, int]]:
    """Return the times of several schedules in order, each with the place of the schedule that it is of."""
    marked = [[(due, place) for due in schedule] for place, schedule in enumerate(schedules)]
    return sorted(itertools.chain.from_iterable(marked))
