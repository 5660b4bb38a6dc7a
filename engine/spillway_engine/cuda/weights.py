"""A Llama-family checkpoint on the device: read layer by layer, fused where one product does for several."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from spillway_engine.cuda.linear import LibraryLinear, Linear
from spillway_engine.cuda.tiles import Tiles
from spillway_engine.model.config import ModelShape
from spillway_engine.model.decoder import LayerTensors


class Tensors(Protocol):
    """Where the weights come from: a checkpoint (`model.decoder.DecoderTensors`), or made up for a benchmark."""

    def embedding(self) -> torch.Tensor:
        """[vocab_size, hidden_size]."""
        ...

    def final_norm(self) -> torch.Tensor:
        """[hidden_size]."""
        ...

    def lm_head(self) -> torch.Tensor | None:
        """[vocab_size, hidden_size], or None where the embedding serves as the head."""
        ...

    def layer_tensors(self, layer: int) -> LayerTensors:
        """Return one layer."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerWeights:
    """One layer; norms are [size], products as `Linear`s."""

    input_norm: torch.Tensor
    qkv: Linear
    """All query heads, then keys, then values."""
    query_norm: torch.Tensor | None
    key_norm: torch.Tensor | None
    output: Linear
    post_norm: torch.Tensor
    gate_up: Linear
    """Gate, then up."""
    down: Linear
    window: int | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelWeights:
    """A whole model on the device."""

    embedding: torch.Tensor
    layers: tuple[LayerWeights, ...]
    final_norm: torch.Tensor
    head: Linear
    cosines: torch.Tensor
    """[positions, head_dim / 2] float32, scaled; sines the same."""
    sines: torch.Tensor

    @property
    def products(self) -> tuple[Linear, ...]:
        """One of each shape: the layers' are alike."""
        first = self.layers[0]
        return (first.qkv, first.output, first.gate_up, first.down, self.head)


def weight_bytes(shape: ModelShape, dtype: torch.dtype) -> int:
    """Bytes that the weights take on the device."""
    hidden, inner = shape.hidden_size, shape.intermediate_size
    heads, kv_heads = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    layer = hidden * (heads + 2 * kv_heads) + heads * hidden + 3 * hidden * inner + 2 * hidden
    embeddings = 1 if shape.tie_word_embeddings else 2
    return (shape.num_layers * layer + embeddings * shape.vocab_size * hidden + hidden) * dtype.itemsize


def load_weights(
    tensors: Tensors,
    shape: ModelShape,
    tiles: Tiles,
    device: torch.device,
    *,
    max_positions: int,
    report: Callable[[float], None],
    invariant: bool = True,
) -> ModelWeights:
    """Read everything; `report` is told the share done. Raises what reading raises.

    `invariant`: products are our own, row by row the same bits in any batch; otherwise the vendor's library makes them.
    """
    kind = Linear if invariant else LibraryLinear

    def product(parts: Sequence[torch.Tensor], biases: Sequence[torch.Tensor | None]) -> Linear:
        weight = _stacked(parts, device)
        known = [bias for bias in biases if bias is not None]
        return kind.of(weight, _stacked(known, device) if known else None, tiles)

    layers = []
    for number in range(shape.num_layers):
        layer = tensors.layer_tensors(number)
        layers.append(
            LayerWeights(
                input_norm=layer.input_norm.to(device),
                qkv=product((layer.q, layer.k, layer.v), (layer.q_bias, layer.k_bias, layer.v_bias)),
                query_norm=None if layer.q_norm is None else layer.q_norm.to(device),
                key_norm=None if layer.k_norm is None else layer.k_norm.to(device),
                output=product((layer.o,), (layer.o_bias,)),
                post_norm=layer.post_attention_norm.to(device),
                gate_up=product((layer.gate, layer.up), (layer.gate_bias, layer.up_bias)),
                down=product((layer.down,), (layer.down_bias,)),
                window=shape.sliding_windows[number],
            )
        )
        report((number + 1) / (shape.num_layers + 1))
    embedding = tensors.embedding().to(device)
    head = tensors.lm_head()
    angles = torch.outer(torch.arange(max_positions, dtype=torch.float32), shape.rope.inv_freq)
    report(1.0)
    return ModelWeights(
        embedding=embedding,
        layers=tuple(layers),
        final_norm=tensors.final_norm().to(device),
        head=kind.of(embedding if head is None else head.to(device), None, tiles),
        cosines=(angles.cos() * shape.rope.attention_scaling).to(device),
        sines=(angles.sin() * shape.rope.attention_scaling).to(device),
    )


def _stacked(parts: Sequence[torch.Tensor], device: torch.device) -> torch.Tensor:
    """Put tensors under one another on the device; never more than one of them lies there twice."""
    whole = torch.empty(sum(part.shape[0] for part in parts), *parts[0].shape[1:], dtype=parts[0].dtype, device=device)
    at = 0
    for part in parts:
        whole[at : at + part.shape[0]].copy_(part)
        at += part.shape[0]
    return whole
