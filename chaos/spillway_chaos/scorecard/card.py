"""The card: points of drills → capabilities → one score, and the change against the last card. Pure.

::

    points of a drill        by its standing, from the table of credit
    score of a capability    sum(contribution x points) / sum(contribution), over the drills that contribute to it
    score                    sum(weight x score of the capability) / sum(weight)
    a drill's gap            what the score would gain if the drill were proven:
                             sum over its capabilities of  weight / sum(weight)
                                                         x contribution / sum(contribution) x (100 - points)

A capability to which no drill contributes scores 0.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from spillway_chaos.drill import Drill
from spillway_chaos.journal import Journal
from spillway_chaos.scorecard import gaps, levels
from spillway_chaos.scorecard.catalogue import CATALOGUE
from spillway_chaos.scorecard.credit import Result, Standing, result_of
from spillway_chaos.scorecard.gaps import Gap
from spillway_chaos.scorecard.levels import Maturity
from spillway_chaos.scorecard.settings import LoopSettings, weights_at

VERSION = 1
FULL = 100.0


class Term(msgspec.Struct, frozen=True, kw_only=True):
    """One drill's part of a capability."""

    drill: str
    contribution: float
    points: float


class Capability(msgspec.Struct, frozen=True, kw_only=True):
    """One of them."""

    name: str
    weight: float
    score: float
    terms: tuple[Term, ...]


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of fault: which drills make it, what it spent, and which alerts told of it."""

    kind: str
    what: str
    drills: tuple[str, ...]
    spent: float
    """Requests that were not good."""
    wanted: tuple[str, ...]
    """Families of objectives of which a page was to fire."""
    paged: tuple[str, ...]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Of one drill, against the last card."""

    drill: str
    before: float
    now: float
    closed: float
    """The part of its gap that was closed; below 0: it grew."""
    verified: bool


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """A whole scorecard."""

    version: int = VERSION
    at: float
    """Unix time."""
    score: float
    capabilities: tuple[Capability, ...]
    results: tuple[Result, ...]
    gaps: tuple[Gap, ...]
    coverage: tuple[Coverage, ...]
    maturity: Maturity
    changes: tuple[Change, ...]
    score_before: float | None
    settings: LoopSettings


def card(
    drills: Sequence[Drill],
    journals: Sequence[Journal],
    settings: LoopSettings,
    *,
    now: float,
    num_games: int = 0,
    before: Card | None = None,
) -> Card:
    """Draw up a card from journals, the oldest first. `num_games`: game days of the last 30 days."""
    today = dt.datetime.fromtimestamp(now, dt.UTC).date()
    results = [
        result_of(drill, [each for each in journals if each.drill == drill.name], settings, now) for drill in drills
    ]
    weights = weights_at(settings, today)
    capabilities = [_capability(name, weight, results, settings) for name, weight in weights.items()]
    total = sum(weights.values())
    score = sum(each.weight * each.score for each in capabilities) / total
    lost = {result.drill: _lost(result, capabilities, total) for result in results}
    coverage = _coverage(drills, results)
    return Card(
        at=now,
        score=score,
        capabilities=tuple(capabilities),
        results=tuple(results),
        gaps=tuple(gaps.ranked(results, lost, [each.kind for each in coverage if not each.drills])),
        coverage=tuple(coverage),
        maturity=levels.maturity(results, coverage, score, num_games=num_games),
        changes=tuple(_changes(results, before, settings)),
        score_before=None if before is None else before.score,
        settings=settings,
    )


def _capability(name: str, weight: float, results: Sequence[Result], settings: LoopSettings) -> Capability:
    terms = tuple(
        Term(
            drill=result.drill,
            contribution=float(getattr(settings.contributions, result.contributions[name])),
            points=result.points,
        )
        for result in results
        if name in result.contributions
    )
    whole = sum(term.contribution for term in terms)
    score = sum(term.contribution * term.points for term in terms) / whole if whole else 0.0
    return Capability(name=name, weight=weight, score=score, terms=terms)


def _lost(result: Result, capabilities: Sequence[Capability], total: float) -> float:
    lost = 0.0
    for capability in capabilities:
        whole = sum(term.contribution for term in capability.terms)
        mine = sum(term.contribution for term in capability.terms if term.drill == result.drill)
        if mine:
            lost += capability.weight / total * mine / whole * (FULL - result.points)
    return lost


def _coverage(drills: Sequence[Drill], results: Sequence[Result]) -> list[Coverage]:
    terms = {drill.name: drill.terms for drill in drills}
    found = []
    for kind, what in CATALOGUE.items():
        of_kind = [result for result in results if kind in result.faults]
        ran = [result for result in of_kind if result.standing is not Standing.NEVER]
        found.append(
            Coverage(
                kind=kind,
                what=what,
                drills=tuple(result.drill for result in of_kind),
                spent=sum(sum(result.bad.values()) for result in ran),
                wanted=_all(terms[result.drill].alerts.fires for result in of_kind),
                paged=_all(result.paged for result in ran),
            )
        )
    return found


def _all(families: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(sorted({name for group in families for name in group}))


def _changes(results: Sequence[Result], before: Card | None, settings: LoopSettings) -> list[Change]:
    if before is None:
        return []
    old: Mapping[str, float] = {result.drill: result.points for result in before.results}
    found = []
    for result in results:
        was = old.get(result.drill)
        if was is None or was == result.points:
            continue
        gap = FULL - was
        closed = (result.points - was) / gap if gap else -1.0
        verified = closed >= settings.improvement.verified_from
        found.append(Change(drill=result.drill, before=was, now=result.points, closed=closed, verified=verified))
    return found
