"""The device's memory of one model, beside its weights and logits: cache, activations, block tables.

Everything is taken once. No address ever changes, as graphs hold them, and no step can find less than the one before.
"""

from dataclasses import dataclass

import torch

from spillway_engine.cuda.tiles import AttentionTiles
from spillway_engine.cuda.weights import ModelWeights
from spillway_engine.model.config import ModelShape
from spillway_engine.settings import SchedulerSettings

PART_BYTES = 1 << 26
"""For partial results of attention."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cache:
    """Keys and values of all layers: [layers, blocks, kv_heads, block_size, head_dim]."""

    keys: torch.Tensor
    values: torch.Tensor
    key_scales: tuple[float, ...]
    """By layer: what a cached number is multiplied by when it is read. 1 except in float8."""
    value_scales: tuple[float, ...]

    @classmethod
    def empty(cls, shape: ModelShape, limits: SchedulerSettings, dtype: torch.dtype, device: torch.device) -> "Cache":
        """Make a cache of zeros."""
        size = (shape.num_layers, limits.num_blocks, shape.num_kv_heads, limits.block_size, shape.head_dim)
        keys, values = (torch.zeros(size, dtype=dtype, device=device) for _ in range(2))
        ones = (1.0,) * shape.num_layers
        return cls(keys=keys, values=values, key_scales=ones, value_scales=ones)

    def scrub(self, block: int) -> None:
        """Fill a block with zeros."""
        # as bytes: not every operation knows float8
        self.keys[:, block].view(torch.uint8).zero_()
        self.values[:, block].view(torch.uint8).zero_()


def block_bytes(shape: ModelShape, dtype: torch.dtype, block_size: int) -> int:
    """Bytes of one cache block, all layers."""
    return 2 * shape.num_layers * shape.num_kv_heads * shape.head_dim * block_size * dtype.itemsize


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Buffers:
    """What the layers write and read. Sizes: T tokens, S slots."""

    hidden: torch.Tensor
    """[T, hidden] float32: the residual stream."""
    normed: torch.Tensor
    """[T, hidden]."""
    product: torch.Tensor
    """Flat: the widest product of T tokens, rounded."""
    parts: torch.Tensor
    """Flat float32: the parts of products of few rows."""
    queries: torch.Tensor
    """[T, heads * head_dim]."""
    attended: torch.Tensor
    """The same."""
    inner: torch.Tensor
    """[T, intermediate]."""
    part_output: torch.Tensor
    """[records, heads * head_dim] float32: partial results of attention; the next two [records, heads]."""
    part_highest: torch.Tensor
    part_total: torch.Tensor
    tables: torch.Tensor
    """[S + 1, blocks of a sequence] int32; the last row is nobody's."""

    @classmethod
    def allocate(
        cls,
        shape: ModelShape,
        weights: ModelWeights,
        limits: SchedulerSettings,
        tiles: AttentionTiles,
    ) -> "Buffers":
        """Take all of it."""
        dtype = weights.embedding.dtype
        device = weights.embedding.device
        tokens, slots = limits.max_num_batched_tokens, limits.max_num_seqs
        heads = shape.num_heads * shape.head_dim
        records = num_records(shape, limits, tiles)
        widest = max(product.outputs for product in weights.products[:-1])

        def floats(*size: int) -> torch.Tensor:
            return torch.zeros(*size, dtype=torch.float32, device=device)

        def words(*size: int) -> torch.Tensor:
            return torch.zeros(*size, dtype=torch.int32, device=device)

        def numbers(*size: int) -> torch.Tensor:
            return torch.zeros(*size, dtype=dtype, device=device)

        return cls(
            hidden=floats(tokens, shape.hidden_size),
            normed=numbers(tokens, shape.hidden_size),
            product=numbers(tokens * widest),
            parts=floats(max(1, *(product.part_floats(tokens) for product in weights.products[:-1]))),
            queries=numbers(tokens, heads),
            attended=numbers(tokens, heads),
            inner=numbers(tokens, shape.intermediate_size),
            part_output=floats(records, heads),
            part_highest=floats(records, shape.num_heads),
            part_total=floats(records, shape.num_heads),
            tables=words(slots + 1, limits.max_blocks_per_seq),
        )


def num_records(shape: ModelShape, limits: SchedulerSettings, tiles: AttentionTiles) -> int:
    """Partial results that attention may leave: for each sequence at full length, or as many as their share holds."""
    most = limits.max_num_seqs * -(-limits.max_model_len // tiles.split)
    each = shape.num_heads * (shape.head_dim + 2) * 4
    return max(1, min(most, PART_BYTES // each))
