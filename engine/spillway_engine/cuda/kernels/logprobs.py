"""Log-probabilities of the model's own distribution, by the rule of `sampling.logprobs`, to the bit."""

import triton
import triton.language as tl

from spillway_engine.cuda.kernels.numbers import fine_weight, natural_log
from spillway_engine.cuda.words import NUM_LOGPROBS, WORDS

_WORDS = tl.constexpr(WORDS)
_NUM_LOGPROBS = tl.constexpr(NUM_LOGPROBS)
_BEYOND = tl.constexpr(0x7FFFFFFF)


@triton.jit
def rank_and_weigh(
    ids, values, ranks, founds, logits, chosen, words, vocab, stride, width, num_blocks, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write a row's logprobs: first that of `chosen`, then of the most likely tokens, best first.

    `logits` are the model's own. `ids` (int32) and `values` (float64) are [rows, width]; `ranks` is 0 for an unsound
    row, and -1 for a row that wants none. `founds` says how many of the most likely there are.
    """
    row = tl.program_id(0)
    wanted = tl.load(words + row * _WORDS + _NUM_LOGPROBS)
    token = tl.load(chosen + row)
    rank = tl.full([], -1, tl.int32)
    found = tl.full([], 0, tl.int32)
    if wanted >= 0:
        own = logits + row.to(tl.int64) * stride
        tops = tl.full([BLOCK], float("-inf"), tl.float32)
        spoilt = tl.zeros([BLOCK], tl.int32)
        for block in range(num_blocks):
            at = block * BLOCK + tl.arange(0, BLOCK)
            logit = tl.load(own + at, mask=at < vocab, other=float("-inf"))
            spoilt |= (logit != logit).to(tl.int32)  # noqa: PLR0124 - NaN is what differs from itself
            tops = tl.maximum(tops, logit)
        top = tl.max(tops, 0)
        rank = tl.full([], 0, tl.int32)
        if (tl.max(spoilt, 0) == 0) & (top < float("inf")) & (top > float("-inf")) & (token >= 0):
            height = tl.load(own + token)
            total = tl.zeros([BLOCK], tl.int64)
            before = tl.zeros([BLOCK], tl.int32)
            for block in range(num_blocks):
                at = block * BLOCK + tl.arange(0, BLOCK)
                logit = tl.load(own + at, mask=at < vocab, other=float("-inf"))
                total += tl.where(at < vocab, fine_weight(top - logit), 0)
                ahead = (logit > height) | ((logit == height) & (at < token))
                before += (ahead & (at < vocab)).to(tl.int32)
            rank = tl.sum(before, 0) + 1
            log_of_sum = natural_log(tl.sum(total, 0).to(tl.float64) / 35184372088832.0)  # weights.FINE_UNIT
            to = row.to(tl.int64) * width
            tl.store(ids + to, token)
            tl.store(values + to, (height - top).to(tl.float64) - log_of_sum)  # the difference in float32, as there
            bar = tl.full([], float("inf"), tl.float32)
            previous = tl.full([], -1, tl.int32)
            for number in range(wanted):
                best = tl.full([], float("-inf"), tl.float32)
                winner = tl.full([], _BEYOND, tl.int32)
                for block in range(num_blocks):
                    at = block * BLOCK + tl.arange(0, BLOCK)
                    logit = tl.load(own + at, mask=at < vocab, other=float("-inf"))
                    behind = (logit < bar) | ((logit == bar) & (at > previous))
                    logit = tl.where(behind, logit, float("-inf"))
                    here = tl.max(logit, 0)
                    if here > best:
                        best = here
                        winner = tl.min(tl.where(logit == here, at, _BEYOND), 0)
                if best > float("-inf"):
                    tl.store(ids + to + 1 + number, winner)
                    tl.store(values + to + 1 + number, (best - top).to(tl.float64) - log_of_sum)
                    found += 1
                bar = best
                previous = winner
    tl.store(ranks + row, rank)
    tl.store(founds + row, found)
