"""How far each token lies below the most likely one, and how much probability mass that makes.

Of a row of logits l with maximum L, at temperature t, token i has the

- distance  d = (L - l) * (1 / t), float32, 0 or more: what top-k, top-p and min-p order tokens by (nearest first,
  the lower id first among equals);
- weight    w = floor(2**30 * exp(-d)), int32: its probability in units of 2**-30 of the most likely token's.

Weights are integers so that their sums are exact in any order, on any device and at any vector width. What is lost
by rounding down is less than 2**-30 for each token, far less than float32 sums over a vocabulary lose.

Passes go through the vocabulary in blocks and skip those whose nearest token is beyond the limit of interest.
"""

from typing import NamedTuple

import numpy as np

from spillway_engine.compiled import Array, compiled, inlined

BLOCK = 128
"""Tokens to a block: enough to fill vector registers, few enough that likely tokens are alone in theirs."""

REACH = np.float32(27.0)
"""Tokens farther than this cannot win against the nearest one: noise spans less (`GUMBEL_MAX - GUMBEL_MIN`, 26.004)."""

_LOG2_E = np.float32(1.4426950408889634)
_LAST_POWER = np.float32(31.0)  # from there on the shift leaves nothing
_LAST_FINE_POWER = np.float32(62.0)
_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)
_UNIT = np.float32(2.0**30)
FINE_UNIT = 2.0**45
"""Weight of the most likely token in sums for logprobs; a vocabulary of 2**18 fits into an int64."""

# 2**-r for |r| <= 1/2, least maximal relative error (1e-7) with value 1 at 0
_C1, _C2, _C3 = np.float32(-0.693147), np.float32(0.24022242), np.float32(-0.055507336)
_C4, _C5 = np.float32(0.009671513), np.float32(-0.0013264727)


class Candidates(NamedTuple):
    """The tokens of one row, within `REACH`; entries of blocks beyond it are stale."""

    distances: Array
    """[vocab] float32."""
    weights: Array
    """[vocab] int32."""
    nearest: Array
    """[blocks] float32: least distance in each block. `fill` finds the largest logits there."""
    members: Array
    """[vocab] int32, working memory: ids of tokens."""


@compiled
def num_blocks(vocab_size: int) -> int:
    """Return how many blocks cover a vocabulary; the last may be short."""
    return (vocab_size + BLOCK - 1) // BLOCK


@inlined
def _scaled_fraction(r: np.float32) -> np.int32:
    """Return 2**(30 - r) for |r| <= 1/2."""
    z = r * r
    p = (_ONE + r * _C1) + z * ((_C2 + r * _C3) + z * (_C4 + r * _C5))
    return np.int32(p * _UNIT)


@inlined
def weight(distance: np.float32) -> np.int32:
    """Return the weight of a distance, Inf included."""
    power = distance * _LOG2_E
    power = min(_LAST_POWER, power)
    whole = np.int32(power + _HALF)
    # `& 31` changes nothing: it lets the compiler see that a 32-bit shift will do
    return np.int32(_scaled_fraction(power - np.float32(whole)) >> (whole & np.int32(31)))


@inlined
def fine_weight(distance: np.float32) -> np.int64:
    """Return the weight of a distance in units of 2**-45 of the most likely token's."""
    power = distance * _LOG2_E
    power = min(_LAST_FINE_POWER, power)
    whole = np.int32(power + _HALF)
    scaled = np.int64(_scaled_fraction(power - np.float32(whole))) << np.int64(15)
    return np.int64(scaled >> np.int64(whole & np.int32(63)))


@compiled
def fill(candidates: Candidates, logits: Array, top: np.float32, inverse_temperature: np.float32) -> None:
    """Compute distances and weights of a row of logits, float32 [vocab], whose largest is `top`."""
    nearest = candidates.nearest
    top = top + _ZERO  # -0.0 becomes 0.0: a distance of -0.0 would sort, by its bits, before every other
    for block in range(nearest.size):
        distance = (top - nearest[block]) * inverse_temperature
        nearest[block] = distance
        if distance > REACH:
            continue
        start = block * BLOCK
        row = logits[start : start + BLOCK]
        row_distances = candidates.distances[start : start + BLOCK]
        row_weights = candidates.weights[start : start + BLOCK]
        for i in range(row.size):
            distance = (top - row[i]) * inverse_temperature
            row_distances[i] = distance
            row_weights[i] = weight(distance)


@compiled
def count_within(candidates: Candidates, limit: np.float32) -> int:
    """Return how many tokens are at most `limit` away."""
    total = 0
    for block in range(candidates.nearest.size):
        if candidates.nearest[block] > limit:
            continue
        start = block * BLOCK
        row = candidates.distances[start : start + BLOCK]
        count = np.int32(0)
        for i in range(row.size):
            count = np.int32(count + np.int32(row[i] <= limit))
        total += int(count)
    return total


@compiled
def mass_within(candidates: Candidates, limit: np.float32) -> int:
    """Return the sum of weights of the tokens that are at most `limit` away."""
    total = np.int64(0)
    for block in range(candidates.nearest.size):
        if candidates.nearest[block] > limit:
            continue
        start = block * BLOCK
        row = candidates.distances[start : start + BLOCK]
        row_weights = candidates.weights[start : start + BLOCK]
        for i in range(row.size):
            total += np.int64(row_weights[i] if row[i] <= limit else np.int32(0))
    return int(total)
