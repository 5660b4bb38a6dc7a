"""One pass over a row of logits: is it sound, which token is the largest, and the largest of each block.

Floats are compared as integers that sort the same way (of negative ones all bits but the sign are flipped). Integer
maxima vectorise without permission to ignore NaN, and NaN shows: it sorts above +Inf or below -Inf, by its sign.
"""

import numpy as np

from spillway_engine.compiled import Array, compiled, inlined
from spillway_engine.sampling.weights import BLOCK

UNSOUND = -1
"""Returned in place of a token for a row that holds NaN or +Inf, or nothing but -Inf."""

_SIGN = np.int32(31)
_ALL_BUT_SIGN = np.int32(0x7FFFFFFF)
_INF = np.int32(0x7F800000)
_MINUS_INF = np.int32(-0x7F800001)
_MINUS_ZERO = np.int32(-1)
_LOWEST, _HIGHEST = np.int32(-0x80000000), np.int32(0x7FFFFFFF)


@inlined
def _sorting(bits: np.int32) -> np.int32:
    """Map a float's bits to the integer that sorts like it, and back."""
    return np.int32(bits ^ np.int32(np.int32(bits >> _SIGN) & _ALL_BUT_SIGN))


@compiled
def scan(logits: Array, block_tops: Array) -> int:
    """Return the id of the largest logit, the lowest among equals, or `UNSOUND`.

    `logits` is float32 [vocab]; `block_tops`, float32 [blocks], receives the largest logit of each block.
    """
    bits = logits.view(np.int32)
    top_bits = block_tops.view(np.int32)
    top, low = _LOWEST, _HIGHEST
    top_block = 0
    for block in range(top_bits.size):
        row = bits[block * BLOCK : (block + 1) * BLOCK]
        row_top, row_low = _LOWEST, _HIGHEST
        for i in range(row.size):
            key = _sorting(row[i])
            row_top = np.int32(max(row_top, key))
            row_low = np.int32(min(row_low, key))
        if row_top == _MINUS_ZERO:  # equals zero as a number
            row_top = np.int32(0)
        top_bits[block] = _sorting(row_top)
        low = np.int32(min(low, row_low))
        if row_top > top:
            top = row_top
            top_block = block
    if top >= _INF or top == _MINUS_INF or low < _MINUS_INF:
        return UNSOUND
    token = top_block * BLOCK
    while logits[token] != block_tops[top_block]:
        token += 1
    return token
