"""Objectives held against what was measured. Pure.

An inexact stream is a miss whatever the objectives say, unless one of them puts up with some. More mistakes of the
model's own than one in fifty answers are a miss, too: then nobody can tell them from the platform's.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from spillway_load import intervals
from spillway_load.errors import Exit
from spillway_load.objectives import (
    ALL,
    InexactObjective,
    LatencyObjective,
    Objective,
    PauseObjective,
    RateObjective,
    ShareObjective,
)
from spillway_load.result import Judged
from spillway_load.series import Series
from spillway_load.summary import exactness, ms, pauses, timeline, tokens_per_s

MISTAKES: Final = 0.02
"""Share of all answers that may be the model's own mistakes, where a campaign says nothing else."""


def judge_all(objectives: Sequence[Objective], series: Series, most_mistakes: float = MISTAKES) -> list[Judged]:
    """Judge all objectives, and the exactness of what was said."""
    judged = [judge(objective, series) for objective in objectives]
    if not any(isinstance(objective, InexactObjective) for objective in objectives):
        judged.append(judge(InexactObjective(at_most=0), series))
    found = exactness(series)
    few = found.mistakes <= most_mistakes * found.checked
    if found.mistakes:
        text = f"the model's own mistakes ≤ {most_mistakes:.0%} of answers"
        judged.append(Judged(text, found.mistakes / max(1, found.checked), None, None, few, certain=True))
    return judged


def judge(objective: Objective, series: Series) -> Judged:
    """Judge one objective."""
    match objective:
        case LatencyObjective():
            return _latency(objective, series)
        case ShareObjective():
            return _share(objective, series)
        case RateObjective():
            return _rate(objective, series)
        case PauseObjective(at_most_ms=limit):
            longest = pauses(series).longest_s * 1000
            text = f"longest pause of a stream ≤ {limit:g} ms"
            return Judged(text, longest, None, None, longest <= limit, certain=True)
        case InexactObjective(at_most=most):
            inexact = exactness(series).inexact
            return Judged(f"inexact streams ≤ {most}", inexact, None, None, inexact <= most, certain=True)


def _tier(tier: str) -> str:
    return "" if tier == ALL else f" of {tier}"


def _latency(objective: LatencyObjective, series: Series) -> Judged:
    sample = series.latency(objective.measure, objective.tier, objective.of)
    found = ms(sample.percentile(objective.percentile))
    low, high = (ms(end) for end in sample.interval(objective.percentile))
    limit = objective.at_most_ms
    is_met = found is not None and found <= limit
    certain = (high is not None and high <= limit) if is_met else (low is not None and low > limit)
    served = " of the served" if objective.of == "served" else ""
    text = f"{objective.measure} p{objective.percentile:g}{_tier(objective.tier)}{served} ≤ {limit:g} ms"
    return Judged(text, found, low, high, is_met, certain, intervals.PERCENTILE_METHOD)


def _share(objective: ShareObjective, series: Series) -> Judged:
    count, of = series.share(objective.measure, objective.tier)
    low, high = (100 * end for end in intervals.share(count, of))
    found = 100 * count / of if of else None
    if objective.at_least is not None:
        limit, sign = objective.at_least, "≥"
        is_met = found is not None and found >= limit
        certain = low >= limit if is_met else high < limit
    else:
        limit, sign = objective.at_most or 0.0, "≤"
        is_met = found is None or found <= limit
        certain = high <= limit if is_met else low > limit
    text = f"{objective.measure}{_tier(objective.tier)} {sign} {limit:g} %"
    return Judged(text, found, low, high, is_met, certain, intervals.SHARE_METHOD)


def _rate(objective: RateObjective, series: Series) -> Judged:
    seconds = timeline(series)
    per_second = [second.good if objective.measure == "good_per_s" else second.tokens for second in seconds]
    low, high = intervals.mean_per_second(per_second)
    good = sum(second.good for second in seconds) / series.seconds if series.seconds else 0.0
    found = good if objective.measure == "good_per_s" else tokens_per_s(series)
    limit = objective.at_least
    is_met = found >= limit
    certain = low >= limit if is_met else high < limit
    return Judged(f"{objective.measure} ≥ {limit:g}", found, low, high, is_met, certain, intervals.RATE_METHOD)


def exit_status(judged: Iterable[Judged], *, is_valid: bool) -> Exit:
    """Return the exit status of a run that took place."""
    if not is_valid:
        return Exit.INVALID
    return Exit.MET if all(each.met for each in judged) else Exit.MISSED
