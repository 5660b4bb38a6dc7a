"""Reads a Llama-family checkpoint into the packed form that `program` runs, one layer at a time."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from spillway_engine.cpu.linear import interleave_gate_up, pack, padded
from spillway_engine.cpu.program import Weights
from spillway_engine.cpu.storage import as_array, as_floats
from spillway_engine.cpu.vector import multiplies_pairs
from spillway_engine.model.config import ModelShape
from spillway_engine.model.decoder import DecoderTensors, LayerTensors


class _Layer(NamedTuple):
    """The matrices of a layer in the order in which they are packed, and its vectors."""

    matrices: tuple[torch.Tensor, ...]
    qkv_bias: torch.Tensor | None
    gated_bias: torch.Tensor | None


def packed_elements(shape: ModelShape) -> int:
    """Elements of all panels."""
    hidden, attended = shape.hidden_size, shape.num_heads * shape.head_dim
    qkv = attended + 2 * shape.num_kv_heads * shape.head_dim
    layer = padded(qkv) * hidden + padded(hidden) * attended
    layer += 2 * padded(shape.intermediate_size) * hidden + padded(hidden) * shape.intermediate_size
    return shape.num_layers * layer + padded(shape.vocab_size) * hidden


def can_pair(shape: ModelShape, dtype: torch.dtype) -> bool:
    """Whether this processor multiplies the model's matrices in pairs of bfloat16; every depth must be even."""
    depths = (shape.hidden_size, shape.num_heads * shape.head_dim, shape.intermediate_size)
    return dtype is torch.bfloat16 and multiplies_pairs() and not any(depth % 2 for depth in depths)


def weight_bytes(shape: ModelShape, dtype: torch.dtype) -> int:
    """Bytes that the weights take in memory, the embedding's own copy included."""
    return (packed_elements(shape) + shape.vocab_size * shape.hidden_size) * dtype.itemsize


def load_weights(
    tensors: DecoderTensors,
    shape: ModelShape,
    dtype: torch.dtype,
    max_positions: int,
    report: Callable[[float], None],
    *,
    pairs: bool,
) -> Weights:
    """Read and pack everything, in pairs or not (`linear`); `report` is told the share done.

    Raises what `Checkpoint.tensor` raises.
    """
    panels = torch.empty(packed_elements(shape), dtype=dtype)
    at = 0

    def append(matrix: torch.Tensor) -> None:
        nonlocal at
        size = padded(matrix.shape[0]) * matrix.shape[1]
        pack(matrix, panels[at : at + size], pairs=pairs)
        at += size

    norms: list[torch.Tensor | None] = []
    vectors: dict[str, list[torch.Tensor | None]] = {
        key: [] for key in ("qkv_bias", "o_bias", "gated_bias", "down_bias", "q_norm", "k_norm")
    }
    for index, layer in enumerate(tensors.layers()):
        fused = _fuse(layer)
        for matrix in fused.matrices:
            append(matrix)
        norms += [layer.input_norm, layer.post_attention_norm]
        for key, held in vectors.items():
            held.append(getattr(fused, key) if key in _Layer._fields else getattr(layer, key))
        report((index + 1) / (shape.num_layers + 1))
    embedding = tensors.embedding()
    head = tensors.lm_head()
    append(embedding if head is None else head)
    norms.append(tensors.final_norm())
    report(1.0)
    angles = torch.outer(torch.arange(max_positions, dtype=torch.float32), shape.rope.inv_freq)
    return Weights(
        panels=as_array(panels),
        embedding=as_array(embedding),
        norms=as_floats(norms),
        query_norms=as_floats(vectors["q_norm"]),
        key_norms=as_floats(vectors["k_norm"]),
        qkv_bias=as_floats(vectors["qkv_bias"]),
        output_bias=as_floats(vectors["o_bias"]),
        gated_bias=as_floats(vectors["gated_bias"]),
        down_bias=as_floats(vectors["down_bias"]),
        windows=np.array([window or 0 for window in shape.sliding_windows], np.int64),
        cosines=as_array(angles.cos() * shape.rope.attention_scaling),
        sines=as_array(angles.sin() * shape.rope.attention_scaling),
    )


def _fuse(layer: LayerTensors) -> _Layer:
    qkv = torch.cat([layer.q, layer.k, layer.v])
    biases = [bias for bias in (layer.q_bias, layer.k_bias, layer.v_bias) if bias is not None]
    gated_bias = None
    if layer.gate_bias is not None and layer.up_bias is not None:
        gated_bias = interleave_gate_up(layer.gate_bias, layer.up_bias)
    return _Layer(
        matrices=(qkv, layer.o, interleave_gate_up(layer.gate, layer.up), layer.down),
        qkv_bias=torch.cat(biases) if biases else None,
        gated_bias=gated_bias,
    )
