"""Paged attention behind transformers' attention interface.

A model loaded with this implementation calls `paged_attention` from each of its attention layers. The layer is found
through the module that calls, so nothing is global but the name, and a process can hold several models.

Scores, softmax and sums are float32 whatever the model's type is. The online softmax follows Milakov & Gimelshein
2018; the fixed order of its chunks is what `packing` describes.
"""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface

from spillway_engine.errors import UnsupportedModelError
from spillway_engine.hf.packing import TILE_QUERIES, Chunk, PackedStep, Tiles

IMPLEMENTATION = "spillway_paged"

_STATE = "spillway_paged_state"
_LOWEST = -1e30
"""Below every score, and finite: a chunk of which a query sees nothing then leaves its sums as they are."""
_FAINTEST = -87.0
"""Exponents stop here, at the end of float32's normal numbers: what lies below is very slow to compute, and nothing."""


@dataclass(frozen=True, slots=True)
class LayerKind:
    """What an attention layer keeps of a token, and how far back it looks."""

    kv_heads: int
    key_dim: int
    value_dim: int
    dtype: torch.dtype
    window: int | None

    @property
    def bytes_per_token(self) -> int:
        """Bytes of one token's keys and values in this layer."""
        return self.kv_heads * (self.key_dim + self.value_dim) * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class LayerCache:
    """Keys and values of one layer: [blocks + 1, kv_heads, block_size, dim]. The last block is never written.

    With slots inside heads, a chunk of keys for one head is a gather of whole contiguous rows.
    """

    keys: torch.Tensor
    values: torch.Tensor

    def write(self, step: PackedStep, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Store a step's keys and values, both [padded_tokens, kv_heads, dim]."""
        n = step.num_tokens
        self.keys[step.write_blocks, :, step.write_slots] = keys[:n]
        self.values[step.write_blocks, :, step.write_slots] = values[:n]

    def zero(self, blocks: torch.Tensor) -> None:
        """Fill blocks with zeros."""
        self.keys[blocks] = 0
        self.values[blocks] = 0


class PagedState:
    """The attention side of one loaded model: its layers as they were met, their caches, and the step that runs."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.kinds: dict[torch.nn.Module, LayerKind] = {}
        """In the order in which a forward pass calls them."""
        self.caches: dict[torch.nn.Module, LayerCache] = {}
        self.step: PackedStep | None = None
        """None: no step runs, and layers that call are only noted down."""
        for module in model.modules():
            setattr(module, _STATE, self)

    def allocate(self, num_blocks: int, block_size: int, device: torch.device) -> None:
        """Make zeroed caches of `num_blocks` blocks, and the one behind them that stands for no block."""
        self.caches = {
            module: LayerCache(
                torch.zeros(num_blocks + 1, kind.kv_heads, block_size, kind.key_dim, dtype=kind.dtype, device=device),
                torch.zeros(num_blocks + 1, kind.kv_heads, block_size, kind.value_dim, dtype=kind.dtype, device=device),
            )
            for module, kind in self.kinds.items()
        }

    def note(self, module: torch.nn.Module, key: torch.Tensor, value: torch.Tensor, window: int | None) -> None:
        """Note down a layer, from keys and values of [1, kv_heads, tokens, dim]."""
        if module in self.kinds:
            raise UnsupportedModelError(f"{type(module).__name__} attends more than once in a pass; that has no cache")
        if getattr(module, "is_causal", True) is False:
            raise UnsupportedModelError(f"{type(module).__name__} is not causal; only decoders can be served")
        self.kinds[module] = LayerKind(key.shape[1], key.shape[3], value.shape[3], key.dtype, window)


def paged_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_unused: Any,
) -> tuple[torch.Tensor, None]:
    """Write this step's keys and values and attend over each sequence's blocks.

    `query` is [1, heads, tokens, key_dim]; `key` and `value` are [1, kv_heads, tokens, dim]. `softcap` bounds scores
    (Gemma 2); `s_aux` [heads] is a score that takes part in the softmax but has no value (attention sinks). Returns
    [1, tokens, heads, value_dim]. What else a model passes is for training or for other implementations.
    """
    state: PagedState = getattr(module, _STATE)
    if attention_mask is not None:
        raise UnsupportedModelError(f"{type(module).__name__} brings a mask of its own; that cannot be paged")
    _, heads, tokens, _ = query.shape
    if state.step is None:
        state.note(module, key, value, sliding_window)
        return query.new_zeros(1, tokens, heads, value.shape[3]), None
    step, cache = state.step, state.caches[module]
    cache.write(step, key[0].transpose(0, 1), value[0].transpose(0, 1))
    tiles = step.tiles(sliding_window, key.shape[1])
    scale = query.shape[3] ** -0.5 if scaling is None else scaling
    attended = _attend(tiles, _tile_queries(tiles, query[0], key.shape[1], scale), cache, softcap, s_aux)
    output = query.new_zeros(1, tokens, heads, value.shape[3])
    output[0, : step.num_tokens] = attended.index_select(0, tiles.places).to(query.dtype)
    return output, None


def _tile_queries(tiles: Tiles, query: torch.Tensor, kv_heads: int, scale: float) -> torch.Tensor:
    """[heads, tokens, dim] to [tiles * kv_heads, group * TILE_QUERIES, dim], float32 and scaled."""
    heads, _, dim = query.shape
    picked = query.transpose(0, 1).index_select(0, tiles.tokens).float() * scale
    split = picked.view(tiles.num_tiles, TILE_QUERIES, kv_heads, heads // kv_heads, dim)
    return split.permute(0, 2, 3, 1, 4).reshape(tiles.num_tiles * kv_heads, -1, dim)


def _attend(
    tiles: Tiles, queries: torch.Tensor, cache: LayerCache, softcap: float | None, sinks: torch.Tensor | None
) -> torch.Tensor:
    """Return [tiles * TILE_QUERIES, heads, value_dim] in float32; empty places hold nothing of meaning."""
    _, kv_heads, _, dim = cache.values.shape
    batch, lanes, _ = queries.shape
    highest = queries.new_full((batch, lanes, 1), _LOWEST)
    total = queries.new_zeros(batch, lanes, 1)
    output = queries.new_zeros(batch, lanes, dim)
    for chunk in tiles.chunks:
        n = chunk.num_tiles * kv_heads
        scores = torch.bmm(queries[:n], _gather(cache.keys, chunk.blocks, n).transpose(1, 2))
        if softcap is not None:
            scores = torch.tanh(scores / softcap) * softcap
        _hide(scores, chunk, _LOWEST)
        higher = torch.maximum(highest[:n], scores.amax(dim=2, keepdim=True))
        weights = (scores - higher).clamp_min_(_FAINTEST).exp_()
        _hide(weights, chunk, 0.0)
        decay = (highest[:n] - higher).clamp_min_(_FAINTEST).exp_()
        total[:n] = total[:n] * decay + weights.sum(dim=2, keepdim=True)
        output[:n] = output[:n] * decay + torch.bmm(weights, _gather(cache.values, chunk.blocks, n))
        highest[:n] = higher
    if sinks is not None:
        sink = sinks.float().view(1, kv_heads, -1, 1).expand(tiles.num_tiles, -1, -1, TILE_QUERIES)
        sink = sink.reshape(batch, lanes, 1)
        higher = torch.maximum(highest, sink)
        decay = torch.exp(highest - higher)
        total, output = total * decay + torch.exp(sink - higher), output * decay
    split = (output / total).view(tiles.num_tiles, kv_heads, -1, TILE_QUERIES, dim)
    return split.permute(0, 3, 1, 2, 4).reshape(tiles.num_tiles * TILE_QUERIES, -1, dim)


def _hide(scores: torch.Tensor, chunk: Chunk, value: float) -> None:
    """Overwrite what queries do not see, in place."""
    if chunk.hidden is not None:
        scores.view(chunk.num_tiles, -1, TILE_QUERIES, scores.shape[2]).masked_fill_(chunk.hidden, value)


def _gather(cache: torch.Tensor, blocks: torch.Tensor, batch: int) -> torch.Tensor:
    """Return the keys or values of one chunk per tile and head: [batch, keys, dim], float32."""
    _, _, block_size, dim = cache.shape
    return cache.view(-1, block_size * dim).index_select(0, blocks).view(batch, -1, dim).float()


AttentionInterface.register(IMPLEMENTATION, paged_attention)
