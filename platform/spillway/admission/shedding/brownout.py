"""Less for some, before nothing for anybody: a declared ladder of steps, climbed as pressure rises, and visible.

Pressure is how much of what is allowed predictions use up, 1.0 where refusals begin. It is averaged over windows of a
quarter of a second. The ladder goes up one step a window while pressure is there, and down one step after five seconds
of calm::

    pressure ▁▃▆█████▆▃▁▁▁▁▁▁▁▁▁▁▁▁
    level    0011233333333333222221…

Where objectives are heeded (`slo.brownout`) a floor holds while they burn: no level is below it.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from spillway.admission.contract import Band
from spillway.settings import BrownoutStep

WINDOW_S: Final = 0.25
SMOOTHING: Final = 0.5
"""Of a window's mean: after four, nineteen parts in twenty of a change are seen."""
CALM_S: Final = 5.0
CALM: Final = 0.9
"""Of the pressure at which a step begins: below that it is calm for that step."""
MOST: Final = 2.0
"""One hopeless request is no more pressure than this."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a request asks for that can be had smaller."""

    max_tokens: int
    choices: int = 1
    logprobs: bool = False


class Degraded(msgspec.Struct, frozen=True, kw_only=True):
    """What it gets, and which steps changed it, for the header `x-spillway-brownout`; none: nothing changed."""

    wish: Wish
    steps: tuple[str, ...] = ()


class Brownout:
    """Of one model."""

    def __init__(self, steps: Sequence[BrownoutStep]) -> None:
        self._steps = tuple(sorted(steps, key=lambda step: step.at))
        self._climbed = self._floor = 0
        self._floor_until = 0.0
        self.pressure = 0.0
        self._window: int | None = None
        self._sum = 0.0
        self._num = 0
        self._calm_s = 0.0

    @property
    def level(self) -> int:
        """How many steps of the ladder, from the bottom, hold now."""
        return min(max(self._climbed, self._floor), len(self._steps))

    def hold(self, steps: int, until: float) -> None:
        """Have at least so many steps hold until then; 0 lets go at once."""
        self._floor, self._floor_until = max(0, steps), until

    @property
    def active(self) -> tuple[str, ...]:
        """The names of the steps that hold."""
        return tuple(step.name for step in self._steps[: self.level])

    def reload(self, steps: Sequence[BrownoutStep]) -> None:
        """Take over another ladder, at the height where the old one was left as far as it goes."""
        self._steps = tuple(sorted(steps, key=lambda step: step.at))
        self._climbed = min(self._climbed, len(self._steps))

    def observe(self, pressure: float, now: float) -> None:
        """Take in one decision: predicted by allowed, and at least 1.0 if it was a refusal."""
        self.advance(now)
        self._sum += min(MOST, pressure)
        self._num += 1

    def advance(self, now: float) -> None:
        """Close the windows that are over; those in which nobody asked had no pressure."""
        if now >= self._floor_until:
            self._floor = 0
        window = int(now // WINDOW_S)
        if self._window is None:
            self._window = window
        most = round(CALM_S / WINDOW_S) * (len(self._steps) + 1)
        for _ in range(min(most, window - self._window)):
            mean = self._sum / self._num if self._num else 0.0
            self._sum, self._num = 0.0, 0
            self.pressure += SMOOTHING * (mean - self.pressure)
            self._move()
        self._window = window

    def _move(self) -> None:
        if self._climbed < len(self._steps) and self.pressure >= self._steps[self._climbed].at:
            self._climbed += 1
            self._calm_s = 0.0
        elif self._climbed and self.pressure < CALM * self._steps[self._climbed - 1].at:
            self._calm_s += WINDOW_S
            if self._calm_s >= CALM_S:
                self._climbed -= 1
                self._calm_s = 0.0
        else:
            self._calm_s = 0.0

    def apply(self, wish: Wish, tier: str, band: Band) -> Degraded:
        """Return what a request of a tier and band gets of its wish now."""
        max_tokens, choices, logprobs = wish.max_tokens, wish.choices, wish.logprobs
        names = []
        for step in self._steps[: self.level]:
            if (step.tiers and tier not in step.tiers) or (step.bands and band.label not in step.bands):
                continue
            before = max_tokens, choices, logprobs
            if step.max_tokens is not None:
                max_tokens = min(max_tokens, step.max_tokens)
            choices = 1 if step.single_choice else choices
            logprobs = logprobs and not step.no_logprobs
            if (max_tokens, choices, logprobs) != before:
                names.append(step.name)
        return Degraded(wish=Wish(max_tokens=max_tokens, choices=choices, logprobs=logprobs), steps=tuple(names))
