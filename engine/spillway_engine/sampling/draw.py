"""The draw itself: the token whose score, noise minus distance, is the largest (Gumbel-max).

This samples from the softmax over the tokens kept, and a last-bit difference in the logits changes the outcome only
where two scores are that close. Almost all tokens are dismissed by a test that costs no logarithm. With best score b
so far, a token with noise -log(E), E = -log(u), beats it only if E < exp(-d) * exp(-b); and E >= 1 - u, so if ::

    1 - u  >  (upper bound of exp(-d)) * exp(-b)

it has lost. Its left side is the word's complement, its right side comes from the token's weight.
"""

import math

import numpy as np

from spillway_engine.compiled import compiled, inlined
from spillway_engine.sampling.noise import GUMBEL_MAX, fill_words, gumbel
from spillway_engine.sampling.weights import BLOCK, Candidates

_ALL_BITS = np.uint32(0xFFFFFFFF)
_ONE_BIT = np.uint32(1)
_SLACK = np.float32(2.0)
"""A weight is below the true one by less than this, from rounding down twice; `_MARGIN` covers its relative error."""
_MARGIN = 1.0 + 2.0**-10


@inlined
def _may_win(
    word: np.uint32, weight: np.int32, distance: np.float32, limit: np.float32, chance: np.float32
) -> np.int32:
    """Return 1 unless the token has surely lost or lies beyond the limit; `chance` is 2 * exp(-best score)."""
    # half the complement fits an int32, which every machine converts to float in one instruction
    tail = np.float32(np.int32((word ^ _ALL_BITS) >> _ONE_BIT))
    return np.int32((tail <= (np.float32(weight) + _SLACK) * chance) & (distance <= limit))


@compiled
def draw(
    candidates: Candidates, limit: np.float32, last: int, position: int,
    choice: np.uint32, seed_low: np.uint32, seed_high: np.uint32,
) -> int:  # fmt: skip
    """Return the winner among the tokens of a prefix (see `prefix`), the lowest id among equal scores."""
    nearest = candidates.nearest
    words = np.empty(BLOCK, np.uint32)
    best = -np.inf
    chance = np.float32(np.inf)
    winner = 0
    for block in range(nearest.size):
        if nearest[block] > limit or GUMBEL_MAX - nearest[block] < best:
            continue
        start = block * BLOCK
        row = candidates.distances[start : start + BLOCK]
        row_weights = candidates.weights[start : start + BLOCK]
        fill_words(words, start, position, choice, seed_low, seed_high)
        hopeful = np.int32(0)
        for i in range(row.size):
            hopeful = np.int32(hopeful + _may_win(words[i], row_weights[i], row[i], limit, chance))
        if hopeful == 0:
            continue
        for i in range(row.size):
            if _may_win(words[i], row_weights[i], row[i], limit, chance) == 0:
                continue
            if row[i] == limit and start + i > last:
                continue
            score = gumbel(words[i]) - row[i]
            if score > best:
                best = score
                winner = start + i
                chance = np.float32(2.0 * _MARGIN * math.exp(-score))
    return winner
