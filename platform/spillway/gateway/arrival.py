"""The one place where arrivals and outcomes are counted: every arrival gets exactly one outcome, whatever happens."""

import asyncio
from types import TracebackType
from typing import Self

from spillway_wire.outcomes import Outcome
from spillway_wire.tally import CLIENTS_DISCONNECTED, TallyWriter


class Arrival:
    """`with` it: one arrival at the beginning, one outcome at the end.

    Whoever ends the body without having settled the outcome has met a fault of ours: `internal` for an exception,
    `gateway_failed` for a cancellation, which is what a server does with requests that it gives up.
    """

    def __init__(self, tally: TallyWriter) -> None:
        self._tally = tally
        self.outcome: Outcome | None = None

    def settle(self, outcome: Outcome) -> None:
        """Set the outcome; the first one counts."""
        if self.outcome is None:
            self.outcome = outcome

    def __enter__(self) -> Self:
        self._tally.arrive()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.outcome is None:
            cancelled = kind is not None and issubclass(kind, asyncio.CancelledError)
            self.outcome = Outcome.GATEWAY_FAILED if cancelled else Outcome.INTERNAL
        self._tally.finish(self.outcome)
        if self.outcome is Outcome.CLIENT_GONE:
            self._tally.add(CLIENTS_DISCONNECTED)
