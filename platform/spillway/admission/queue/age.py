"""How old a queue may get: CoDel, asked of ages instead of lengths, which say the same at every speed.

A queue that empties now and then is a burst being worked off, and does its duty. One that has not emptied for a whole
interval, and from which nothing young has come all that time, only adds its own delay to every request::

    age at dequeue
       │        ╭─╮                   ╭──────────────────── standing: what joins may wait for the target, no longer
       │      ╭─╯ ╰╮    ╭─╮         ╭─╯
       │──────╯────╰────╯─╰─────────╯────────────────────── target
       └─────────────────────────────┬─ interval ─┬───────▶ time
"""

from dataclasses import dataclass
from typing import Final

TARGET_SHARE: Final = 0.1
"""Of the objective that requests have for their first token: what a standing queue may take of it."""
MIN_TARGET_S: Final = 0.02
MIN_INTERVAL_S: Final = 0.1
_GAIN: Final = 1 / 16


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueAge:
    """How old a band's queue is."""

    standing: bool
    """It has not emptied for a whole interval, and nothing that left it was young: a wait that only adds delay."""
    allowed_wait_s: float
    """What something that joins now may wait: an interval while the queue is a burst, the target while it stands."""
    oldest_s: float
    """The age of the oldest that waits now; 0 when nothing does."""


class AgeControl:
    """Of one band's queue. It is told when something joins and leaves, and whether anything is left."""

    def __init__(self) -> None:
        self.prefill_s = 0.0
        """The longest step of the engines: a queue cannot be asked to empty faster than they look at it."""
        self._calm_at: float | None = None
        """When the queue was last empty, or let something go that was young; None: it is empty."""
        self._objective_s: float | None = None

    @property
    def target_s(self) -> float:
        """Return the age below which what leaves is young."""
        share = MIN_TARGET_S if self._objective_s is None else TARGET_SHARE * self._objective_s
        return max(MIN_TARGET_S, share)

    @property
    def interval_s(self) -> float:
        """Return how long a queue may stay old before it stands."""
        return max(MIN_INTERVAL_S, self.prefill_s, self.target_s)

    def joined(self, now: float, objective_s: float | None) -> None:
        """Something waits now that wants its first token within `objective_s`; None: whenever."""
        if self._calm_at is None:
            self._calm_at = now
        if objective_s is not None:
            known = self._objective_s
            self._objective_s = objective_s if known is None else known + _GAIN * (objective_s - known)

    def left(self, now: float, age_s: float, num_left: int) -> None:
        """Something is sent that waited for `age_s`; `num_left` still wait."""
        if num_left == 0:
            self._calm_at = None
        elif age_s < self.target_s:
            self._calm_at = now

    def dropped(self, num_left: int) -> None:
        """Something left without having been sent: that makes no queue younger, but it may have emptied it."""
        if num_left == 0:
            self._calm_at = None

    def look(self, now: float, oldest_s: float) -> QueueAge:
        """Return how it stands now, with `oldest_s` the age of the oldest."""
        standing = self._calm_at is not None and now - self._calm_at >= self.interval_s
        return QueueAge(
            standing=standing,
            allowed_wait_s=self.target_s if standing else self.interval_s,
            oldest_s=oldest_s,
        )
