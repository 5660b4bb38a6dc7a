"""The plan: by which day which level is to be reached, and whether it was. Pure."""

import datetime as dt
from collections.abc import Sequence

import msgspec

from spillway_chaos.scorecard.card import Card
from spillway_chaos.scorecard.levels import LEVELS, NONE
from spillway_chaos.scorecard.settings import Plan


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """One milestone."""

    name: str
    level: str
    due: dt.date
    reached: dt.date | None
    """By the first card that showed it."""
    status: str
    """`reached`, `late` (reached after its day), `missed`, `ahead` (its day is to come)."""


def progress(plan: Plan, cards: Sequence[Card], today: dt.date) -> list[Progress]:
    """Return how the plan stands, from the cards, the oldest first; it begins with the first card, if not said."""
    begun = plan.begun or (_day(cards[0]) if cards else today)
    found = []
    for milestone in sorted(plan.milestones, key=lambda each: each.day):
        due = begun + dt.timedelta(days=milestone.day)
        reached = next((_day(card) for card in cards if _rank(card.maturity.level) >= _rank(milestone.level)), None)
        if reached is not None:
            status = "reached" if reached <= due else "late"
        else:
            status = "missed" if today > due else "ahead"
        found.append(Progress(name=milestone.name, level=milestone.level, due=due, reached=reached, status=status))
    return found


def _rank(level: str) -> int:
    return -1 if level == NONE else LEVELS.index(level)


def _day(card: Card) -> dt.date:
    return dt.datetime.fromtimestamp(card.at, dt.UTC).date()
