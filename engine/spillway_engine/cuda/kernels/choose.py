"""From logits to tokens, by the rule of `spillway_engine.sampling`, to the bit.

::

    find_limit   a program a row: sound or not, the largest logit, and which tokens min-p, top-k and top-p keep
    draw         a program a row and block: noise - distance, the best of the block
    choose       a program a row: the best of all blocks, the lowest id among equals

What is kept is a prefix of the tokens by distance: all up to a limit, and of those at the limit the ids up to `last`.
The limit is found digit by digit on the bits of the distances; a pass skips the blocks that lie beyond what matters.
"""

import triton
import triton.language as tl

from spillway_engine.cuda.kernels.logits import real, row_of, word
from spillway_engine.cuda.kernels.numbers import gumbel, noise_words, weight
from spillway_engine.cuda.words import (
    CHANGED,
    CHOICE,
    GREEDY,
    INVERSE_TEMPERATURE,
    MAX_DISTANCE,
    POSITION,
    SEED_HIGH,
    SEED_LOW,
    SLOT,
    TOP_K,
    TOP_P_HIGH,
    TOP_P_LOW,
    UNSOUND,
)  # fmt: skip

_SLOT = tl.constexpr(SLOT)
_POSITION = tl.constexpr(POSITION)
_CHANGED = tl.constexpr(CHANGED)
_GREEDY = tl.constexpr(GREEDY)
_INVERSE_TEMPERATURE = tl.constexpr(INVERSE_TEMPERATURE)
_MAX_DISTANCE = tl.constexpr(MAX_DISTANCE)
_TOP_K = tl.constexpr(TOP_K)
_TOP_P_LOW = tl.constexpr(TOP_P_LOW)
_TOP_P_HIGH = tl.constexpr(TOP_P_HIGH)
_CHOICE = tl.constexpr(CHOICE)
_SEED_LOW = tl.constexpr(SEED_LOW)
_SEED_HIGH = tl.constexpr(SEED_HIGH)
_UNSOUND = tl.constexpr(UNSOUND)

_REACH = tl.constexpr(27.0)  # sampling.weights.REACH
_ANY = tl.constexpr(0x7FFFFFFF)  # sampling.prefix.ANY_TOKEN
_BEYOND = tl.constexpr(0x7FFFFFFF)


@triton.jit
def _unsigned(words, row, which: tl.constexpr):
    return word(words, row, which).to(tl.uint32, bitcast=True)


@triton.jit
def _sound(tops, row, num_blocks, BLOCKS: tl.constexpr):
    """Return the largest of a row's block tops, and whether it is a number (NaN anywhere makes it none)."""
    block = tl.arange(0, BLOCKS)
    held = tl.load(tops + row * num_blocks + block, mask=block < num_blocks, other=float("-inf"))
    spoilt = tl.max((held != held).to(tl.int32), 0) != 0  # noqa: PLR0124 - NaN is what differs from itself
    top = tl.max(tl.where(held != held, float("-inf"), held), 0)  # noqa: PLR0124 - the same
    return top, (~spoilt) & (top < float("inf")) & (top > float("-inf"))


@triton.jit
def _distances(own, start, vocab, top, inverse, BLOCK: tl.constexpr):
    """Return the tokens of a block and their distances, infinite outside the vocabulary."""
    token = start + tl.arange(0, BLOCK)
    logit = tl.load(own + token, mask=token < vocab, other=float("-inf"))
    return token, ((top + 0.0) - logit) * inverse


@triton.jit
def _measure(distance, BY_MASS: tl.constexpr):
    """Return what each token counts: one, or its weight; int64."""
    if BY_MASS:
        return weight(distance).to(tl.int64)
    return (distance >= 0.0).to(tl.int64)


@triton.jit
def _measure_within(
    own, tops, row, vocab, num_blocks, top, inverse, limit, last, BLOCK: tl.constexpr, BY_MASS: tl.constexpr
):  # fmt: skip
    """Return the measure of a prefix."""
    total = tl.zeros([BLOCK], tl.int64)
    for block in range(num_blocks):
        if (top - tl.load(tops + row * num_blocks + block)) * inverse <= limit:
            token, distance = _distances(own, block * BLOCK, vocab, top, inverse, BLOCK)
            kept = (distance < limit) | ((distance == limit) & (token <= last))
            total += tl.where(kept & (token < vocab), _measure(distance, BY_MASS), 0)
    return tl.sum(total, 0)


@triton.jit
def _shortest(
    own, tops, row, vocab, num_blocks, top, inverse, limit, needed, BLOCK: tl.constexpr, BY_MASS: tl.constexpr
):  # fmt: skip
    """Return limit and last token of the shortest prefix whose measure is at least `needed`.

    Tokens within `limit` measure at least that much, and `needed` is at least 1. Thresholds of one digit are compared
    at once: `key` is the smallest whose tokens measure enough.
    """
    digit = tl.arange(0, 8)
    key = tl.zeros([], tl.int32)
    for step in range(11):  # 31 bits (no sign) in digits of three; the first has but one
        shift = 30 - 3 * step
        thresholds = key | (digit << shift) | ((1 << shift) - 1)
        thresholds = tl.where((step == 0) & (digit > 1), _BEYOND, thresholds)
        totals = tl.zeros([8], tl.int64)
        widest = tl.max(thresholds, 0).to(tl.float32, bitcast=True)
        reach = tl.where(widest <= limit, widest, limit)  # NaN bits compare false
        for block in range(num_blocks):
            if (top - tl.load(tops + row * num_blocks + block)) * inverse <= reach:
                token, distance = _distances(own, block * BLOCK, vocab, top, inverse, BLOCK)
                bits = distance.to(tl.int32, bitcast=True)
                measure = tl.where((distance <= limit) & (token < vocab), _measure(distance, BY_MASS), 0)
                totals += tl.sum(tl.where(bits[:, None] <= thresholds[None, :], measure[:, None], 0), 0)
        chosen = tl.sum((totals < needed).to(tl.int32), 0)
        key = key | (chosen << shift)
    found = key.to(tl.float32, bitcast=True)
    # of the tokens exactly as far as the limit, how many are wanted?
    nearer = _measure_within(own, tops, row, vocab, num_blocks, top, inverse, found, -1, BLOCK, BY_MASS)
    within = _measure_within(own, tops, row, vocab, num_blocks, top, inverse, found, _ANY, BLOCK, BY_MASS)
    unit = tl.full([], 1, tl.int64)
    if BY_MASS:
        unit = weight(found).to(tl.int64)
    wanted = (needed - nearer + unit - 1) // unit
    last = tl.full([], _ANY, tl.int32)
    if wanted < (within - nearer) // unit:
        seen = tl.zeros([], tl.int64)
        for block in range(num_blocks):
            if seen < wanted:
                token, distance = _distances(own, block * BLOCK, vocab, top, inverse, BLOCK)
                ties = ((distance == found) & (token < vocab)).to(tl.int64)
                ranks = seen + tl.cumsum(ties, 0)
                here = tl.min(tl.where((ties != 0) & (ranks == wanted), token, _BEYOND), 0)
                last = tl.minimum(last, here)
                seen += tl.sum(ties, 0)
    return found, last


@triton.jit
def find_limit(
    token_ids, limits, lasts, heights, logits, changed, tops, own_tops, words, vocab, stride, num_blocks,
    BLOCK: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    """Decide a greedy or unsound row, and find what is kept of the others.

    Writes the token (or `words.UNSOUND`) of rows that are decided; the others get the id of their largest logit, a
    limit of at least 0, the last token at the limit, and the largest logit. The limit of a decided row is -1.
    """
    row = tl.program_id(0)
    top, sound = _sound(tops, row, num_blocks, BLOCKS)
    if word(words, row, _CHANGED) != 0:
        _, own_sound = _sound(own_tops, row, num_blocks, BLOCKS)
        sound = sound & own_sound
    own = row_of(logits, changed, words, row, stride)
    limit = tl.full([], -1.0, tl.float32)
    last = tl.full([], _ANY, tl.int32)
    token = tl.full([], _UNSOUND, tl.int32)
    if sound:
        block = tl.arange(0, BLOCKS)
        held = tl.load(tops + row * num_blocks + block, mask=block < num_blocks, other=float("-inf"))
        first = tl.min(tl.where(held == top, block, BLOCKS), 0) * BLOCK
        candidate = first + tl.arange(0, BLOCK)
        logit = tl.load(own + candidate, mask=candidate < vocab, other=float("-inf"))
        token = tl.min(tl.where(logit == top, candidate, _BEYOND), 0)
        if word(words, row, _GREEDY) == 0:
            inverse = real(words, row, _INVERSE_TEMPERATURE)
            limit = tl.minimum(real(words, row, _MAX_DISTANCE), _REACH)
            top_k = word(words, row, _TOP_K)
            if top_k < vocab:
                within = _measure_within(own, tops, row, vocab, num_blocks, top, inverse, limit, _ANY, BLOCK, False)
                if within > top_k:
                    limit, last = _shortest(
                        own, tops, row, vocab, num_blocks, top, inverse, limit, top_k.to(tl.int64), BLOCK, False
                    )
            low = _unsigned(words, row, _TOP_P_LOW).to(tl.uint64)
            high = _unsigned(words, row, _TOP_P_HIGH).to(tl.uint64)
            top_p = (low | (high << 32)).to(tl.float64, bitcast=True)
            if top_p < 1.0:
                mass = _measure_within(own, tops, row, vocab, num_blocks, top, inverse, limit, last, BLOCK, True)
                wanted = top_p * mass.to(tl.float64)
                needed = wanted.to(tl.int64)
                needed = tl.maximum(tl.where(needed.to(tl.float64) < wanted, needed + 1, needed), 1)
                limit, last = _shortest(own, tops, row, vocab, num_blocks, top, inverse, limit, needed, BLOCK, True)
    tl.store(token_ids + row, token)
    tl.store(limits + row, limit)
    tl.store(lasts + row, last)
    tl.store(heights + row, top)


@triton.jit
def draw(
    best_scores, best_tokens, logits, changed, tops, words, limits, lasts, heights, vocab, stride, num_blocks,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the best score of a block and its token, the lowest id among equals (Gumbel-max, float64)."""
    row = tl.program_id(0)
    block = tl.program_id(1)
    limit = tl.load(limits + row)
    best = tl.full([], float("-inf"), tl.float64)
    winner = tl.full([], _BEYOND, tl.int32)
    if limit >= 0.0:
        top = tl.load(heights + row)
        inverse = real(words, row, _INVERSE_TEMPERATURE)
        if (top - tl.load(tops + row * num_blocks + block)) * inverse <= limit:
            own = row_of(logits, changed, words, row, stride)
            token, distance = _distances(own, block * BLOCK, vocab, top, inverse, BLOCK)
            kept = (distance < limit) | ((distance == limit) & (token <= tl.load(lasts + row)))
            seed = _unsigned(words, row, _SEED_LOW).to(tl.uint64) | (
                _unsigned(words, row, _SEED_HIGH).to(tl.uint64) << 32
            )
            bits = noise_words(block * BLOCK, word(words, row, _POSITION), _unsigned(words, row, _CHOICE), seed, BLOCK)
            score = tl.where(kept & (token < vocab), gumbel(bits) - distance.to(tl.float64), float("-inf"))
            best = tl.max(score, 0)
            winner = tl.min(tl.where(score == best, token, _BEYOND), 0)
    tl.store(best_scores + row * num_blocks + block, best)
    tl.store(best_tokens + row * num_blocks + block, winner)


@triton.jit
def choose(token_ids, latest, best_scores, best_tokens, limits, words, num_blocks, BLOCKS: tl.constexpr):
    """Write a row's token, and note it as its slot's latest."""
    row = tl.program_id(0)
    token = tl.load(token_ids + row)
    if tl.load(limits + row) >= 0.0:
        block = tl.arange(0, BLOCKS)
        mask = block < num_blocks
        score = tl.load(best_scores + row * num_blocks + block, mask=mask, other=float("-inf"))
        winner = tl.load(best_tokens + row * num_blocks + block, mask=mask, other=_BEYOND)
        best = tl.max(score, 0)
        token = tl.min(tl.where(mask & (score == best), winner, _BEYOND), 0)
        tl.store(token_ids + row, token)
    tl.store(latest + word(words, row, _SLOT), token)
