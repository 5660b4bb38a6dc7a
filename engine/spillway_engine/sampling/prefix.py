"""Which tokens top-k and top-p keep: a prefix of the tokens in order of distance, found without sorting them.

The prefix is as short as it can be for its *measure* (number of tokens, or sum of weights) to reach what is needed.
It is described by its last token: everything nearer, and of those exactly as far the ids up to that token's. ::

    distance   0.0   0.7   1.2   1.2   1.2   3.1
    token       17     4     2     5     9     8        limit 1.2, last 5: keeps 17, 4, 2 and 5

The limit is found digit by digit (radix selection) on the bits of the distances, which sort as integers because no
distance is negative: a few passes, whatever the distribution.
"""

import numpy as np

from spillway_engine.compiled import Array, compiled
from spillway_engine.sampling.weights import BLOCK, Candidates, count_within, mass_within, weight

ANY_TOKEN = 0x7FFFFFFF
"""As the last token of a prefix: all tokens at the limit belong to it."""

_FIRST_SHIFT = 20
"""Bits below the first digit, which has 11 bits (no sign); the other two have 10."""
_SHIFTS = (10, 0)

_FIRST_BLOCKS, _MORE = 8, 4
"""How many of the nearest blocks to look at first, and how many times more at each further attempt."""


@compiled
def _tally_blocks(candidates: Candidates, reach: np.float32, by_mass: bool, buckets: Array) -> None:
    """Add up the measure of the tokens in blocks within `reach`, by the first digit of their distance."""
    buckets[:] = 0
    keys = candidates.distances.view(np.int32)
    for block in range(candidates.nearest.size):
        if candidates.nearest[block] > reach:
            continue
        start = block * BLOCK
        row = keys[start : start + BLOCK]
        row_weights = candidates.weights[start : start + BLOCK]
        for i in range(row.size):
            buckets[row[i] >> np.int32(_FIRST_SHIFT)] += row_weights[i] if by_mass else np.int32(1)


@compiled
def _gather(candidates: Candidates, reach: np.float32, digit: int) -> Array:
    """Return the ids of the tokens whose distance has this first digit, lowest first: a part of `members`."""
    nearest, members = candidates.nearest, candidates.members
    keys = candidates.distances.view(np.int32)
    nearest_keys = nearest.view(np.int32)
    count = 0
    for block in range(nearest.size):
        if nearest[block] > reach or nearest_keys[block] >> np.int32(_FIRST_SHIFT) > digit:
            continue
        start = block * BLOCK
        row = keys[start : start + BLOCK]
        for i in range(row.size):
            members[count] = start + i
            count += int(row[i] >> np.int32(_FIRST_SHIFT) == digit)
    return members[:count]


@compiled
def _tally_members(
    candidates: Candidates, members: Array, by_mass: bool, prefix: int, shift: int, buckets: Array
) -> None:
    """Add up the measure of members by the digit above `shift`, of those whose higher bits are `prefix`."""
    buckets[:] = 0
    keys = candidates.distances.view(np.int32)
    for token in members:
        key = np.int64(keys[token])
        if key >> (shift + 10) == prefix:
            buckets[(key >> shift) & 1023] += candidates.weights[token] if by_mass else np.int32(1)


@compiled
def _last_tie(distances: Array, members: Array, limit: np.float32, num_ties: int) -> int:
    """Return the id of the `num_ties`-th member that is exactly `limit` away."""
    for token in members:
        if distances[token] == limit:
            num_ties -= 1
            if num_ties == 0:
                return int(token)
    return ANY_TOKEN


@compiled
def _shortest(candidates: Candidates, reach: np.float32, by_mass: bool, needed: int) -> tuple[np.float32, int]:
    """Return limit and last token of the shortest prefix whose measure is at least `needed`.

    The tokens within `reach` must measure at least that much, and `needed` must be at least 1.
    """
    buckets = np.empty(2048, np.int64)
    _tally_blocks(candidates, reach, by_mass, buckets)
    prefix = 0
    while buckets[prefix] < needed:
        needed -= buckets[prefix]
        prefix += 1
    listed = _gather(candidates, reach, prefix)
    size = 0
    for shift in _SHIFTS:
        _tally_members(candidates, listed, by_mass, prefix, shift, buckets)
        digit = 0
        while buckets[digit] < needed:
            needed -= buckets[digit]
            digit += 1
        size = buckets[digit]
        prefix = prefix << 10 | digit
    # `prefix` is now all bits of the limit; its ties measure `size`, of which `needed` must be kept
    limit = np.int32(prefix).view(np.float32)
    unit = int(weight(limit)) if by_mass else 1
    if size - unit < needed:
        return limit, ANY_TOKEN
    return limit, _last_tie(candidates.distances, listed, limit, (needed + unit - 1) // unit)


@compiled
def _distance_of_blocks(nearest: Array, count: int, limit: np.float32) -> np.float32:
    """Return a distance, at most `limit`, within which there are about `count` blocks or a few more."""
    low, high = np.float32(0.0), limit
    for _ in range(12):
        middle = np.float32(0.5) * (low + high)
        within = np.int32(0)
        for block in range(nearest.size):
            within = np.int32(within + np.int32(nearest[block] <= middle))
        if within >= count:
            high = middle
        else:
            low = middle
    return high


@compiled
def _reach(candidates: Candidates, limit: np.float32, by_mass: bool, needed: int) -> np.float32:
    """Return a distance, at most `limit`, within which tokens measure `needed`, or `limit` if none is known.

    Likely tokens are few: the blocks that hold them are found from their nearest tokens, and the rest is left alone.
    """
    count = _FIRST_BLOCKS
    while count < candidates.nearest.size:
        reach = _distance_of_blocks(candidates.nearest, count, limit)
        measure = mass_within(candidates, reach) if by_mass else count_within(candidates, reach)
        if measure >= needed:
            return reach
        count *= _MORE
    return limit


@compiled
def keep_count(candidates: Candidates, limit: np.float32, count: int) -> tuple[np.float32, int]:
    """Return limit and last token of the nearest `count` tokens, or of all within `limit` if they are fewer."""
    reach = _reach(candidates, limit, False, count)
    if reach == limit and count_within(candidates, limit) <= count:
        return limit, ANY_TOKEN
    return _shortest(candidates, reach, False, count)


@compiled
def _prefix_mass(candidates: Candidates, limit: np.float32, last: int) -> int:
    """Return the sum of weights of a prefix."""
    total = mass_within(candidates, limit)
    if last != ANY_TOKEN:
        for block in range((last + 1) // BLOCK, candidates.nearest.size):
            if candidates.nearest[block] > limit:
                continue
            for token in range(max(block * BLOCK, last + 1), min((block + 1) * BLOCK, candidates.distances.size)):
                if candidates.distances[token] == limit:
                    total -= int(candidates.weights[token])
    return total


@compiled
def keep_mass(candidates: Candidates, limit: np.float32, last: int, share: float) -> tuple[np.float32, int]:
    """Return limit and last token of the shortest prefix that holds `share` (0 to 1) of the given prefix's mass."""
    needed = max(int(np.ceil(share * float(_prefix_mass(candidates, limit, last)))), 1)
    reach = _reach(candidates, limit, True, needed)
    return _shortest(candidates, reach, True, needed)
