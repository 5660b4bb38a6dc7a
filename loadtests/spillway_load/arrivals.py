"""When requests come: renewal processes of unit rate, bent to a curve of the rate. Pure, and the same for a seed.

Gaps of mean 1 are added up, and each sum is mapped to the moment by which so many arrivals are expected of the curve.
With exponential gaps that is the Poisson process of that rate (the time-rescaling theorem); with gamma gaps of a shape
below 1 arrivals come in bursts: their gaps' coefficient of variation is `shape ** -0.5`.
"""

import random
from collections.abc import Callable
from typing import Annotated

import msgspec
from msgspec import Meta

from spillway_load.shapes import Curve, Positive


class _Process(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="process", kw_only=True):
    rate: Positive
    """Requests a second, where the shape's factor is 1."""


class Poisson(_Process, tag="poisson", frozen=True):
    """Requests that know nothing of each other."""


class Gamma(_Process, tag="gamma", frozen=True):
    """Requests that come in bursts."""

    burstiness: Annotated[float, Meta(gt=0, le=100)] = 0.25
    """Shape of the gaps' gamma distribution: 1 is Poisson, less is burstier, more is more even."""


class Even(_Process, tag="even", frozen=True):
    """Requests at equal distances."""


Process = Poisson | Gamma | Even


def gap(process: Process, randomness: random.Random) -> Callable[[], float]:
    """Return what draws the next gap, of mean 1."""
    match process:
        case Poisson():
            return lambda: randomness.expovariate(1.0)
        case Gamma(burstiness=shape):
            return lambda: randomness.gammavariate(shape, 1.0 / shape)
        case Even():
            return lambda: 1.0


def arrivals(process: Process, curve: Curve, randomness: random.Random) -> list[float]:
    """Return the times of all arrivals along the curve, in order, in seconds from its beginning."""
    total = curve.cumulative()[-1]
    draw = gap(process, randomness)
    # a renewal process that was under way before: its first gap is a part of one (for Poisson that changes nothing)
    sums, reached = [], draw() * randomness.random()
    while reached < total:
        sums.append(reached)
        reached += draw()
    return curve.when(sums)
