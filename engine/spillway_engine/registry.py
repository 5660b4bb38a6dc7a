"""The registry of requests: which are live, and how those ended that are not."""

from collections import Counter

from spillway_engine.ending import finish_of
from spillway_engine.memory.blocks import IntegrityError
from spillway_engine.request import Sequence
from spillway_wire.outcomes import FinishReason, Outcome

Key = tuple[str, str, int]
"""(client id, request id, attempt)."""


class _Live:
    """A request that has not finished: its choices, how many of them go on, and how it will be counted."""

    __slots__ = ("num_unfinished", "outcome", "sequences")

    def __init__(self, sequences: tuple[Sequence, ...]) -> None:
        self.sequences = sequences
        self.num_unfinished = len(sequences)
        self.outcome = Outcome.COMPLETED


class Registry:
    """Knows every request from its acceptance until the last of its choices ends; `received = Σ finished + live`."""

    def __init__(self) -> None:
        self._live: dict[Key, _Live] = {}
        self.received = 0
        self.finished: Counter[str] = Counter()
        """Requests by outcome; a request's is that of its first choice that did not complete, if there is one."""
        self.refused: Counter[str] = Counter()
        """Requests that were never taken, by outcome."""

    def __len__(self) -> int:
        return len(self._live)

    def __contains__(self, key: Key) -> bool:
        return key in self._live

    def open(self, sequences: tuple[Sequence, ...]) -> None:
        """Note a request that was taken."""
        self._live[sequences[0].request.key] = _Live(sequences)
        self.received += 1

    def close(
        self, sequence: Sequence, outcome: Outcome, reason: FinishReason | None = None, message: str = ""
    ) -> None:
        """Set the one `Finish` of a choice; with the last choice the request is finished, and counted.

        Raises `IntegrityError` if the choice has ended before.
        """
        if sequence.finish is not None:
            raise IntegrityError(f"{sequence!r} ends a second time, as {outcome}, after {sequence.finish.outcome}")
        sequence.finish = finish_of(sequence, outcome, reason, message)
        live = self._live[sequence.request.key]
        live.num_unfinished -= 1
        if live.outcome is Outcome.COMPLETED:
            live.outcome = outcome
        if live.num_unfinished == 0:
            del self._live[sequence.request.key]
            self.finished[live.outcome] += 1

    def unfinished(self, key: Key) -> list[Sequence]:
        """Choices of a live request that go on."""
        return [sequence for sequence in self._live[key].sequences if sequence.finish is None]

    def live_keys(self, client_id: str | None = None) -> list[Key]:
        """Live requests, in order of arrival; of one client if it is named."""
        return [key for key in self._live if client_id is None or key[0] == client_id]

    def check_integrity(self, num_scheduled: int) -> None:
        """Raise `IntegrityError` unless arrivals and ends add up, and the scheduler has just the unfinished choices."""
        unfinished = sum(len(self.unfinished(key)) for key in self._live)
        if unfinished != num_scheduled:
            raise IntegrityError(f"{unfinished} choices are unfinished, and the scheduler has {num_scheduled}")
        if self.received != self.finished.total() + len(self._live):
            raise IntegrityError(
                f"{self.received} requests came, {self.finished.total()} ended, {len(self._live)} are live"
            )
