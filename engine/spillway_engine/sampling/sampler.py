"""The sampler of the CPU path: persistent state by slot, one compiled call for the rows of a step.

::

    join(sequence)                         whenever a sequence gets its slot
    prepare(slots, output_positions)       the rows of this step
    sample_rows(logits, first, last, t)    from one or several threads at once; or `row.sample_rows` with
                                           `rows`, `slots` and `scratch`, from inside a compiled step
    finish(num_rows)                       the tokens, and which rows failed
"""

from collections.abc import Sequence as Seq

import numpy as np

from spillway_engine.compiled import Array
from spillway_engine.request import Sequence
from spillway_engine.sampling.logprobs import UNSOUND_RANK, logprob_row, position_logprobs
from spillway_engine.sampling.row import RowArrays, Scratch, SlotArrays, sample_rows
from spillway_engine.sampling.scan import UNSOUND
from spillway_engine.sampling.slots import Slots
from spillway_engine.sampling.weights import num_blocks
from spillway_wire.messages import PositionLogprobs


class CpuSampler:
    """Chooses the next token of every row, each by its own sequence's parameters (the rule is in the package)."""

    def __init__(
        self, max_num_seqs: int, vocab_size: int, eos_token_ids: Seq[int] = (), *, num_threads: int = 1
    ) -> None:
        self.vocab_size = vocab_size
        self._slots = Slots(max_num_seqs, vocab_size, eos_token_ids)
        self.rows = RowArrays(*(np.zeros(max_num_seqs, np.int32) for _ in RowArrays._fields))
        self.scratch = Scratch(
            logits=np.zeros((num_threads, vocab_size), np.float32),
            distances=np.zeros((num_threads, vocab_size), np.float32),
            weights=np.zeros((num_threads, vocab_size), np.int32),
            members=np.zeros((num_threads, vocab_size), np.int32),
            nearest=np.zeros((num_threads, num_blocks(vocab_size)), np.float32),
        )

    @property
    def slots(self) -> SlotArrays:
        """The per-slot arrays, for compiled callers."""
        return self._slots.arrays

    @property
    def num_counting(self) -> int:
        """Slots that keep token counts for penalties."""
        return self._slots.num_counting

    def join(self, sequence: Sequence) -> None:
        """Take in a sequence that got a slot, with the tokens it has; the slot's former sequence is forgotten."""
        self._slots.join(sequence)

    def prepare(self, slots: Seq[int] | Array, output_positions: Seq[int] | Array) -> bool:
        """Say which slot each row samples for, and at which output position; each slot once.

        Returns whether any row needs more than the largest logit.
        """
        num_rows = len(slots)
        self.rows.slots[:num_rows] = slots
        self.rows.positions[:num_rows] = output_positions
        return not self._slots.plain[self.rows.slots[:num_rows]].all()

    def sample_rows(self, logits: Array, first_row: int, last_row: int, thread: int = 0) -> None:
        """Sample a range of the prepared rows from `logits`: float32 [rows, vocab_size or more], C-contiguous."""
        sample_rows(logits, self.vocab_size, self.rows, self._slots.arrays, self.scratch, first_row, last_row, thread)

    def finish(self, num_rows: int) -> tuple[list[int | None], list[int]]:
        """Return each row's token, None where its logits were unsound, and the indices of those rows.

        Sampled tokens are counted for their sequence's penalties: a row may be finished once.
        """
        sampled = self.rows.token_ids[:num_rows]
        tokens: list[int | None] = sampled.tolist()
        failed = [] if UNSOUND not in tokens else [row for row, token in enumerate(tokens) if token == UNSOUND]
        for row in failed:
            tokens[row] = None
        if self.num_counting:
            sound = sampled != UNSOUND
            self._slots.append(self.rows.slots[:num_rows][sound], sampled[sound])
        return tokens, failed

    def logprobs(self, logits: Array, chosen: int, num_top: int) -> PositionLogprobs | None:
        """Return the log-probability of `chosen` and of the `num_top` most likely tokens; None if the row is unsound.

        `logits` is one row as the model gave it, float32 [vocab_size or more], contiguous.
        """
        token_ids, values = np.empty(1 + num_top, np.int32), np.empty(1 + num_top, np.float64)
        rank, found = logprob_row(logits[: self.vocab_size], chosen, token_ids, values)
        if rank == UNSOUND_RANK:
            return None
        return position_logprobs(token_ids, values, rank, found, num_top)
