"""A step of a Llama-family model, written once and run by every thread of the team at the same time.

Each phase is split between the threads by rows, columns (panels) or tasks; a barrier ends it::

    embed ─ [norm ┊ qkv ┊ rope + cache ┊ attention ┊ o + residual ┊ norm ┊ gate·up ┊ down + residual] x layers
          ─ final norm of the rows that want logits ┊ lm_head ┊ sample

Arguments come in named tuples of flat arrays that never move, so that a thread needs them only once.
"""

from typing import Any, NamedTuple

import numpy as np

from spillway_engine.compiled import Array, compiled
from spillway_engine.cpu.arithmetic import add, narrow, normalise, rotate, widen
from spillway_engine.cpu.atomic import atomic_add, atomic_store
from spillway_engine.cpu.attention import attend
from spillway_engine.cpu.barrier import meet, next_step
from spillway_engine.cpu.linear import PANEL, multiply, multiply_gated, num_panels, share
from spillway_engine.cpu.vector import LANES
from spillway_engine.sampling.penalties import copy
from spillway_engine.sampling.row import RowArrays, Scratch, SlotArrays, sample_row


class Dims(NamedTuple):
    """Sizes of the model and of the buffers, in elements."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    """`head_dim` padded to whole vectors, as values are cached."""
    inner: int
    vocab: int
    epsilon: np.float32
    scale: np.float32
    """Of attention scores."""
    block_size: int
    max_blocks: int
    """Width of the block table."""
    hidden_stride: int
    qkv_stride: int
    attended_stride: int
    inner_stride: int
    logits_stride: int


class Weights(NamedTuple):
    """Packed panels in storage format, layer after layer: qkv, o, gate and up in pairs, down; at the end the head."""

    panels: Array
    embedding: Array
    """[vocab * hidden], storage format."""
    norms: Array
    """[(2 * layers + 1) * hidden] float32: input and post-attention of each layer, then the final one."""
    query_norms: Array
    """[layers * head_dim] float32, or empty."""
    key_norms: Array
    qkv_bias: Array
    """[layers * qkv columns] float32, or empty; so the other biases."""
    output_bias: Array
    gated_bias: Array
    down_bias: Array
    windows: Array
    """[layers] int64: sliding window in tokens, 0 for none."""
    cosines: Array
    """[max_model_len * head_dim / 2] float32, scaled as the model's rope scaling says."""
    sines: Array


class Cache(NamedTuple):
    """The paged key-value cache, in storage format (see `attention`)."""

    keys: Array
    values: Array
    layer_keys: int
    """Elements per layer."""
    layer_values: int


class Step(NamedTuple):
    """What to compute, filled before each step."""

    counts: Array
    """int64, by the indices below."""
    tokens: Array
    positions: Array
    token_slots: Array
    """Slot of each token: its row of the block table."""
    task_first: Array
    """First token of each attention task, in the packed batch."""
    task_length: Array
    logit_rows: Array
    """Packed token whose hidden state goes to the head, for each row of logits."""
    block_table: Array
    """[slots * max_blocks] int32."""


class Buffers(NamedTuple):
    """Activations, float32; those that are multiplied may be bfloat16 (see `linear`)."""

    hidden: Array
    normed: Array
    qkv: Array
    attended: Array
    inner: Array
    logits: Array
    """[rows, padded vocab]; the others are flat."""
    scratch: Array
    """[threads, floats]: for widened panels and attention."""
    tickets: Array
    """int64, one counter a layer: attention tasks are drawn, as their lengths differ."""


class Sampling(NamedTuple):
    """The sampler's arrays (see `sampling.row`)."""

    rows: RowArrays
    slots: SlotArrays
    scratch: Scratch


TOKENS, TASKS, LOGIT_ROWS, SAMPLED_ROWS, SKIP_BODY = range(5)
"""Indices of `Step.counts`: packed tokens; attention tasks, not yet multiplied by key-value heads; rows of logits; how
many of these, from the first, are sampled; whether to run the head alone, over the step before's hidden states."""


@compiled
def _norm_rows(
    out: Array,
    hidden: Array,
    stride: int,
    weight: Array,
    epsilon: Any,
    first: int,
    last: int,
    bias: Array,
    lanes: Array,
) -> None:
    """Normalise rows [first, last) into `out`, after adding the previous linear's bias, if any, to `hidden` itself."""
    length = weight.size
    for t in range(first, last):
        at = t * stride
        row = hidden[at : at + length]
        if bias.size > 0:
            add(row, bias)
        normalise(out[at : at + length], row, weight, epsilon, lanes)


@compiled
def _rotate_head(head: Array, cosines: Array, sines: Array, norm: Array, epsilon: Any, lanes: Array) -> None:
    """Apply an optional norm (Qwen3) and the rotary embedding to one head in place."""
    if norm.size > 0:
        normalise(head, head, norm, epsilon, lanes)
    half = head.size // 2
    rotate(head[:half], head[half:], cosines, sines)


@compiled
def _rotate_and_cache(
    layer: int, first: int, last: int, dims: Dims, weights: Weights, cache: Cache, step: Step, qkv: Array, lanes: Array
) -> None:
    """For tokens [first, last): bias, query and key norms, rope, and the write of keys and values into the cache."""
    dim, value_dim, block_size, epsilon = dims.head_dim, dims.value_dim, dims.block_size, dims.epsilon
    columns = (dims.heads + 2 * dims.kv_heads) * dim
    query_norm = _of_layer(weights.query_norms, layer, dim)
    key_norm = _of_layer(weights.key_norms, layer, dim)
    bias = _of_layer(weights.qkv_bias, layer, columns)
    for t in range(first, last):
        row = qkv[t * dims.qkv_stride : t * dims.qkv_stride + columns]
        if bias.size > 0:
            add(row, bias)
        position = np.int64(step.positions[t])
        cosines = _of_layer(weights.cosines, position, dim // 2)
        sines = _of_layer(weights.sines, position, dim // 2)
        for h in range(dims.heads):
            _rotate_head(row[h * dim : (h + 1) * dim], cosines, sines, query_norm, epsilon, lanes)
        block = step.block_table[step.token_slots[t] * dims.max_blocks + position // block_size]
        slot = position % block_size
        for h in range(dims.kv_heads):
            region = np.int64(block) * dims.kv_heads + h
            key = row[(dims.heads + h) * dim : (dims.heads + h + 1) * dim]
            _rotate_head(key, cosines, sines, key_norm, epsilon, lanes)
            to = layer * cache.layer_keys + region * dim * block_size
            narrow(cache.keys[to + slot : to + dim * block_size : block_size], key)
            value = row[(dims.heads + dims.kv_heads + h) * dim : (dims.heads + dims.kv_heads + h + 1) * dim]
            to = layer * cache.layer_values + region * value_dim * block_size + slot * value_dim
            narrow(cache.values[to : to + dim], value)


@compiled
def _of_layer(array: Array, index: Any, length: int) -> Array:
    """Return the `index`-th piece of `length` of a flat array; an empty one stays empty."""
    return array[index * length : (index + 1) * length]


@compiled
def _run_layers(
    thread: int, threads: int, control: Array, dims: Dims, weights: Weights, cache: Cache, step: Step, buffers: Buffers
) -> None:
    rows = step.counts[TOKENS]
    hidden, normed, qkv = buffers.hidden, buffers.normed, buffers.qkv
    scratch = buffers.scratch[thread]
    lanes = scratch[:LANES]
    stride = dims.hidden_stride
    qkv_panels = num_panels((dims.heads + 2 * dims.kv_heads) * dims.head_dim)
    hidden_panels = num_panels(dims.hidden)
    gated_pairs = num_panels(dims.inner)
    first_row, last_row = share(rows, thread, threads)
    at = 0
    for t in range(first_row, last_row):
        to = t * stride
        token = _of_layer(weights.embedding, np.int64(step.tokens[t]), dims.hidden)
        widen(hidden[to : to + dims.hidden], token)
    for layer in range(dims.layers):
        if thread == 0:
            atomic_store(buffers.tickets, layer, 0)
        norm = _of_layer(weights.norms, 2 * layer, dims.hidden)
        bias = _of_layer(weights.down_bias, layer - 1, dims.hidden) if layer > 0 else weights.down_bias[:0]
        _norm_rows(normed, hidden, stride, norm, dims.epsilon, first_row, last_row, bias, lanes)
        meet(control, threads)

        first, last = share(qkv_panels, thread, threads)
        multiply(
            qkv, dims.qkv_stride, normed, stride, rows, weights.panels, at, dims.hidden, first, last, scratch, False
        )
        at += qkv_panels * PANEL * dims.hidden
        meet(control, threads)

        _rotate_and_cache(layer, first_row, last_row, dims, weights, cache, step, qkv, lanes)
        meet(control, threads)

        ticket = atomic_add(buffers.tickets, layer, 1)
        while ticket < step.counts[TASKS] * dims.kv_heads:
            task, kv_head = ticket // dims.kv_heads, ticket % dims.kv_heads
            token_at = step.task_first[task]
            attend(
                buffers.attended, dims.attended_stride, qkv, dims.qkv_stride, token_at, step.task_length[task],
                step.positions[token_at], kv_head, dims.kv_heads, dims.heads // dims.kv_heads, dims.head_dim,
                dims.value_dim, weights.windows[layer], dims.scale, cache.keys, cache.values, layer * cache.layer_keys,
                layer * cache.layer_values, dims.block_size, step.block_table,
                np.int64(step.token_slots[token_at]) * dims.max_blocks, scratch,
            )  # fmt: skip
            ticket = atomic_add(buffers.tickets, layer, 1)
        meet(control, threads)

        depth = dims.heads * dims.head_dim
        first, last = share(hidden_panels, thread, threads)
        multiply(
            hidden, stride, buffers.attended, dims.attended_stride, rows, weights.panels, at, depth, first, last,
            scratch, True,
        )  # fmt: skip
        at += hidden_panels * PANEL * depth
        meet(control, threads)

        norm = _of_layer(weights.norms, 2 * layer + 1, dims.hidden)
        bias = _of_layer(weights.output_bias, layer, dims.hidden)
        _norm_rows(normed, hidden, stride, norm, dims.epsilon, first_row, last_row, bias, lanes)
        meet(control, threads)

        first, last = share(gated_pairs, thread, threads)
        multiply_gated(
            buffers.inner, dims.inner_stride, normed, stride, rows, weights.panels, at, dims.hidden, first, last,
            scratch, weights.gated_bias, layer * gated_pairs * 2 * PANEL,
        )  # fmt: skip
        at += gated_pairs * 2 * PANEL * dims.hidden
        meet(control, threads)

        first, last = share(hidden_panels, thread, threads)
        multiply(
            hidden, stride, buffers.inner, dims.inner_stride, rows, weights.panels, at, dims.inner, first, last,
            scratch, True,
        )  # fmt: skip
        at += hidden_panels * PANEL * dims.inner
        meet(control, threads)


@compiled
def _run_head(
    thread: int, threads: int, control: Array, dims: Dims, weights: Weights, head_at: int, step: Step, buffers: Buffers
) -> None:
    """Compute `buffers.logits` of the packed tokens in `step.logit_rows`."""
    hidden, normed, stride = buffers.hidden, buffers.normed, dims.hidden_stride
    scratch = buffers.scratch[thread]
    wanted = step.counts[LOGIT_ROWS]
    first, last = share(wanted, thread, threads)
    norm = _of_layer(weights.norms, 2 * dims.layers, dims.hidden)
    bias = _of_layer(weights.down_bias, dims.layers - 1, dims.hidden)
    held = scratch[LANES : LANES + dims.hidden]
    for row in range(first, last):
        source = step.logit_rows[row] * stride
        copy(hidden[source : source + dims.hidden], held)  # the head may run again: `hidden` stays as it is
        if bias.size > 0:
            add(held, bias)
        normalise(normed[row * stride : row * stride + dims.hidden], held, norm, dims.epsilon, scratch[:LANES])
    meet(control, threads)
    first, last = share(num_panels(dims.vocab), thread, threads)
    multiply(
        buffers.logits.reshape(-1), dims.logits_stride, normed, stride, wanted, weights.panels, head_at, dims.hidden,
        first, last, scratch, False,
    )  # fmt: skip
    meet(control, threads)


@compiled
def serve_steps(
    thread: int, threads: int, control: Array, pipe: int, byte: Array, dims: Dims, weights: Weights, cache: Cache,
    step: Step, buffers: Buffers, sampling: Sampling,
) -> None:  # fmt: skip
    """Run this thread's share of one step as thread 0; as any other, of every step until the team goes home.

    All threads run a step together; its last barrier is its end. Everything is called from here and not through layers
    of functions, for each layer would be compiled with all that is below it again.
    """
    head_at = weights.panels.size - num_panels(dims.vocab) * PANEL * dims.hidden
    seen = 0
    while True:
        if thread > 0:
            seen = next_step(control, thread, seen, pipe, byte)
            if seen < 0:
                return
        # read now: once the last barrier is behind thread 0, it may fill these words for the next step
        sampled = step.counts[SAMPLED_ROWS]
        if step.counts[SKIP_BODY] == 0:
            _run_layers(thread, threads, control, dims, weights, cache, step, buffers)
        _run_head(thread, threads, control, dims, weights, head_at, step, buffers)
        if sampled > 0:
            rows, slots, scratch = sampling.rows, sampling.slots, sampling.scratch
            first, last = share(sampled, thread, threads)
            for row in range(first, last):
                logits = buffers.logits[row, : dims.vocab]
                rows.token_ids[row] = sample_row(logits, rows.slots[row], rows.positions[row], slots, scratch, thread)
            meet(control, threads)
        if thread == 0:
            return
