"""How objectives judge a request that has ended: exactly one verdict each, from its outcome and its times.

::

    every arrival ─┬─ excluded                       the client's own doing: not counted anywhere
                   └─ judged ─┬─ shed                refused because of load, at once, with when to come back
                              ├─ left                its client gave up after the first token was overdue
                              └─ accepted ─┬─ failed     an error, before its first token
                                           └─ begun ─┬─ broken   an error after it: a 200 that ends in an error
                                                     ├─ slow     complete, and its tier's objective was missed
                                                     └─ good     complete, and in time

Availability looks at what was accepted, the objective of shedding at what was judged, and so does the good request: to
refuse more, or to lose what is late, makes it no better.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from spillway_wire.outcomes import Outcome


class Verdict(StrEnum):
    """What a request is to objectives; the values of the label `verdict`."""

    GOOD = "good"
    SLOW = "slow"
    BROKEN = "broken"
    FAILED = "failed"
    LEFT = "left"
    SHED = "shed"
    EXCLUDED = "excluded"


BEFORE_FIRST_TOKEN: Final[Mapping[Outcome, Verdict]] = {
    Outcome.COMPLETED: Verdict.GOOD,
    Outcome.INVALID: Verdict.EXCLUDED,
    Outcome.TOO_LARGE: Verdict.EXCLUDED,
    Outcome.UNKNOWN_MODEL: Verdict.EXCLUDED,
    Outcome.UNAUTHENTICATED: Verdict.EXCLUDED,
    Outcome.FORBIDDEN: Verdict.EXCLUDED,
    Outcome.QUOTA: Verdict.EXCLUDED,  # the tenant's own limit: it was told so, and what it had bought it got
    Outcome.OVERLOADED: Verdict.SHED,
    Outcome.DRAINING: Verdict.SHED,
    Outcome.EXPIRED: Verdict.FAILED,  # it was let in, so it was promised
    Outcome.NO_ENGINE: Verdict.FAILED,  # nobody can serve it: an outage, not a choice among requests
    Outcome.ENGINE_FAILED: Verdict.FAILED,
    Outcome.GATEWAY_FAILED: Verdict.FAILED,
    Outcome.INTERNAL: Verdict.FAILED,
    Outcome.CLIENT_GONE: Verdict.EXCLUDED,
    Outcome.SLOW_READER: Verdict.EXCLUDED,
}
"""Of an outcome, the verdict on a request that had no token yet and was not kept waiting."""


def judge(outcome: Outcome, *, begun: bool, missed: bool, overdue: bool) -> Verdict:
    """Return the verdict.

    `begun`: it had its first token. `missed`: it was complete, and later than its tier's objective. `overdue`: it ended
    later than its first token was due.
    """
    verdict = BEFORE_FIRST_TOKEN[outcome]
    if verdict is Verdict.GOOD:
        return Verdict.SLOW if missed else Verdict.GOOD
    if begun and verdict in {Verdict.FAILED, Verdict.SHED}:
        return Verdict.BROKEN
    if outcome is Outcome.CLIENT_GONE and overdue and not begun:
        return Verdict.LEFT
    return verdict
