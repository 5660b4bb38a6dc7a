"""Brownout follows the burn: while objectives that load can break page somebody, some steps of the ladder hold.

Load itself is seen by gateways within a second, and they climb by themselves. What they do not see is that budgets
burn: that requests are late although each was predicted in time, or that too many are refused. Less for some is then
better than a broken promise, until the alert clears. What breaks for other reasons, such as
engines that die, is not helped by it.
"""

import time
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from spillway_slo.evaluate import Standing
from spillway_wire.plane import BrownoutFloor

STEPS: Final = {"page-slow": 1, "page-quick": 2}
"""Of the ladder, by the alert that fires; what lies above is for pressure alone to climb."""
FAMILIES: Final = frozenset(
    {"time-to-first-token", "time-per-output-token", "end-to-end", "short-request", "shed", "good-request", "capacity"}
)
"""Indicators of objectives that serving less can mend."""
REPEAT_S: Final = 2.0
HOLD_S: Final = 10.0
"""A floor that is not said again for so long is none any more."""


def floor_of(standings: Iterable[Standing]) -> int:
    """Return how many steps objectives ask for."""
    steps = 0
    for standing in standings:
        objective = standing.objective
        if objective.family in FAMILIES:
            for window in objective.policies:
                if standing.burning[objective.alert_name(window)]:
                    steps = max(steps, STEPS.get(window.name, 0))
    return steps


class BrownoutFollower:
    """Says the floor: when it changes, and again while there is one. `is_on` may be set to something else."""

    def __init__(
        self,
        send: Callable[[msgspec.Struct], object],
        *,
        is_on: bool,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._send, self.is_on, self._clock_ns = send, is_on, clock_ns
        self._said, self._said_ns = 0, 0

    def judged(self, standings: Iterable[Standing]) -> None:
        """Take in how objectives stand."""
        steps, now_ns = floor_of(standings) if self.is_on else 0, self._clock_ns()
        is_due = steps > 0 and now_ns - self._said_ns >= REPEAT_S * 1e9
        if steps != self._said or is_due:
            self._send(BrownoutFloor(steps=steps, until_ns=now_ns + int(HOLD_S * 1e9)))
            self._said, self._said_ns = steps, now_ns
