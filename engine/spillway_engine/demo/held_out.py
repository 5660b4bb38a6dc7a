"""Which questions training never sees.

The split is a hash of the numbers themselves, so it needs no list, never depends on a seed, and generator, evaluation
and tests cannot disagree about it.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

PERCENT_OF_RANGES: Final = 5
PERCENT_OF_SUMS: Final = 10
PERCENT_OF_WORDS: Final = 5


def _percentile(key: str) -> int:
    """A fixed pseudo-random number in 0..99 for `key`."""
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big") % 100


def is_range_held_out(first: int, last: int) -> bool:
    """Whether counting from `first` to `last` (in this direction) is kept for the evaluation."""
    return _percentile(f"range {first} {last}") < PERCENT_OF_RANGES


def is_sum_held_out(one: int, other: int) -> bool:
    """Whether `one + other` is kept for the evaluation; so is `other + one`, which would give it away."""
    return _percentile(f"sum {min(one, other)} {max(one, other)}") < PERCENT_OF_SUMS


def is_word_held_out(word: str) -> bool:
    """Whether spelling `word` (in any case) is kept for the evaluation."""
    return _percentile(f"word {word.lower()}") < PERCENT_OF_WORDS
