"""What sampling keeps of each sequence in the batch, by slot.

A slot's state is a function of the sequence's parameters and tokens, so a sequence that was preempted, or that comes
from another engine, joins with the state it would have had by staying.
"""

from collections.abc import Sequence as Seq

import numpy as np

from spillway_engine.compiled import Array
from spillway_engine.request import Sequence
from spillway_engine.sampling.noise import natural_log
from spillway_engine.sampling.penalties import SEEN_IN_OUTPUT, SEEN_IN_PROMPT
from spillway_engine.sampling.row import SlotArrays
from spillway_wire.sampling import MAX_BIASED_TOKENS, MAX_STOP_TOKENS, NO_TOP_K, SamplingParams

STATE = np.dtype(
    [
        ("greedy", np.bool_),
        ("inverse_temperature", np.float32),
        ("top_k", np.int64),
        ("top_p", np.float64),
        ("max_distance", np.float32),  # what min_p allows
        ("repetition", np.float32),
        ("frequency", np.float32),
        ("presence", np.float32),
        ("min_tokens", np.int32),
        ("num_biases", np.int32),
        ("num_suppressed", np.int32),
        ("counts_row", np.int32),  # NO_COUNTS: nothing is counted
        ("choice", np.uint32),
        ("seed_low", np.uint32),
        ("seed_high", np.uint32),
    ],
    align=True,
)
"""Parameters of a sequence as kernels want them."""

NO_COUNTS = -1

MIN_TEMPERATURE = 1e-6
"""Temperatures between 0 and this count as this: float32 could not hold larger quotients."""

MIN_REPETITION = 1e-30
"""Repetition penalties below this count as this: zero, as float32 would round them, could make a NaN."""

_ALL = 2**31 - 1


def inverse_temperature(temperature: float) -> np.float32:
    """Return what a positive temperature multiplies distances by."""
    return np.float32(1.0 / max(temperature, MIN_TEMPERATURE))


def max_distance(min_p: float) -> np.float32:
    """Return how far a token may be whose probability is at least `min_p` of the most likely one's."""
    return np.float32(-natural_log(min_p) if min_p > 0.0 else np.inf)


class Slots:
    """The arrays behind `SlotArrays`, and who owns which row of them.

    `counts` is virtual memory until a row is used; rows are handed out last in, first out, so that resident memory
    follows the most penalised sequences ever in the batch at once, not their number.
    """

    def __init__(self, num_slots: int, vocab_size: int, eos_token_ids: Seq[int]) -> None:
        self.arrays = SlotArrays(
            states=np.zeros(num_slots, STATE),
            counts=np.zeros((num_slots, vocab_size), np.int32),
            bias_ids=np.zeros((num_slots, MAX_BIASED_TOKENS), np.int32),
            bias_values=np.zeros((num_slots, MAX_BIASED_TOKENS), np.float32),
            suppressed_ids=np.zeros((num_slots, MAX_STOP_TOKENS + len(eos_token_ids)), np.int32),
        )
        self._eos_token_ids = tuple(eos_token_ids)
        self._states = self.arrays.states
        self._states["counts_row"] = NO_COUNTS
        self._free_rows = list(range(num_slots))
        self.plain = np.ones(num_slots, np.bool_)
        """Whether a slot's sequence is greedy and nothing changes its logits."""

    @property
    def num_counting(self) -> int:
        """Slots that keep token counts."""
        return len(self._states) - len(self._free_rows)

    def join(self, sequence: Sequence) -> None:
        """Build the state of the sequence that got `sequence.slot`, in place of what was there."""
        slot, params = sequence.slot, sequence.params
        if slot is None:
            msg = f"{sequence!r} has no slot"
            raise ValueError(msg)
        self._leave(slot)
        suppressed = sorted({*self._eos_token_ids, *params.stop_token_ids})
        self.arrays.suppressed_ids[slot, : len(suppressed)] = suppressed
        num_biases = len(params.logit_bias)
        if num_biases:
            self.arrays.bias_ids[slot, :num_biases] = list(params.logit_bias.keys())
            self.arrays.bias_values[slot, :num_biases] = list(params.logit_bias.values())
        self._states[slot] = (
            params.greedy,
            1.0 if params.greedy else inverse_temperature(params.temperature),
            _ALL if params.top_k == NO_TOP_K else min(params.top_k, _ALL),
            params.top_p,
            max_distance(params.min_p),
            max(params.repetition_penalty, MIN_REPETITION),
            params.frequency_penalty,
            params.presence_penalty,
            min(params.min_tokens, _ALL),
            num_biases,
            len(suppressed),
            self._count(sequence) if params.penalised else NO_COUNTS,
            sequence.choice,
            params.seed & 0xFFFFFFFF,
            params.seed >> 32,
        )
        self.plain[slot] = _is_plain(params)

    def _count(self, sequence: Sequence) -> int:
        row = self._free_rows.pop()
        counts = self.arrays.counts[row]
        counts[:] = 0
        counts[sequence.tokens[: sequence.num_prompt]] = SEEN_IN_PROMPT
        np.add.at(counts, sequence.tokens[sequence.num_prompt :], SEEN_IN_OUTPUT)
        return row

    def append(self, slots: Array, token_ids: Array) -> None:
        """Count one sampled token for each of these slots, int32 each; slots that keep no counts are passed over."""
        counted = self._states["counts_row"][slots]
        if self.num_counting:
            of = counted != NO_COUNTS
            self.arrays.counts[counted[of], token_ids[of]] += SEEN_IN_OUTPUT

    def _leave(self, slot: int) -> None:
        """Give back the row of counts that the slot's former sequence held."""
        row = int(self._states["counts_row"][slot])
        if row != NO_COUNTS:
            self._states["counts_row"][slot] = NO_COUNTS
            self._free_rows.append(row)


def _is_plain(params: SamplingParams) -> bool:
    return params.greedy and not (params.penalised or params.logit_bias or params.min_tokens)
