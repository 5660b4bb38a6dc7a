"""What a place needs of a run (one process with its signs of life), and what a run reports."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from spillway.supervisor.lifecycle import Event
from spillway_wire.messages import LastWords
from spillway_wire.page import Aboard


class Asked(Enum):
    """How a process is asked to end; the later, the harder."""

    DRAIN = 1
    """Finish what it has."""
    STOP = 2
    """Now, in good order."""
    KILL = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What a run leaves behind."""

    status: int
    last_error: str = ""
    words: LastWords | None = None
    aboard: tuple[Aboard, ...] = ()
    """Sequences of the step that ran at the end."""
    served: bool = False
    """Whether it had ever done its work for somebody."""
    kernel_kills: int = 0
    """Processes that the kernel killed for want of memory while it ran."""


class Run(Protocol):
    """One process, from its start on. Every method returns at once."""

    @property
    def pid(self) -> int:
        """Of the process."""

    def ask(self, asked: Asked) -> None:
        """Ask it to end. Asking again, or harder, is allowed."""

    def late(self, now_ns: int) -> str | None:
        """Say why it hangs, by its signs of life, or return None. Asked only of a run that has been ready."""

    def aboard(self) -> tuple[Aboard, ...]:
        """Sequences of the step that runs now."""

    def facts(self) -> dict[str, Any]:
        """What is known of it now: gauges and counters by stable names."""

    def close(self) -> None:
        """Let go of what it held, once it has ended; keep its counters' totals."""


class Signs(Protocol):
    """What a run reports to its place, whose later runs must not be confused with it."""

    def moved(self, event: Event, detail: str = "") -> None:
        """It loads, warms up or drains of its own accord."""

    def ready(self) -> None:
        """It can take work."""

    def ended(self, ended: Ended) -> None:
        """The process is gone. The last report."""


Launch = Callable[[int, Signs], Run]
"""Starts the run of an incarnation, or raises why it cannot, and leaves nothing behind."""
