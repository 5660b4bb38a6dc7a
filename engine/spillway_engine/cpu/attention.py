"""Paged attention on a CPU: prefill and decode in one order of operations.

Keys and values of a layer live in blocks, one region per block and key-value head::

    keys    [block, kv head, dim, slot]      so that sixteen slots are one vector, and scores come from the tile
    values  [block, kv head, slot, dim]      so that the weighted sum comes from the tile too; dim padded to 16

A task is up to 32 query rows of one sequence that share a key-value head: the heads of its group (GQA) for one or more
tokens. It walks the sequence's keys in chunks of 128, aligned to position 0, and keeps a running softmax (Milakov and
Gimelshein, 2018) per row. A row's chunks, the order inside them, and each sum's lanes are fixed by positions alone,
so a row gets the same bits whether it comes as a decode or in a prefill of any size, alone or in company.
"""

from typing import Any

import numpy as np

from spillway_engine.compiled import Array, compiled
from spillway_engine.cpu.arithmetic import exp, scale_into, sum_of_lanes
from spillway_engine.cpu.vector import LANES, MAX_ROWS, tile

CHUNK = 128
"""Keys per round of the running softmax; block sizes divide it."""

SCORES_STRIDE = CHUNK + LANES
"""Floats between rows of scores: rows a power of two apart would share cache sets."""

TASK_ROWS = 32
"""Query rows of a task, unless a single token's group is larger."""

_MINUS_INFINITY = np.float32(-np.inf)


def task_tokens(group: int) -> int:
    """Tokens of one sequence in a task, for `group` query heads per key-value head."""
    return max(1, TASK_ROWS // group)


def scratch_floats(group: int, head_dim: int, value_dim: int) -> int:
    """Floats of scratch that a thread needs for one task."""
    rows = max(TASK_ROWS, group)
    return rows * (head_dim + value_dim + SCORES_STRIDE + 2) + CHUNK // 2


@compiled
def _highest(scores: Array, folded: Array) -> Any:
    """Return the largest of CHUNK scores, which are folded in halves: each fold is a few vector operations."""
    for i in range(CHUNK // 2):
        folded[i] = scores[CHUNK // 2 + i] if scores[CHUNK // 2 + i] > scores[i] else scores[i]
    for i in range(CHUNK // 4):
        folded[i] = folded[CHUNK // 4 + i] if folded[CHUNK // 4 + i] > folded[i] else folded[i]
    for i in range(CHUNK // 8):
        folded[i] = folded[CHUNK // 8 + i] if folded[CHUNK // 8 + i] > folded[i] else folded[i]
    top = folded[0]
    for i in range(1, LANES):
        top = folded[i] if folded[i] > top else top
    return top


@compiled
def _total(weights: Array, folded: Array) -> Any:
    """Return the sum of CHUNK weights, folded in halves."""
    for i in range(CHUNK // 2):
        folded[i] = weights[i] + weights[CHUNK // 2 + i]
    for i in range(CHUNK // 4):
        folded[i] += folded[CHUNK // 4 + i]
    for i in range(CHUNK // 8):
        folded[i] += folded[CHUNK // 8 + i]
    return sum_of_lanes(folded)


@compiled
def _soften(scores: Array, folded: Array, first: int, last: int, highest: Any) -> Any:
    """Turn a row's CHUNK scores into weights exp(score - max); only columns [first, last) are seen, others weigh 0.

    Returns the new running maximum and the sum of the weights.
    """
    scores[: min(first, CHUNK)] = _MINUS_INFINITY
    scores[min(last, CHUNK) :] = _MINUS_INFINITY
    found = _highest(scores, folded)
    top = found if found > highest else highest
    for i in range(CHUNK):
        scores[i] = exp(scores[i] - top)
    return top, _total(scores, folded)


@compiled
def attend(
    out: Array, out_stride: int, queries: Array, queries_stride: int, token: int, tokens: int, position: int,
    kv_head: int, num_kv_heads: int, group: int, head_dim: int, value_dim: int, window: int, scale: Any,
    keys: Array, values: Array, layer_keys: int, layer_values: int, block_size: int, blocks: Array, blocks_at: Any,
    scratch: Array,
) -> None:  # fmt: skip
    """Attend `tokens` consecutive tokens of one sequence, the first at `position`, for one key-value head.

    `queries` [*, num_heads * head_dim] and `out` hold the packed batch, flat; the task's tokens start at row `token`.
    `layer_keys`, `layer_values` are the layer's offsets in the cache; `blocks[blocks_at:]` is the block table.
    `window` is the sliding window in tokens, 0 for none.
    """
    rows = tokens * group
    weighted = rows * head_dim
    scores = weighted + rows * value_dim
    highest = scores + rows * SCORES_STRIDE
    total = highest + rows
    folded = scratch[total + rows : total + rows + CHUNK // 2]
    for i in range(tokens):
        for g in range(group):
            source = (token + i) * queries_stride + (kv_head * group + g) * head_dim
            to = (i * group + g) * head_dim
            scale_into(scratch[to : to + head_dim], queries[source : source + head_dim], scale)
    scratch[weighted:scores] = np.float32(0.0)
    scratch[highest:total] = _MINUS_INFINITY
    scratch[total : total + rows] = np.float32(0.0)

    end = position + tokens
    start = max(0, position + 1 - window) if window > 0 else 0
    key_region = head_dim * block_size
    value_region = value_dim * block_size
    for chunk in range(start - start % CHUNK, end, CHUNK):
        chunk_end = min(chunk + CHUNK, end)
        for slot in range(chunk, chunk_end, LANES):
            block = blocks[blocks_at + slot // block_size]
            at = layer_keys + (block * num_kv_heads + kv_head) * key_region + slot % block_size
            for r in range(0, rows, MAX_ROWS):
                tile(
                    1, 0, min(MAX_ROWS, rows - r), False, scratch, scores + r * SCORES_STRIDE + slot - chunk,
                    SCORES_STRIDE, scratch, r * head_dim, head_dim, keys, at, block_size, head_dim,
                )  # fmt: skip
        for r in range(rows):
            own = position + r // group
            first = max(0, own + 1 - window - chunk) if window > 0 else 0
            last = own + 1 - chunk
            row = scores + r * SCORES_STRIDE
            if last <= 0 or first >= CHUNK:  # this row sees nothing here, another row of the task does
                scratch[row : row + CHUNK] = np.float32(0.0)
                continue
            before = scratch[highest + r]
            top, added = _soften(scratch[row : row + CHUNK], folded, first, last, before)
            shrink = exp(before - top)
            scratch[highest + r] = top
            scratch[total + r] = scratch[total + r] * shrink + added
            if shrink != np.float32(1.0):
                held = scratch[weighted + r * value_dim : weighted + (r + 1) * value_dim]
                scale_into(held, held, shrink)
        for slot in range(chunk, chunk_end, LANES):
            block = blocks[blocks_at + slot // block_size]
            at = layer_values + (block * num_kv_heads + kv_head) * value_region + slot % block_size * value_dim
            for r in range(0, rows, MAX_ROWS):
                count = min(MAX_ROWS, rows - r)
                weights_at = scores + r * SCORES_STRIDE + slot - chunk
                to = weighted + r * value_dim
                for d in range(0, value_dim - LANES, 2 * LANES):
                    tile(
                        2, 0, count, True, scratch, to + d, value_dim, scratch, weights_at, SCORES_STRIDE, values,
                        at + d, value_dim, LANES,
                    )  # fmt: skip
                if value_dim % (2 * LANES) != 0:
                    d = value_dim - LANES
                    tile(
                        1, 0, count, True, scratch, to + d, value_dim, scratch, weights_at, SCORES_STRIDE, values,
                        at + d, value_dim, LANES,
                    )  # fmt: skip

    for i in range(tokens):
        for g in range(group):
            r = i * group + g
            to = (token + i) * out_stride + (kv_head * group + g) * head_dim
            held = scratch[weighted + r * value_dim : weighted + r * value_dim + head_dim]
            scale_into(out[to : to + head_dim], held, np.float32(1.0) / scratch[total + r])
