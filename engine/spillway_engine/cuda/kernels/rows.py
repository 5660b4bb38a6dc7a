"""What lies between matrix products: embedding, norms, gates, rotation and cache writes. One row, one program.

Products come as `multiply` or `multiply_parts` leave them (`linear.read_product`), so adding up parts costs no launch
of its own.
"""

import triton
import triton.language as tl

from spillway_engine.cuda.kernels.linear import read_product


@triton.jit
def embed(hidden, tokens, latest, slots, embedding, SIZE: tl.constexpr, BLOCK: tl.constexpr):
    """Write a token's embedding to `hidden` [tokens, SIZE] float32.

    A token below 0 stands for the one that was sampled last for its slot: the host need not have seen it yet.
    """
    row = tl.program_id(0)
    token = tl.load(tokens + row)
    token = tl.where(token < 0, tl.load(latest + tl.load(slots + row)), token)
    token = tl.maximum(token, 0)  # an unsound row samples -1; what follows it is thrown away
    columns = tl.arange(0, BLOCK)
    mask = columns < SIZE
    values = tl.load(embedding + token.to(tl.int64) * SIZE + columns, mask=mask, other=0.0)
    tl.store(hidden + row.to(tl.int64) * SIZE + columns, values.to(tl.float32), mask=mask)


@triton.jit(do_not_specialize=["part_stride"])
def add_and_norm(
    hidden, normed, source, bias, weight, pick, epsilon, part_stride, SIZE: tl.constexpr, BLOCK: tl.constexpr,
    ADDS: tl.constexpr, PICKS: tl.constexpr, PARTS: tl.constexpr, HAS_BIAS: tl.constexpr,
):  # fmt: skip
    """Add a product to the residual stream in place, and write what its RMS norm is (Zhang and Sennrich, 2019).

    ADDS false: there is nothing to add. PICKS: row i of `normed` is of row `pick[i]`, and `hidden` stays as it is.
    """
    row = tl.program_id(0)
    of = row
    if PICKS:
        of = tl.load(pick + row)
    columns = tl.arange(0, BLOCK)
    mask = columns < SIZE
    at = hidden + of.to(tl.int64) * SIZE + columns
    values = tl.load(at, mask=mask, other=0.0)
    if ADDS:
        values += read_product(
            source, bias, of, columns, mask, part_stride, SIZE, normed.dtype.element_ty, PARTS, HAS_BIAS
        )
        if not PICKS:
            tl.store(at, values, mask=mask)
    factor = tl.rsqrt(tl.sum(values * values, 0) / SIZE + epsilon)
    scaled = values * factor * tl.load(weight + columns, mask=mask, other=0.0).to(tl.float32)
    tl.store(normed + row.to(tl.int64) * SIZE + columns, scaled.to(normed.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["part_stride"])
def gate(
    out, source, bias, part_stride, SIZE: tl.constexpr, BLOCK: tl.constexpr, PARTS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
):  # fmt: skip
    """Write silu(gate) * up to `out` [rows, SIZE]; a row of `source` holds gate, then up."""
    row = tl.program_id(0)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = columns < SIZE
    kind = out.dtype.element_ty
    gates = read_product(source, bias, row, columns, mask, part_stride, 2 * SIZE, kind, PARTS, HAS_BIAS)
    ups = read_product(source, bias, row, columns + SIZE, mask, part_stride, 2 * SIZE, kind, PARTS, HAS_BIAS)
    passed = gates / (1.0 + tl.exp(-gates)) * ups
    tl.store(out + row.to(tl.int64) * SIZE + columns, passed.to(kind), mask=mask)


@triton.jit
def _halves(
    source, bias, row, first, half, part_stride, row_stride, ROUNDED: tl.constexpr, HALF: tl.constexpr,
    PARTS: tl.constexpr, HAS_BIAS: tl.constexpr,
):  # fmt: skip
    """Return both halves of a head, float32, zero beyond HALF."""
    mask = half < HALF
    low = read_product(source, bias, row, first + half, mask, part_stride, row_stride, ROUNDED, PARTS, HAS_BIAS)
    high = read_product(source, bias, row, first + HALF + half, mask, part_stride, row_stride, ROUNDED, PARTS, HAS_BIAS)
    return low, high


@triton.jit
def _normed(low, high, weight, epsilon, half, HALF: tl.constexpr):
    """RMS-normalise a head."""
    mask = half < HALF
    factor = tl.rsqrt((tl.sum(low * low, 0) + tl.sum(high * high, 0)) / (2 * HALF) + epsilon)
    low *= factor * tl.load(weight + half, mask=mask, other=0.0).to(tl.float32)
    high *= factor * tl.load(weight + HALF + half, mask=mask, other=0.0).to(tl.float32)
    return low, high


@triton.jit(do_not_specialize=["part_stride"])
def rotate_and_cache(
    queries, keys, values, source, bias, query_norm, key_norm, cosines, sines, tables, slots, positions,
    epsilon, key_scale, value_scale, part_stride, table_stride, block_stride, head_stride,
    BLOCK_SIZE: tl.constexpr, HEADS: tl.constexpr, KV_HEADS: tl.constexpr, HALF: tl.constexpr, BLOCK: tl.constexpr,
    NORMS: tl.constexpr, PARTS: tl.constexpr, HAS_BIAS: tl.constexpr,
):  # fmt: skip
    """Rotate a token's queries and key (Su et al., 2021; halves as in GPT-NeoX) and put key and value into the cache.

    A row of `source` holds all query heads, then keys, then values, of 2 * HALF each; `queries` is [tokens, HEADS *
    2 * HALF]. A program has one token and one key-value head with its group of query heads. Tokens at a position below
    0 fill a batch up: nothing is done for them. A float8 cache holds numbers divided by its scales.
    """
    token = tl.program_id(0)
    kv_head = tl.program_id(1)
    position = tl.load(positions + token)
    if position >= 0:
        half = tl.arange(0, BLOCK)
        mask = half < HALF
        cosine = tl.load(cosines + position.to(tl.int64) * HALF + half, mask=mask, other=0.0)
        sine = tl.load(sines + position.to(tl.int64) * HALF + half, mask=mask, other=0.0)
        rounded = queries.dtype.element_ty
        row_stride = (HEADS + 2 * KV_HEADS) * 2 * HALF
        for index in range(HEADS // KV_HEADS):
            first = (kv_head * (HEADS // KV_HEADS) + index) * 2 * HALF
            low, high = _halves(
                source, bias, token, first, half, part_stride, row_stride, rounded, HALF, PARTS, HAS_BIAS
            )
            if NORMS:
                low, high = _normed(low, high, query_norm, epsilon, half, HALF)
            at = queries + token.to(tl.int64) * (HEADS * 2 * HALF) + first + half
            tl.store(at, tl.fma(low, cosine, -(high * sine)).to(rounded), mask=mask)
            tl.store(at + HALF, tl.fma(high, cosine, low * sine).to(rounded), mask=mask)
        slot = tl.load(slots + token).to(tl.int64)
        block = tl.load(tables + slot * table_stride + position // BLOCK_SIZE).to(tl.int64)
        to = block * block_stride + kv_head * head_stride + (position % BLOCK_SIZE) * 2 * HALF + half
        kind = keys.dtype.element_ty
        first = (HEADS + kv_head) * 2 * HALF
        low, high = _halves(source, bias, token, first, half, part_stride, row_stride, rounded, HALF, PARTS, HAS_BIAS)
        if NORMS:
            low, high = _normed(low, high, key_norm, epsilon, half, HALF)
        tl.store(keys + to, (tl.fma(low, cosine, -(high * sine)) / key_scale).to(kind), mask=mask)
        tl.store(keys + to + HALF, (tl.fma(high, cosine, low * sine) / key_scale).to(kind), mask=mask)
        first = (HEADS + KV_HEADS + kv_head) * 2 * HALF
        low, high = _halves(source, bias, token, first, half, part_stride, row_stride, rounded, HALF, PARTS, HAS_BIAS)
        tl.store(values + to, (low / value_scale).to(kind), mask=mask)
        tl.store(values + to + HALF, (high / value_scale).to(kind), mask=mask)


@triton.jit
def scatter(tables, places, blocks, num_updates, BLOCK: tl.constexpr):
    """Write new entries of the block tables: `tables[places[i]] = blocks[i]`, each place once."""
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = index < tl.load(num_updates)
    place = tl.load(places + index, mask=mask, other=0)
    tl.store(tables + place, tl.load(blocks + index, mask=mask, other=0), mask=mask)
