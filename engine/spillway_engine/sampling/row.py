"""Sampling one row from its logits to its token, and ranges of rows; what a compiled step calls from its threads."""

from typing import Any, NamedTuple

from spillway_engine.compiled import Array, compiled
from spillway_engine.sampling.draw import draw
from spillway_engine.sampling.penalties import add_bias, copy, penalise, suppress
from spillway_engine.sampling.prefix import ANY_TOKEN, keep_count, keep_mass
from spillway_engine.sampling.scan import UNSOUND, scan
from spillway_engine.sampling.weights import REACH, Candidates, fill


class SlotArrays(NamedTuple):
    """What is kept of each sequence in the batch, by slot. The arrays never move."""

    states: Array
    """[slots] of `slots.STATE`."""
    counts: Array
    """[slots, vocab] int32 token counts (see `penalties`); a sequence's row is its state's `counts_row`."""
    bias_ids: Array
    """[slots, MAX_BIASED_TOKENS] int32, the first `num_biases` valid."""
    bias_values: Array
    """The same shape, float32."""
    suppressed_ids: Array
    """[slots, …] int32, the first `num_suppressed` valid: end-of-sequence and stop tokens."""


class Scratch(NamedTuple):
    """Working memory, one row for each calling thread."""

    logits: Array
    """[threads, vocab] float32: logits changed by bias and penalties."""
    distances: Array
    """[threads, vocab] float32."""
    weights: Array
    """[threads, vocab] int32."""
    members: Array
    """[threads, vocab] int32: ids of tokens."""
    nearest: Array
    """[threads, blocks] float32: largest logits, later least distances, of blocks of tokens."""


class RowArrays(NamedTuple):
    """The rows of a step. The arrays never move; rows beyond the step's are stale."""

    slots: Array
    """[rows] int32."""
    positions: Array
    """[rows] int32: output position of the token to sample."""
    token_ids: Array
    """[rows] int32, written by `sample_rows`: the token, or `scan.UNSOUND`."""


@compiled
def _draw_token(candidates: Candidates, logits: Array, top: int, state: Any, position: int) -> int:
    """Temperature, min-p, top-k, top-p, draw. `candidates.nearest` holds the largest logit of each block."""
    fill(candidates, logits, logits[top], state.inverse_temperature)
    limit, last = min(REACH, state.max_distance), ANY_TOKEN
    if state.top_k < logits.size:
        limit, last = keep_count(candidates, limit, state.top_k)
    if state.top_p < 1.0:
        limit, last = keep_mass(candidates, limit, last, state.top_p)
    return draw(candidates, limit, last, position, state.choice, state.seed_low, state.seed_high)


@compiled
def sample_row(logits: Array, slot: int, position: int, slots: SlotArrays, scratch: Scratch, thread: int) -> int:
    """Return the next token of the sequence in `slot` at output position `position`, or `UNSOUND`.

    `logits` is float32 [vocab], contiguous, and is not changed. `thread` chooses the row of `scratch`. The result
    depends on nothing but the logits, the slot's state and the position.
    """
    top = scan(logits, scratch.nearest[thread])
    if top == UNSOUND:
        return UNSOUND
    state = slots.states[slot]
    early = position < state.min_tokens
    adjusted = logits
    if early or state.num_biases > 0 or state.counts_row >= 0:
        adjusted = scratch.logits[thread]
        copy(logits, adjusted)
        add_bias(adjusted, slots.bias_ids[slot, : state.num_biases], slots.bias_values[slot])
        if early:
            suppress(adjusted, slots.suppressed_ids[slot, : state.num_suppressed])
        if state.counts_row >= 0:
            penalise(adjusted, slots.counts[state.counts_row], state.repetition, state.frequency, state.presence)
        top = scan(adjusted, scratch.nearest[thread])
        if top == UNSOUND:
            return UNSOUND
    if state.greedy:
        return top
    candidates = Candidates(
        scratch.distances[thread], scratch.weights[thread], scratch.nearest[thread], scratch.members[thread]
    )
    return _draw_token(candidates, adjusted, top, state, position)


@compiled
def sample_rows(
    logits: Array, vocab_size: int, rows: RowArrays, slots: SlotArrays, scratch: Scratch, first_row: int,
    last_row: int, thread: int,
) -> None:  # fmt: skip
    """Sample rows `first_row` to `last_row` - 1 of `logits`, float32 [rows, vocab_size or more], C-contiguous.

    Threads may call this at the same time with disjoint rows and different `thread`.
    """
    for row in range(first_row, last_row):
        rows.token_ids[row] = sample_row(
            logits[row, :vocab_size], rows.slots[row], rows.positions[row], slots, scratch, thread
        )
