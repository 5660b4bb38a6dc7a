"""A step's logits before anything is chosen: what requests do to them, and the largest of each block of tokens.

Kernels that follow one another, because a thread sees what another wrote only from one launch to the next::

    count_and_copy   the token sampled last is counted; a row that will change is copied
    bias             the request's own biases and suppressed tokens, in the copy
    scan             penalties, in the copy; the largest logit of each block of either

The parameters of a row are int32 words, the floats among them by their bits (`sampling.words`).
"""

import triton
import triton.language as tl

from spillway_engine.cuda.words import (
    CHANGED,
    COUNTS_ROW,
    FREQUENCY,
    NUM_BIASES,
    NUM_SUPPRESSED,
    POSITION,
    PRESENCE,
    REPETITION,
    SLOT,
    SUPPRESSES,
    WORDS,
)  # fmt: skip

_WORDS = tl.constexpr(WORDS)
_SLOT = tl.constexpr(SLOT)
_POSITION = tl.constexpr(POSITION)
_CHANGED = tl.constexpr(CHANGED)
_COUNTS_ROW = tl.constexpr(COUNTS_ROW)
_REPETITION = tl.constexpr(REPETITION)
_FREQUENCY = tl.constexpr(FREQUENCY)
_PRESENCE = tl.constexpr(PRESENCE)
_NUM_BIASES = tl.constexpr(NUM_BIASES)
_NUM_SUPPRESSED = tl.constexpr(NUM_SUPPRESSED)
_SUPPRESSES = tl.constexpr(SUPPRESSES)


@triton.jit
def word(words, row, which: tl.constexpr):
    """Return a parameter of a row."""
    return tl.load(words + row * _WORDS + which)


@triton.jit
def real(words, row, which: tl.constexpr):
    """Return a parameter that is a float32."""
    return tl.load(words + row * _WORDS + which).to(tl.float32, bitcast=True)


@triton.jit
def row_of(logits, changed, words, row, stride):
    """Return where the logits stand that a row is sampled from."""
    own = logits + row.to(tl.int64) * stride
    copy = changed + row.to(tl.int64) * stride
    return tl.where(word(words, row, _CHANGED) != 0, copy, own)


@triton.jit
def _highest(values):
    """Return the largest of a block; NaN if there is one among them."""
    spoilt = tl.max((values != values).to(tl.int32), 0)  # noqa: PLR0124 - NaN is what differs from itself
    return tl.where(spoilt != 0, float("nan"), tl.max(values, 0))


@triton.jit
def count_and_copy(
    logits, changed, own_tops, words, counts, counted, latest, vocab, stride, num_blocks, BLOCK: tl.constexpr
):  # fmt: skip
    """Count the token that was sampled last, once, and copy a block of a row that will change.

    `counted` [slots] says up to which output position tokens are in `counts`: a step that is run again counts nothing.
    """
    row = tl.program_id(0)
    block = tl.program_id(1)
    if word(words, row, _CHANGED) != 0:
        counts_row = word(words, row, _COUNTS_ROW)
        if (counts_row >= 0) & (block == 0):
            slot = word(words, row, _SLOT)
            position = word(words, row, _POSITION)
            if tl.load(counted + slot) < position:
                at = counts + counts_row.to(tl.int64) * vocab + tl.maximum(tl.load(latest + slot), 0)
                tl.store(at, tl.load(at) + 2)  # penalties.SEEN_IN_OUTPUT
                tl.store(counted + slot, position)
        token = block * BLOCK + tl.arange(0, BLOCK)
        mask = token < vocab
        at = row.to(tl.int64) * stride + token
        values = tl.load(logits + at, mask=mask, other=float("-inf"))
        tl.store(changed + at, values, mask=mask)
        tl.store(own_tops + row * num_blocks + block, _highest(values))


@triton.jit
def bias(
    changed, words, bias_ids, bias_values, suppressed_ids, bias_stride, suppressed_stride, stride, BLOCK: tl.constexpr
):  # fmt: skip
    """Add a request's biases, each to a token of its own; then make its suppressed tokens impossible."""
    row = tl.program_id(0)
    if word(words, row, _CHANGED) != 0:
        slot = word(words, row, _SLOT).to(tl.int64)
        own = changed + row.to(tl.int64) * stride
        lane = tl.arange(0, BLOCK)
        num_suppressed = word(words, row, _NUM_SUPPRESSED) * word(words, row, _SUPPRESSES)
        num_biases = word(words, row, _NUM_BIASES)
        for start in range(0, num_biases, BLOCK):
            mask = start + lane < num_biases
            token = tl.load(bias_ids + slot * bias_stride + start + lane, mask=mask, other=0)
            added = tl.load(bias_values + slot * bias_stride + start + lane, mask=mask, other=0.0)
            value = tl.load(own + token, mask=mask, other=0.0) + added
            # suppressed tokens are written below by other threads: both write the same then
            for index in range(num_suppressed):
                value = tl.where(
                    token == tl.load(suppressed_ids + slot * suppressed_stride + index), float("-inf"), value
                )
            tl.store(own + token, value, mask=mask)
        for start in range(0, num_suppressed, BLOCK):
            mask = start + lane < num_suppressed
            token = tl.load(suppressed_ids + slot * suppressed_stride + start + lane, mask=mask, other=0)
            tl.store(own + token, tl.full([BLOCK], float("-inf"), tl.float32), mask=mask)


@triton.jit
def scan(logits, changed, tops, words, counts, vocab, stride, num_blocks, BLOCK: tl.constexpr):
    """Apply penalties to a block in place (`sampling.penalties.penalise`), and write its largest logit."""
    row = tl.program_id(0)
    block = tl.program_id(1)
    token = block * BLOCK + tl.arange(0, BLOCK)
    mask = token < vocab
    own = row_of(logits, changed, words, row, stride)
    values = tl.load(own + token, mask=mask, other=float("-inf"))
    counts_row = word(words, row, _COUNTS_ROW)
    if counts_row >= 0:
        count = tl.load(counts + counts_row.to(tl.int64) * vocab + token, mask=mask, other=0)
        repetition = real(words, row, _REPETITION)
        divided = tl.div_rn(values, tl.full([BLOCK], 0.0, tl.float32) + repetition)
        scaled = tl.minimum(tl.where(values > 0.0, divided, values * repetition), 3.4028234663852886e38)
        values = tl.where(count != 0, scaled, values)
        values = values - real(words, row, _FREQUENCY) * (count >> 1).to(tl.float32)
        values = values - tl.where(count > 1, real(words, row, _PRESENCE), 0.0)
        tl.store(own + token, values, mask=mask)
    tl.store(tops + row * num_blocks + block, _highest(values))
