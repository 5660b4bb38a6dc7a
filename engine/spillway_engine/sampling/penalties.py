"""What the request itself does to the logits, before temperature: bias, suppressed tokens, penalties."""

import numpy as np

from spillway_engine.compiled import Array, compiled

SEEN_IN_PROMPT = 1
"""Lowest bit of a token's count; the bits above count its occurrences in the output."""
SEEN_IN_OUTPUT = 2
"""What one occurrence in the output adds to a token's count."""

_LARGEST = np.float32(3.4028234663852886e38)
_ZERO = np.float32(0.0)


@compiled
def copy(source: Array, target: Array) -> None:
    """Copy a row; a loop, because numba's slice assignment copies twice in case the two overlap."""
    for i in range(source.size):
        target[i] = source[i]


@compiled
def add_bias(logits: Array, token_ids: Array, bias: Array) -> None:
    """Add `bias[i]` to the logit of `token_ids[i]`, each token named once."""
    for i in range(token_ids.size):
        logits[token_ids[i]] += bias[i]


@compiled
def suppress(logits: Array, token_ids: Array) -> None:
    """Make these tokens impossible."""
    for i in range(token_ids.size):
        logits[token_ids[i]] = -np.inf


@compiled
def penalise(logits: Array, counts: Array, repetition: np.float32, frequency: np.float32, presence: np.float32) -> None:
    """Lower the logits of tokens that were seen, in place; all arithmetic in float32.

    1. Seen in prompt or output: divide a positive logit by `repetition` (at most the largest float), multiply others.
    2. Seen n times in the output: subtract `frequency` * n, then `presence`.
    """
    for i in range(logits.size):
        count = counts[i]
        logit = logits[i]
        scaled = logit / repetition if logit > _ZERO else logit * repetition
        scaled = min(_LARGEST, scaled)
        logit = scaled if count != 0 else logit
        logit = logit - frequency * np.float32(count >> np.int32(1))
        logits[i] = logit - (presence if count > np.int32(1) else _ZERO)
