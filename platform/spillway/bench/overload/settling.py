"""How long it takes until goodput is what it stays, after the rate has changed at once. Pure.

Good answers a second are few, and their number in one second is chance; the tokens of good answers come at every step.
So what is watched is their rate, over the five seconds that follow a moment::

    tokens/s   mean of the second half ────────────╮
         ▁▂▅███▇██▇████▇███▇████▇███▇████▇██▇██▇██▇██
         │  ╰─ from here on no five seconds have less than 95 % of it, or less than chance may leave
         ╰─ the step

Few requests make five seconds differ by more than 5 % where nothing is amiss. So three standard deviations are allowed,
those of the second half, but never less than 85 %; without that allowance the figure is `strict`.

A dip shorter than a twentieth of the five seconds cannot be seen. Whether the mean is any good is not told here.
"""

import bisect
import itertools
import math
from collections.abc import Iterable
from statistics import pstdev
from typing import Final

from spillway.bench.overload.judging import Fate, ObjectiveOf, judge
from spillway.bench.overload.plan import Run

WINDOW_S: Final = 5.0
GRID_S: Final = 0.25
SHARE: Final = 0.95
DEVIATIONS: Final = 3.0
LEAST: Final = 0.85
"""Chance excuses no more."""


def settled_after_s(tokens: Iterable[tuple[float, float]], seconds: float, *, strict: bool = False) -> float | None:
    """Return how long after the step, at time 0, the rate stays what it is in the second half.

    `tokens` are times and numbers of tokens. Returns None if the rate does not stay there before `seconds` are over, or
    they are too few to tell.
    """
    if seconds < 2 * WINDOW_S:
        return None
    ordered = sorted(tokens)
    times = [time for time, _ in ordered]
    totals = [0.0, *itertools.accumulate(number for _, number in ordered)]

    def rate(begin: float, end: float) -> float:
        return (totals[bisect.bisect_left(times, end)] - totals[bisect.bisect_left(times, begin)]) / (end - begin)

    mean = rate(seconds / 2, seconds)
    if mean <= 0.0:
        return None
    begins = [place * GRID_S for place in range(math.floor((seconds - WINDOW_S) / GRID_S) + 1)]
    rates = [rate(begin, begin + WINDOW_S) for begin in begins]
    enough = SHARE * mean
    if not strict:
        steady = [found for begin, found in zip(begins, rates, strict=True) if begin >= seconds / 2]
        enough = min(enough, max(mean - DEVIATIONS * pstdev(steady), LEAST * mean))
    settled: float | None = None
    for begin, found in zip(reversed(begins), reversed(rates), strict=True):
        if found < enough:
            break
        settled = begin
    return settled


def good_tokens(run: Run, objective_of: ObjectiveOf, since_s: float) -> list[tuple[float, float]]:
    """Return when tokens of good answers came, counted from `since_s`; an event's share of its answer's tokens each."""
    return [
        (at - since_s, record.output_tokens / len(record.events_s))
        for record in run.records
        if judge(record, objective_of(record)) is Fate.GOOD
        for at in record.events_s
    ]
