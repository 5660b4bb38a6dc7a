"""The running set: who holds a slot, in order of importance."""

from bisect import insort
from collections.abc import Iterable

from spillway_engine.memory.blocks import IntegrityError
from spillway_engine.plan import Row
from spillway_engine.request import Sequence
from spillway_engine.scheduling.waiting import importance


class RunningSet:
    """Sequences with a slot. The most important stands first, the next to be preempted last."""

    def __init__(self, max_num_seqs: int) -> None:
        self._num_slots = max_num_seqs
        self._free_slots = list(range(max_num_seqs - 1, -1, -1))
        self._unseen: dict[Sequence, None] = {}
        self.ordered: list[Sequence] = []
        self.prefilling: dict[Sequence, None] = {}
        """Those with more to compute before they sample; all others decode."""
        self.alone: Sequence | None = None
        """The one that runs with nothing else in the batch, if there is one."""

    def __len__(self) -> int:
        return len(self.ordered)

    def join(self, sequence: Sequence) -> None:
        """Give `sequence` a slot; it has its blocks."""
        sequence.slot = self._free_slots.pop()
        insort(self.ordered, sequence, key=importance)
        self.prefilling[sequence] = None
        self._unseen[sequence] = None
        if sequence.request.alone:
            self.alone = sequence

    def leave(self, sequence: Sequence) -> None:
        """Take the slot back."""
        if sequence.slot is not None:
            self._free_slots.append(sequence.slot)
            sequence.slot = None
        self.ordered.remove(sequence)
        self.prefilling.pop(sequence, None)
        self._unseen.pop(sequence, None)
        if self.alone is sequence:
            self.alone = None

    def prompts(self) -> list[Sequence]:
        """Those of the shared batch that have still to be prefilled, the most important first."""
        return sorted((s for s in self.prefilling if s is not self.alone), key=importance)

    def joined(self, rows: Iterable[Row]) -> tuple[Sequence, ...]:
        """Sequences of `rows` whose slot the runner does not know yet."""
        if not self._unseen:
            return ()
        return tuple(row.sequence for row in rows if row.sequence in self._unseen)

    def seen(self, joined: Iterable[Sequence]) -> None:
        """Note that a step ran which told the runner of `joined`."""
        for sequence in joined:
            self._unseen.pop(sequence, None)

    def check_integrity(self) -> None:
        """Raise `IntegrityError` if slots are lost or held twice, or the order is wrong."""
        slots = [*self._free_slots, *(s.slot for s in self.ordered if s.slot is not None)]
        if sorted(slots) != list(range(self._num_slots)):
            raise IntegrityError(f"free and held slots do not make up {self._num_slots}: {sorted(slots)}")
        if sorted(self.ordered, key=importance) != self.ordered:
            raise IntegrityError(f"the running set is out of order: {self.ordered}")
        known = set(self.ordered)
        if not (self.prefilling.keys() <= known and self._unseen.keys() <= known):
            raise IntegrityError("a sequence that left the running set is still in its books")
        if self.alone is not None and self.alone not in known:
            raise IntegrityError(f"{self.alone!r} left and is still said to run alone")
