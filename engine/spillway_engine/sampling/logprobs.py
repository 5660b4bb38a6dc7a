"""Log-probabilities under the model's own distribution: softmax of the logits as they come, nothing applied.

logprob(i) = l_i - L - log(sum_j exp(l_j - L)) with L the largest logit; the sum is of integers (see `weights`), so it
is exact in any order. The rank of a token is 1 + the number of tokens with a larger logit, or an equal one and a lower
id. Tokens of probability zero (-Inf) are not listed among the most likely; as the chosen one they have -Inf.
"""

import numpy as np

from spillway_engine.compiled import Array, compiled
from spillway_engine.sampling.noise import natural_log
from spillway_engine.sampling.scan import UNSOUND, scan
from spillway_engine.sampling.weights import BLOCK, FINE_UNIT, fine_weight, num_blocks
from spillway_wire.messages import PositionLogprobs, TokenLogprob

UNSOUND_RANK = 0
"""Rank of the chosen token in a row that holds NaN or +Inf, or nothing but -Inf."""


@compiled
def _log_of_sum(logits: Array, top: np.float32) -> float:
    """Return log(sum exp(l - L))."""
    total = np.int64(0)
    for i in range(logits.size):
        total += fine_weight(top - logits[i])
    return natural_log(float(total) / FINE_UNIT)


@compiled
def _rank(logits: Array, token: int) -> int:
    logit = logits[token]
    before = 0
    for i in range(logits.size):
        before += int(logits[i] > logit)
    for i in range(token):
        before += int(logits[i] == logit)
    return before + 1


@compiled
def _fill_most_likely(logits: Array, block_tops: Array, token_ids: Array) -> int:
    """Write the ids of the largest logits, best first, the lower id first among equals; return how many."""
    found = 0
    bar = np.float32(-np.inf)  # what a token must exceed to get in
    for block in range(block_tops.size if token_ids.size else 0):
        if block_tops[block] <= bar:
            continue
        for token in range(block * BLOCK, min((block + 1) * BLOCK, logits.size)):
            logit = logits[token]
            if not logit > bar:
                continue
            at = min(found, token_ids.size - 1)
            while at > 0 and logits[token_ids[at - 1]] < logit:
                token_ids[at] = token_ids[at - 1]
                at -= 1
            token_ids[at] = token
            found = min(found + 1, token_ids.size)
            if found == token_ids.size:
                bar = logits[token_ids[found - 1]]
    return found


@compiled
def logprob_row(logits: Array, chosen: int, token_ids: Array, logprobs: Array) -> tuple[int, int]:
    """Return the rank of `chosen` (or `UNSOUND_RANK`) and the number of most likely tokens found.

    `logits` is float32 [vocab]. `token_ids` (int32) and `logprobs` (float64) have 1 + n entries: first those of
    `chosen`, then of the up to n most likely, best first.
    """
    block_tops = np.empty(num_blocks(logits.size), np.float32)
    top = scan(logits, block_tops)
    if top == UNSOUND:
        return UNSOUND_RANK, 0
    found = _fill_most_likely(logits, block_tops, token_ids[1:])
    token_ids[0] = chosen
    log_of_sum = _log_of_sum(logits, logits[top])
    for i in range(found + 1):
        logprobs[i] = float(logits[token_ids[i]]) - float(logits[top]) - log_of_sum
    return _rank(logits, chosen), found


def position_logprobs(token_ids: Array, logprobs: Array, rank: int, found: int, num_top: int) -> PositionLogprobs:
    """Build the message from what `logprob_row` wrote, with at most `num_top` of the most likely tokens."""
    count = 1 + min(found, num_top)
    ids, values = token_ids[:count].tolist(), logprobs[:count].tolist()
    return PositionLogprobs(
        chosen=TokenLogprob(token_id=ids[0], logprob=values[0], rank=rank),
        top=tuple(TokenLogprob(token_id=ids[i], logprob=values[i], rank=i) for i in range(1, count)),
    )
