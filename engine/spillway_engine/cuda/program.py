"""A step of the whole model as launches, from token ids to sampled tokens. Nothing here waits for the device.

::

    scatter ─▶ embed ─▶ ┌ norm ─▶ qkv ─▶ rotate, cache ─▶ attend (─▶ combine) ─▶ output ┐
                        │ norm ─▶ gate, up ─▶ gate ─▶ down ────────────────────────────┘ each layer
    norm of the rows that sample ─▶ head ─▶ logits ─▶ tokens (─▶ logprobs)

The same launches serve an ordinary step and one that is recorded as a graph. Sizes that change inside of a graph
(tasks, merges, updates) are read on the device.
"""

from dataclasses import dataclass

import torch

from spillway_engine.cuda.buffers import Buffers, Cache
from spillway_engine.cuda.choosing import Choosing
from spillway_engine.cuda.inputs import Extent, Inputs
from spillway_engine.cuda.kernels import rows
from spillway_engine.cuda.kernels.attention import attend, combine
from spillway_engine.cuda.linear import Linear, Product, precision
from spillway_engine.cuda.tiles import AttentionTiles, power_of_two
from spillway_engine.cuda.weights import LayerWeights, ModelWeights
from spillway_engine.model.config import ModelShape

_EVERYTHING = 1 << 30
"""As a window: more positions than there are."""
_UPDATES = 128
"""Updates of block tables to a program."""
_GATED = 1024
"""Columns of a gate to a program."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Program:
    """A model, its memory, and how it is run."""

    shape: ModelShape
    weights: ModelWeights
    cache: Cache
    buffers: Buffers
    choosing: Choosing
    tiles: AttentionTiles
    num_programs: int
    """Persistent programs of attention: as many as the device runs at once."""

    def run(self, inputs: Inputs[torch.Tensor], extent: Extent) -> None:
        """Compute a step of `extent`, sample its rows, and find the logprobs that they want."""
        self.finish(inputs, extent, self.forward(inputs, extent))

    def finish(self, inputs: Inputs[torch.Tensor], extent: Extent, residue: Product) -> None:
        """Sample the rows of a step that `forward` has run."""
        if extent.rows:
            self.head(inputs.pick, extent.rows, residue)
            self.choosing.sample(inputs.words, extent.rows)
            self.choosing.logprobs(inputs.words, self.choosing.token_ids, extent.rows)

    def forward(self, inputs: Inputs[torch.Tensor], extent: Extent) -> Product:
        """Run all layers; return what the last one still has to add to the residual stream."""
        buffers, count = self.buffers, extent.tokens
        hidden = self.shape.hidden_size
        if extent.updates:
            rows.scatter[(-(-extent.updates // _UPDATES),)](
                buffers.tables, inputs.update_places, inputs.update_blocks, inputs.num_updates, BLOCK=_UPDATES
            )
        rows.embed[(count,)](
            buffers.hidden, inputs.tokens, self.choosing.latest, inputs.slots, self.weights.embedding, SIZE=hidden,
            BLOCK=power_of_two(hidden),
        )  # fmt: skip
        residue: Product | None = None
        for number, layer in enumerate(self.weights.layers):
            self._norm(residue, layer.input_norm, count)
            self._attend(inputs, extent, number, layer)
            residue = self._product(layer.output, buffers.attended, count)
            self._norm(residue, layer.post_norm, count)
            residue = self._feed_forward(layer, count)
        assert residue is not None  # noqa: S101 - a model has layers
        return residue

    def head(self, pick: torch.Tensor, count: int, residue: Product) -> None:
        """Compute the logits of `count` packed tokens. Changes nothing that another call would need."""
        self._norm(residue, self.weights.final_norm, count, pick)
        self.weights.head.into(self.buffers.normed, count, self.choosing.logits)

    # ---- the parts of a layer ----

    def _norm(
        self, residue: Product | None, weight: torch.Tensor, count: int, pick: torch.Tensor | None = None
    ) -> None:
        buffers, hidden = self.buffers, self.shape.hidden_size
        source = residue or Product(buffers.product, None, 0, 0)
        rows.add_and_norm[(count,)](
            buffers.hidden, buffers.normed, source.source, source.bias, weight, pick, self.shape.rms_norm_eps,
            source.part_stride, SIZE=hidden, BLOCK=power_of_two(hidden), ADDS=residue is not None,
            PICKS=pick is not None, PARTS=source.parts, HAS_BIAS=source.bias is not None, num_warps=8,
            enable_fp_fusion=False,
        )  # fmt: skip

    def _product(self, linear: Linear, left: torch.Tensor, count: int) -> Product:
        out = self.buffers.product[: count * linear.outputs].view(count, linear.outputs)
        return linear(left, count, out, self.buffers.parts)

    def _attend(self, inputs: Inputs[torch.Tensor], extent: Extent, number: int, layer: LayerWeights) -> None:
        shape, buffers, cache, tiles = self.shape, self.buffers, self.cache, self.tiles
        count, group, width = extent.tokens, shape.group_size, shape.num_heads * shape.head_dim
        keys, values = cache.keys[number], cache.values[number]
        qkv = self._product(layer.qkv, buffers.normed, count)
        rows.rotate_and_cache[(count, shape.num_kv_heads)](
            buffers.queries, keys, values, qkv.source, qkv.bias, layer.query_norm, layer.key_norm,
            self.weights.cosines, self.weights.sines, buffers.tables, inputs.slots, inputs.positions,
            shape.rms_norm_eps, cache.key_scales[number], cache.value_scales[number], qkv.part_stride,
            buffers.tables.stride(0), keys.stride(0), keys.stride(1),
            BLOCK_SIZE=keys.shape[2], HEADS=shape.num_heads, KV_HEADS=shape.num_kv_heads, HALF=shape.head_dim // 2,
            BLOCK=power_of_two(shape.head_dim // 2), NORMS=layer.query_norm is not None, PARTS=qkv.parts,
            HAS_BIAS=qkv.bias is not None, num_warps=1, enable_fp_fusion=False,
        )  # fmt: skip
        padded = max(16, power_of_two(shape.head_dim))
        attend[(self.num_programs,)](
            buffers.attended, buffers.queries, keys, values, buffers.tables, inputs.positions,
            inputs.task_token, inputs.task_count, inputs.task_row, inputs.task_split, inputs.task_splits,
            inputs.task_part, inputs.num_tasks, buffers.part_output, buffers.part_highest, buffers.part_total,
            shape.head_dim**-0.5, 0.0, cache.key_scales[number], cache.value_scales[number],
            layer.window or _EVERYTHING, width, width, buffers.tables.stride(0), keys.stride(0), keys.stride(1),
            BLOCK_SIZE=keys.shape[2], HEAD_DIM=shape.head_dim, DIM=padded, KV_HEADS=shape.num_kv_heads, GROUP=group,
            ROWS=tiles.rows, TILE=tiles.keys, SPLIT=tiles.split, SOFTCAP=False,
            PRECISION=precision(buffers.queries.dtype), num_warps=tiles.warps, num_stages=tiles.stages,
            enable_fp_fusion=False,
        )  # fmt: skip
        if extent.merges:
            combine[(extent.merges, shape.num_kv_heads)](
                buffers.attended, buffers.part_output, buffers.part_highest, buffers.part_total, inputs.merge_token,
                inputs.merge_part, inputs.merge_parts, inputs.num_merges, width, HEAD_DIM=shape.head_dim, DIM=padded,
                KV_HEADS=shape.num_kv_heads, GROUP=group, HEADS=power_of_two(group), enable_fp_fusion=False,
            )  # fmt: skip

    def _feed_forward(self, layer: LayerWeights, count: int) -> Product:
        buffers, inner = self.buffers, self.shape.intermediate_size
        both = self._product(layer.gate_up, buffers.normed, count)
        block = min(_GATED, power_of_two(inner))
        rows.gate[(count, -(-inner // block))](
            buffers.inner, both.source, both.bias, both.part_stride, SIZE=inner, BLOCK=block, PARTS=both.parts,
            HAS_BIAS=both.bias is not None, enable_fp_fusion=False,
        )  # fmt: skip
        return self._product(layer.down, buffers.inner, count)
