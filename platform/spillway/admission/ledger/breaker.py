"""When to stop asking Redis, and when to ask again. Pure: signs of the times go in, a state comes out.

::

                 5 errors in 1 s, or 3 timeouts in a row
        CLOSED ─────────────────────────────────────────▶ OPEN ◀──────────┐
           ▲                                               │ probe        │ it fails
           └───────────── it succeeds ──── HALF_OPEN ◀─────┘              │
                                              └───────────────────────────┘

Only a probe of the ledger's own is made while it is open: no request waits to find out.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from tenacity import wait_fixed, wait_random
from tenacity.wait import wait_base

from spillway_wire.states import follow


class State(Enum):
    """Whether Redis is asked."""

    CLOSED = auto()
    OPEN = auto()
    HALF_OPEN = auto()


class Event(Enum):
    """What changes that."""

    TRIP = auto()
    PROBE = auto()
    SUCCEED = auto()
    FAIL = auto()


class Sign(Enum):
    """How one exchange with Redis went."""

    ANSWERED = auto()
    ERROR = auto()
    """Refused, cut off, out of memory, read-only: known at once."""
    TIMEOUT = auto()


TRANSITIONS: Final = {
    (State.CLOSED, Event.TRIP): State.OPEN,
    (State.OPEN, Event.PROBE): State.HALF_OPEN,
    (State.HALF_OPEN, Event.SUCCEED): State.CLOSED,
    (State.HALF_OPEN, Event.FAIL): State.OPEN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """Numbers of the breaker; times in seconds."""

    num_errors: int = 5
    within_s: float = 1.0
    num_timeouts: int = 3
    """In a row, of whole batches: each costs its requests the longest wait there is."""
    probe_wait: wait_base = wait_fixed(1.0) + wait_random(0.0, 0.25)
    """Before each probe; jitter, so that gateways do not come back all at once."""


class Breaker:
    """Follows the signs."""

    def __init__(
        self, policy: BreakerPolicy, *, clock: Callable[[], float], on_change: Callable[[State], None]
    ) -> None:
        """`clock`: monotonic seconds. `on_change` is called after each change of the state."""
        self._policy, self._clock, self._on_change = policy, clock, on_change
        self._errors: deque[float] = deque(maxlen=policy.num_errors)
        self._timeouts = 0
        self.state = State.CLOSED

    @property
    def is_closed(self) -> bool:
        """Whether requests may ask Redis."""
        return self.state is State.CLOSED

    def note(self, sign: Sign) -> None:
        """Take in how an exchange went; what began before the breaker opened says nothing any more."""
        if not self.is_closed:
            return
        if sign is Sign.ANSWERED:
            self._timeouts = 0
            return
        now = self._clock()
        self._errors.append(now)
        self._timeouts = self._timeouts + 1 if sign is Sign.TIMEOUT else 0
        many = len(self._errors) == self._policy.num_errors and now - self._errors[0] <= self._policy.within_s
        if many or self._timeouts >= self._policy.num_timeouts:
            self._follow(Event.TRIP)

    def probe(self) -> None:
        """One probe begins; end it with `probed`. Raises `IllegalTransitionError` if it is not open."""
        self._follow(Event.PROBE)

    def probed(self, *, succeeded: bool) -> None:
        """Say how the probe went."""
        self._errors.clear()
        self._timeouts = 0
        self._follow(Event.SUCCEED if succeeded else Event.FAIL)

    def _follow(self, event: Event) -> None:
        self.state = follow(TRANSITIONS, self.state, event)
        self._on_change(self.state)
