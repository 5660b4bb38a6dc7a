"""Time and chance, as they are passed to whoever decides by them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class Timer(Protocol):
    """Something that can be called off."""

    def cancel(self) -> None:
        """Do not call."""


@dataclass(frozen=True, slots=True)
class World:
    """Time and chance."""

    clock_ns: Callable[[], int]
    """CLOCK_MONOTONIC."""
    wall_s: Callable[[], float]
    """Time of day, for people."""
    call_later: Callable[[float, Callable[[], None]], Timer]
    uniform: Callable[[], float]
    """Draws from 0 to 1."""
