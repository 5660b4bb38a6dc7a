"""The claims that this gateway has under way, and where each is held.

::

    asked ──granted──▶ shared ◀──restored── local      shared: Redis has it, with a lease that is renewed
      │                  │ ▲                  ▲        local: Redis does not have it; it was granted here, or is lost
      │            missed│ │found             │        unsure: no answer came; the next renewal tells
      ├──────────────────┼─┼──── not done ────┤
      │                  └─┼──────────────────┤
      └── no answer ──▶ unsure ──missed───────┘

What was granted here is never charged in Redis; what was charged there is never charged again.
"""

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

from spillway.admission.contract import Claim
from spillway.admission.ledger.scripts import Settlement
from spillway_wire.states import follow


class Place(Enum):
    """Where a claim is held."""

    ASKED = auto()
    SHARED = auto()
    UNSURE = auto()
    LOCAL = auto()


class Event(Enum):
    """What is learned of it."""

    GRANTED = auto()
    NOT_DONE = auto()
    NO_ANSWER = auto()
    FOUND = auto()
    MISSED = auto()
    RESTORED = auto()


TRANSITIONS: Final = {
    (Place.ASKED, Event.GRANTED): Place.SHARED,
    (Place.ASKED, Event.NOT_DONE): Place.LOCAL,
    (Place.ASKED, Event.NO_ANSWER): Place.UNSURE,
    (Place.UNSURE, Event.FOUND): Place.SHARED,
    (Place.UNSURE, Event.MISSED): Place.LOCAL,
    (Place.SHARED, Event.FOUND): Place.SHARED,
    (Place.SHARED, Event.MISSED): Place.LOCAL,
    (Place.LOCAL, Event.RESTORED): Place.SHARED,
}


@dataclass(slots=True)
class OpenClaim:
    """One of them."""

    claim: Claim
    place: Place = Place.ASKED
    used: int = 0
    """Tokens so far."""
    leased_until: float = 0.0
    """How long Redis holds it at least, if it does; of the gateway's monotonic clock."""
    is_exempt: bool = True
    """Redis has not charged it."""
    base: int = 0
    """Tokens that Redis is not to be told of: it charged them before it lost the claim."""

    def learn(self, event: Event) -> None:
        """Follow the table. Raises `IllegalTransitionError`."""
        before, self.place = self.place, follow(TRANSITIONS, self.place, event)
        if event in {Event.GRANTED, Event.FOUND} and before is not Place.SHARED:
            self.is_exempt = False
        elif event is Event.MISSED and before is Place.SHARED:
            self.base = self.used

    @property
    def used_there(self) -> int:
        """The tokens that Redis is to know of."""
        return 0 if self.is_exempt else max(0, self.used - self.base)

    @property
    def restoring(self) -> Claim:
        """What is asked of Redis when it does not have the claim: the slot, and what was reserved and is not used."""
        return replace(self.claim, tokens=0 if self.is_exempt else max(0, self.claim.tokens - self.base))

    def settlement(self, actual_tokens: int, *, refund_request: bool) -> Settlement | None:
        """Return what Redis is to be told at the end; None if it has nothing of this claim."""
        if self.place is Place.LOCAL:
            return None
        is_late = self.place in {Place.ASKED, Place.UNSURE}
        is_charged = not self.is_exempt or is_late
        return Settlement(
            tenant_id=self.claim.tenant_id,
            request_id=self.claim.request_id,
            actual_tokens=max(0, actual_tokens - self.base) if is_charged else 0,
            refund_request=refund_request and is_charged,
            is_late=is_late,
        )
