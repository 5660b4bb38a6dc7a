"""Maturity, from evidence alone: a level is reached when all of its conditions hold, and all of those below."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from spillway_chaos.judging.statistics import wilson
from spillway_chaos.scorecard.credit import Result, Standing

if TYPE_CHECKING:
    from spillway_chaos.scorecard.card import Coverage

NONE: Final = "none"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What conditions are about."""

    num_drills: int
    num_held: int
    """Proven or held, and not expired."""
    num_proven: int
    num_broken: int
    capabilities_proven: int
    """Capabilities with a proven drill."""
    capabilities: int
    faults: int
    faults_held: int
    """Kinds of faults of which a drill holds."""
    silent: int
    """Kinds of faults that spent budget and were to page, and did not."""
    fewest_runs: int
    """Of any drill."""
    lowest_share: float
    """Lower end of the 95 % interval of the share of runs that held, of the worst drill."""
    score: float
    num_games: int


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """One, and whether it holds."""

    level: str
    text: str
    measured: str
    holds: bool


class Maturity(msgspec.Struct, frozen=True, kw_only=True):
    """The level, and what the next two ask for."""

    level: str
    conditions: tuple[Condition, ...]
    next: tuple[Condition, ...]
    """Those of the next two levels that do not hold yet."""


_Rule = tuple[str, str, Callable[[Facts], str], Callable[[Facts], bool]]
RULES: Final[tuple[_Rule, ...]] = (
    ("basic", "a drill holds", lambda f: f"{f.num_held}", lambda f: f.num_held >= 1),
    ("basic", "four drills were run and concluded", lambda f: f"{f.num_held + f.num_broken}",
     lambda f: f.num_held + f.num_broken >= 4),
    ("advanced", "every capability has a proven drill", lambda f: f"{f.capabilities_proven} of {f.capabilities}",
     lambda f: f.capabilities_proven == f.capabilities),
    ("advanced", "no drill is broken", lambda f: f"{f.num_broken}", lambda f: f.num_broken == 0),
    ("advanced", "eight drills are proven", lambda f: f"{f.num_proven}", lambda f: f.num_proven >= 8),
    ("expert", "of four kinds of faults in five, a drill holds", lambda f: f"{f.faults_held} of {f.faults}",
     lambda f: f.faults_held >= 0.8 * f.faults),
    ("expert", "every fault that was to page did", lambda f: f"{f.silent} did not", lambda f: f.silent == 0),
    ("expert", "the score is at least 80", lambda f: f"{f.score:.0f}", lambda f: f.score >= 80),
    ("leading", "every drill holds", lambda f: f"{f.num_held} of {f.num_drills}", lambda f: f.num_held == f.num_drills),
    ("leading", "each was run three times or more", lambda f: f"{f.fewest_runs} at the fewest",
     lambda f: f.fewest_runs >= 3),
    ("leading", "a game day within 30 days", lambda f: f"{f.num_games}", lambda f: f.num_games >= 1),
    ("reference", "of every kind of fault, a drill holds", lambda f: f"{f.faults_held} of {f.faults}",
     lambda f: f.faults_held == f.faults),
    ("reference", "every drill holds in 80 % of its runs at least, with 95 % confidence",
     lambda f: f"{f.lowest_share:.0%} for the worst", lambda f: f.lowest_share >= 0.8),
    ("reference", "two game days within 30 days", lambda f: f"{f.num_games}", lambda f: f.num_games >= 2),
    ("reference", "the score is at least 95", lambda f: f"{f.score:.0f}", lambda f: f.score >= 95),
)  # fmt: skip
"""Level, condition, what is measured, and whether it holds."""
LEVELS: Final = tuple(dict.fromkeys(rule[0] for rule in RULES))


def maturity(results: "Sequence[Result]", coverage: "Sequence[Coverage]", score: float, *, num_games: int) -> Maturity:
    """Return the level that the evidence shows."""
    facts = facts_of(results, coverage, score, num_games=num_games)
    conditions = [
        Condition(level=level, text=text, measured=said(facts), holds=holds(facts))
        for level, text, said, holds in RULES
    ]
    reached = NONE
    for level in LEVELS:
        if not all(condition.holds for condition in conditions if condition.level == level):
            break
        reached = level
    done = LEVELS.index(reached) + 1 if reached != NONE else 0
    ahead = LEVELS[done : done + 2]
    missing = tuple(each for each in conditions if each.level in ahead and not each.holds)
    return Maturity(level=reached, conditions=tuple(conditions), next=missing)


def facts_of(results: "Sequence[Result]", coverage: "Sequence[Coverage]", score: float, *, num_games: int) -> Facts:
    """Count what conditions are about."""
    held = [each for each in results if each.standing in {Standing.PROVEN, Standing.HELD}]
    proven = [each for each in results if each.standing is Standing.PROVEN]
    capabilities = {name for each in results for name in each.contributions}
    names = {each.drill for each in held}
    return Facts(
        num_drills=len(results),
        num_held=len(held),
        num_proven=len(proven),
        num_broken=sum(each.standing is Standing.BROKEN for each in results),
        capabilities_proven=len({name for each in proven for name in each.contributions}),
        capabilities=len(capabilities),
        faults=len(coverage),
        faults_held=sum(bool(names & set(each.drills)) for each in coverage),
        silent=sum(bool(each.wanted and each.spent and not each.paged) for each in coverage),
        fewest_runs=min((each.runs for each in results), default=0),
        lowest_share=min((wilson(each.held, each.runs)[0] for each in results), default=0.0),
        score=score,
        num_games=num_games,
    )
