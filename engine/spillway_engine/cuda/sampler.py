"""The host's half of sampling on the device: what is kept of each slot, and the words of a step's rows.

The rule is that of `spillway_engine.sampling`; the slots' state is built by the same code as the CPU's
(`sampling.slots`). What a row needs travels with each step. Biases, suppressed tokens and token counts are large and
rarely wanted: they go to the device once, when a sequence that wants them gets its slot.
"""

from collections.abc import Sequence as Seq

import numpy as np

from spillway_engine.compiled import Array
from spillway_engine.cuda import words as w
from spillway_engine.cuda.choosing import Choosing
from spillway_engine.cuda.device import Device
from spillway_engine.cuda.ring import Ring
from spillway_engine.request import Sequence
from spillway_engine.sampling.slots import NO_COUNTS, Slots

NO_LOGPROBS = -1
_DEPTH = 4
"""Sequences that may join while copies for those before them are still queued."""


class DeviceSampler:
    """Knows the slots; fills in the words that kernels read."""

    def __init__(self, device: Device, choosing: Choosing, max_num_seqs: int, vocab_size: int, eos: Seq[int]) -> None:
        self._device, self._choosing = device, choosing
        self._slots = Slots(max_num_seqs, vocab_size, eos)
        self._spare = max_num_seqs
        self._num_logprobs = np.full(max_num_seqs, NO_LOGPROBS, np.int32)
        room = vocab_size + choosing.bias_ids.shape[1] * 2 + choosing.suppressed_ids.shape[1] + 1
        self._staging = Ring(device, [device.pinned((room,), np.int32) for _ in range(_DEPTH)])

    def join(self, sequence: Sequence) -> None:
        """Take in a sequence that got a slot; the slot's former sequence is forgotten."""
        self._slots.join(sequence)
        slot = sequence.slot
        assert slot is not None  # noqa: S101 - `Slots.join` has seen to it
        params = sequence.params
        self._num_logprobs[slot] = NO_LOGPROBS if params.logprobs is None else params.logprobs
        if params.penalised or params.logit_bias or params.min_tokens:
            self._send(slot, sequence.num_output)

    def _send(self, slot: int, num_output: int) -> None:
        """Copy what the device keeps of a slot."""
        arrays, choosing = self._slots.arrays, self._choosing
        counts_row = int(arrays.states["counts_row"][slot])
        staged, at = self._staging.take(), 0
        pairs = [
            (choosing.bias_ids[slot], arrays.bias_ids[slot]),
            (choosing.bias_values[slot], arrays.bias_values[slot]),
            (choosing.suppressed_ids[slot], arrays.suppressed_ids[slot]),
            (choosing.counted[slot : slot + 1], np.array([num_output], np.int32)),
        ]
        if counts_row != NO_COUNTS:
            pairs.append((choosing.counts[counts_row], arrays.counts[counts_row]))
        for target, source in pairs:
            piece = staged[at : at + source.size].view(source.dtype)
            piece[:] = source
            self._device.copy_in(target, piece)
            at += source.size
        self._staging.lend()

    def fill(self, words: Array, slots: Array, positions: Array) -> None:
        """Write the words of rows that sample for `slots` at output `positions`; what is left of `words` does nothing.

        `words` is flat int32. Rows without a sequence sample greedily for a slot that is nobody's.
        """
        rows = words.reshape(-1, w.WORDS)
        idle_words(rows[len(slots) :], self._spare)
        rows = rows[: len(slots)]
        state = self._slots.arrays.states[slots]
        suppresses = positions < state["min_tokens"]
        rows[:, w.SLOT] = slots
        rows[:, w.POSITION] = positions
        rows[:, w.CHANGED] = suppresses | (state["num_biases"] > 0) | (state["counts_row"] != NO_COUNTS)
        rows[:, w.SUPPRESSES] = suppresses
        rows[:, w.NUM_BIASES] = state["num_biases"]
        rows[:, w.NUM_SUPPRESSED] = state["num_suppressed"]
        rows[:, w.COUNTS_ROW] = state["counts_row"]
        rows[:, w.GREEDY] = state["greedy"]
        rows[:, w.TOP_K] = state["top_k"]
        rows[:, w.NUM_LOGPROBS] = self._num_logprobs[slots]
        for which, field in _BY_BITS:
            rows[:, which] = np.ascontiguousarray(state[field]).view(np.int32)
        rows[:, w.TOP_P_LOW : w.TOP_P_HIGH + 1] = np.ascontiguousarray(state["top_p"]).view(np.int32).reshape(-1, 2)


_BY_BITS = (
    (w.INVERSE_TEMPERATURE, "inverse_temperature"),
    (w.MAX_DISTANCE, "max_distance"),
    (w.REPETITION, "repetition"),
    (w.FREQUENCY, "frequency"),
    (w.PRESENCE, "presence"),
    (w.CHOICE, "choice"),
    (w.SEED_LOW, "seed_low"),
    (w.SEED_HIGH, "seed_high"),
)


def idle_words(rows: Array, slot: int, num_logprobs: int = NO_LOGPROBS) -> None:
    """Write rows, [rows, WORDS], that sample greedily for `slot` and change nothing."""
    rows[:] = 0
    rows[:, w.SLOT] = slot
    rows[:, w.COUNTS_ROW] = NO_COUNTS
    rows[:, w.GREEDY] = 1
    rows[:, w.NUM_LOGPROBS] = num_logprobs
