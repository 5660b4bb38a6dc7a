"""Paged attention: decode and prefill as tasks of one kernel, so that both reduce in one order.

A task is a tile of queries of one sequence and a range of key splits. Splits are `SPLIT` keys on a fixed grid of
positions; inside a split a running softmax (Milakov and Gimelshein, 2018) walks over tiles of `TILE` keys, and splits
are merged one after another::

    keys      0      SPLIT   2*SPLIT  3*SPLIT   position
              │ ▪▪▪▪ │ ▪▪▪▪  │ ▪▪▪▪   │ ▪▪       ▪ a tile of keys
    prefill   ├──────┴───────┴────────┴──▶       one task: merges as it goes, writes the output
    decode    ├──────┤├──────┤├───────┤├─▶       a task for each split: partial results, merged by `combine`

`attend` and `combine` merge by the same function in the same order, so a query's bits depend neither on how its keys
were shared out nor on whether it came as a decode or in a chunk (Dao et al., 2022; split keys: Dao et al., 2023).
The queries of a group (GQA) stand in one tile: one load of keys and values serves them all. Scores and sums are
float32; exponents are base 2.

Programs are persistent: they take tasks in turn until `num_tasks`, which is read on the device. So one captured graph
serves any mix of lengths.
"""

import triton
import triton.language as tl


@triton.jit
def _merge(highest, total, output, part_highest, part_total, part_output):
    """Add a split's running softmax to the running one of the splits before it. Rows that saw nothing change nothing.

    Spelled with `fma`: `attend` and `combine` must round alike, whatever else the compiler contracts around them.
    """
    higher = tl.maximum(highest, part_highest)
    finite = tl.where(higher == float("-inf"), 0.0, higher)
    decay = tl.exp2(highest - finite)
    weight = tl.exp2(part_highest - finite)
    total = tl.fma(total, decay, part_total * weight)
    output = tl.fma(output, decay[:, None], part_output * weight[:, None])
    return higher, total, output


@triton.jit
def _normalised(total, output):
    """Divide by the sum of weights; a row that saw nothing becomes zero."""
    return output / tl.where(total == 0.0, 1.0, total)[:, None]


@triton.jit
def _bounded(scores, softcap):
    """Return softcap * tanh(scores / softcap), by an exponential that cannot overflow."""
    x = scores / softcap
    e = tl.exp2(-2.885390081777927 * tl.abs(x))  # e**(-2|x|)
    magnitude = (1.0 - e) / (1.0 + e)
    return softcap * tl.where(x < 0.0, -magnitude, magnitude)


@triton.jit
def _attend_split(
    query, seen_first, seen_last, first_key, last_key, row_table, keys, values, kv_head, scale, softcap, key_scale,
    value_scale, block_stride, head_stride,
    BLOCK_SIZE: tl.constexpr, HEAD_DIM: tl.constexpr, DIM: tl.constexpr, ROWS: tl.constexpr, TILE: tl.constexpr,
    SOFTCAP: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Attend over keys [first_key, last_key): highest score [ROWS], sum of weights [ROWS], output [ROWS, DIM].

    A row sees the keys from `seen_first` to `seen_last`, both [ROWS] and inclusive. `first_key` is a multiple of TILE.
    """
    highest = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    output = tl.zeros([ROWS, DIM], tl.float32)
    dims = tl.arange(0, DIM)
    for start in range(first_key, last_key, TILE):
        key = start + tl.arange(0, TILE)
        inside = key < last_key
        block = tl.load(row_table + key // BLOCK_SIZE, mask=inside, other=0).to(tl.int64)
        at = block * block_stride + kv_head * head_stride + (key % BLOCK_SIZE) * HEAD_DIM
        mask = inside[:, None] & (dims < HEAD_DIM)[None, :]
        k = tl.load(keys + at[:, None] + dims[None, :], mask=mask, other=0.0).to(query.dtype)
        scores = tl.dot(query, tl.trans(k), input_precision=PRECISION) * (scale * key_scale)
        if SOFTCAP:
            scores = _bounded(scores, softcap)
        seen = (key[None, :] >= seen_first[:, None]) & (key[None, :] <= seen_last[:, None])
        scores = tl.where(seen, scores * 1.4426950408889634, float("-inf"))
        higher = tl.maximum(highest, tl.max(scores, 1))
        finite = tl.where(higher == float("-inf"), 0.0, higher)
        weights = tl.exp2(scores - finite[:, None])
        decay = tl.exp2(highest - finite)
        total = tl.fma(total, decay, tl.sum(weights, 1))
        v = tl.load(values + at[:, None] + dims[None, :], mask=mask, other=0.0).to(query.dtype)
        output = tl.dot(weights.to(query.dtype), v, output * decay[:, None], input_precision=PRECISION)
        highest = higher
    return highest, total, output * value_scale


@triton.jit
def attend(
    out, queries, keys, values, tables, positions,
    task_token, task_count, task_row, task_split, task_splits, task_part, num_tasks,
    part_output, part_highest, part_total,
    scale, softcap, key_scale, value_scale, window,
    query_stride, out_stride, table_stride, block_stride, head_stride,
    BLOCK_SIZE: tl.constexpr, HEAD_DIM: tl.constexpr, DIM: tl.constexpr, KV_HEADS: tl.constexpr, GROUP: tl.constexpr,
    ROWS: tl.constexpr, TILE: tl.constexpr, SPLIT: tl.constexpr, SOFTCAP: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Run the tasks of a step for one layer.

    `queries` and `out` are [tokens, heads * HEAD_DIM]; `keys` and `values` [blocks, KV_HEADS, BLOCK_SIZE, HEAD_DIM];
    `tables` [rows, blocks of a sequence]; `positions` [tokens]. Task arrays are int32: the first packed token, how many
    tokens (at most ROWS // GROUP), the row of `tables`, the first split and how many, and the record that takes a
    partial result (below 0: the task covers all its splits and writes `out`). `window` is how many keys a query sees
    with itself, at most. Partial results are [records, heads(, HEAD_DIM)] float32.
    """
    rows = tl.arange(0, ROWS)
    dims = tl.arange(0, DIM)
    count_of_tasks = tl.load(num_tasks) * KV_HEADS
    for work in range(tl.program_id(0), count_of_tasks, tl.num_programs(0)):
        task = work // KV_HEADS
        kv_head = work % KV_HEADS
        first_token = tl.load(task_token + task)
        num_tokens = tl.load(task_count + task)
        row = tl.load(task_row + task)
        split = tl.load(task_split + task)
        num_splits = tl.load(task_splits + task)
        part = tl.load(task_part + task)

        token = rows // GROUP
        head = kv_head * GROUP + rows % GROUP
        filled = token < num_tokens
        first_position = tl.load(positions + first_token)
        seen_last = first_position + tl.where(filled, token, 0)
        seen_first = tl.maximum(seen_last - window + 1, 0)
        length = first_position + num_tokens
        mask = filled[:, None] & (dims < HEAD_DIM)[None, :]
        packed = (first_token + token).to(tl.int64)
        at = packed[:, None] * query_stride + head[:, None] * HEAD_DIM + dims[None, :]
        query = tl.load(queries + at, mask=mask, other=0.0)

        first_seen = tl.maximum(first_position - window + 1, 0)
        highest = tl.full([ROWS], float("-inf"), tl.float32)
        total = tl.zeros([ROWS], tl.float32)
        output = tl.zeros([ROWS, DIM], tl.float32)
        row_table = tables + row.to(tl.int64) * table_stride
        for number in range(tl.maximum(split, first_seen // SPLIT), split + num_splits):
            first_key = tl.maximum(number * SPLIT, first_seen // TILE * TILE)
            last_key = tl.minimum((number + 1) * SPLIT, length)
            part_h, part_t, part_o = _attend_split(
                query, seen_first, seen_last, first_key, last_key, row_table, keys, values, kv_head, scale, softcap,
                key_scale, value_scale, block_stride, head_stride, BLOCK_SIZE, HEAD_DIM, DIM, ROWS, TILE, SOFTCAP,
                PRECISION,
            )  # fmt: skip
            highest, total, output = _merge(highest, total, output, part_h, part_t, part_o)
        if part < 0:
            to = packed[:, None] * out_stride + head[:, None] * HEAD_DIM + dims[None, :]
            tl.store(out + to, _normalised(total, output).to(out.dtype.element_ty), mask=mask)
        else:
            record = part.to(tl.int64) * (KV_HEADS * GROUP) + head
            tl.store(part_highest + record, highest, mask=filled)
            tl.store(part_total + record, total, mask=filled)
            tl.store(part_output + record[:, None] * HEAD_DIM + dims[None, :], output, mask=mask)


@triton.jit
def combine(
    out, part_output, part_highest, part_total, merge_token, merge_part, merge_parts, num_merges, out_stride,
    HEAD_DIM: tl.constexpr, DIM: tl.constexpr, KV_HEADS: tl.constexpr, GROUP: tl.constexpr, HEADS: tl.constexpr,
):  # fmt: skip
    """Merge the partial results of decodes, first split to last, and write `out`.

    A merge is a packed token, its first record and how many follow one another; a program takes one merge and one
    group of heads. HEADS is GROUP, padded to a power of two.
    """
    merge = tl.program_id(0)
    if merge < tl.load(num_merges):
        group = tl.arange(0, HEADS)
        dims = tl.arange(0, DIM)
        head = tl.program_id(1) * GROUP + group
        filled = group < GROUP
        mask = filled[:, None] & (dims < HEAD_DIM)[None, :]
        token = tl.load(merge_token + merge).to(tl.int64)
        first = tl.load(merge_part + merge)
        highest = tl.full([HEADS], float("-inf"), tl.float32)
        total = tl.zeros([HEADS], tl.float32)
        output = tl.zeros([HEADS, DIM], tl.float32)
        for index in range(tl.load(merge_parts + merge)):
            record = (first + index).to(tl.int64) * (KV_HEADS * GROUP) + head
            part_h = tl.load(part_highest + record, mask=filled, other=float("-inf"))
            part_t = tl.load(part_total + record, mask=filled, other=0.0)
            part_o = tl.load(part_output + record[:, None] * HEAD_DIM + dims[None, :], mask=mask, other=0.0)
            highest, total, output = _merge(highest, total, output, part_h, part_t, part_o)
        to = token * out_stride + head[:, None] * HEAD_DIM + dims[None, :]
        tl.store(out + to, _normalised(total, output).to(out.dtype.element_ty), mask=mask)
