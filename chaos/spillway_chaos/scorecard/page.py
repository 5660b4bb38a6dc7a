"""The card for people."""

import datetime as dt
from typing import Final

from spillway_chaos.pages import render
from spillway_chaos.scorecard.card import Card
from spillway_chaos.scorecard.credit import Standing

_SHOWN_GAPS: Final = 12


def page(card: Card) -> str:
    """Return it as HTML."""
    ran = {result.drill for result in card.results if result.standing is not Standing.NEVER}
    return render(
        "scorecard.html.j2",
        card=card,
        at=dt.datetime.fromtimestamp(card.at, dt.UTC).strftime("%d %B %Y, %H:%M UTC"),
        proven=sum(result.standing is Standing.PROVEN for result in card.results),
        broken=sum(result.standing is Standing.BROKEN for result in card.results),
        covered=sum(bool(ran & set(each.drills)) for each in card.coverage),
        families=sorted({name for each in card.coverage for name in (*each.wanted, *each.paged)}),
        shown_gaps=_SHOWN_GAPS,
    )
