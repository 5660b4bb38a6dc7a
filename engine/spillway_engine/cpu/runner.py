"""Runs step plans on a CPU through the compiled program: the `Runner` of the Llama family."""

import time
from collections.abc import Sequence as Seq

import numpy as np
import torch

from spillway_engine.compiled import Array
from spillway_engine.cpu import attention
from spillway_engine.cpu.batch import Batch
from spillway_engine.cpu.linear import PANEL, num_panels, padded
from spillway_engine.cpu.program import SAMPLED_ROWS, Buffers, Cache, Dims, Sampling, Weights
from spillway_engine.cpu.storage import as_array
from spillway_engine.cpu.team import Team
from spillway_engine.cpu.vector import LANES, MAX_ROWS
from spillway_engine.cpu.weights import packed_elements
from spillway_engine.model.config import ModelShape
from spillway_engine.plan import Row, StepPlan, StepResult
from spillway_engine.sampling.sampler import CpuSampler
from spillway_engine.settings import SchedulerSettings
from spillway_wire.messages import PositionLogprobs

_ROW_GAP = 16
"""Floats between rows of activations: rows a power of two apart would share cache sets."""


def padded_head_dim(shape: ModelShape) -> int:
    """Floats of a cached value row: whole vectors."""
    return -(-shape.head_dim // LANES) * LANES


def block_bytes(shape: ModelShape, dtype: torch.dtype, block_size: int) -> int:
    """Bytes of one cache block, all layers."""
    per_slot = shape.num_kv_heads * (shape.head_dim + padded_head_dim(shape))
    return shape.num_layers * per_slot * block_size * dtype.itemsize


_WORTH_A_TEAM = 8_000_000
"""Multiplications in a step below which one thread is faster: its phases take no longer than the barriers between."""


class CpuRunner:
    """Owns the cache, the activations, the sampler and the team of threads of one model."""

    def __init__(
        self,
        shape: ModelShape,
        weights: Weights,
        limits: SchedulerSettings,
        *,
        dtype: torch.dtype,
        pairs: bool,
        threads: int,
        eos_token_ids: Seq[int],
        worth_a_team: int = _WORTH_A_TEAM,
    ) -> None:
        """`pairs`: the weights are packed in pairs, and activations are multiplied as bfloat16 (see `linear`).

        `worth_a_team`: steps of fewer multiplications run on the calling thread; 0 shares every step.
        """
        group = shape.group_size
        self.compute_ns = 0
        """Nanoseconds spent in the compiled program by `execute`, all steps."""
        self._shape = shape
        self._weights_per_token = packed_elements(shape)
        self._worth_a_team = worth_a_team
        self._share_next = False
        self._dims = _dims(shape, limits)
        self._cache_blocks = _cache_tensors(shape, limits, dtype)
        self._batch = Batch(limits, attention.task_tokens(group))
        self._sampler = CpuSampler(limits.max_num_seqs, shape.vocab_size, eos_token_ids, num_threads=threads)
        self._buffers = _buffers(shape, self._dims, limits, threads, pairs=pairs)
        keys, values = self._cache_blocks
        cache = Cache(as_array(keys), as_array(values), keys[0].numel(), values[0].numel())
        sampling = Sampling(self._sampler.rows, self._sampler.slots, self._sampler.scratch)
        self._team = Team(threads, self._dims, weights, cache, self._batch.step, self._buffers, sampling)

    def execute(self, plan: StepPlan) -> StepResult:
        """Compute a plan's rows (see `Runner`)."""
        for block in plan.scrub:
            for cached in self._cache_blocks:
                cached[:, block] = 0
        for sequence in plan.joined:
            self._batch.join(sequence)
            self._sampler.join(sequence)
        indices, slots, positions = self._batch.fill(plan.rows)
        self._sampler.prepare(slots, positions)
        started = time.perf_counter_ns()
        self._team.run(alone=self._is_small(plan.num_tokens))
        self.compute_ns += time.perf_counter_ns() - started
        sampled, failed = self._sampler.finish(len(indices))
        tokens: list[int | None] = sampled
        if len(indices) != len(plan.rows):
            tokens = [None] * len(plan.rows)
            for index, token in zip(indices, sampled, strict=True):
                tokens[index] = token
        return StepResult(
            tokens,
            frozenset(indices[row] for row in failed),
            self._logprobs(plan.rows, indices, sampled),
            self._prompt_logprobs(plan.rows),
        )

    def logits(self, rows: Seq[Row]) -> Array:
        """Compute rows and return the logits of each one's last token, [rows, vocab_size], a view until the next run.

        For measurements: nothing is sampled. The rows' sequences take the first slots. Of the steps that one thread
        would run, every other is shared: both ways must give the same bits.
        """
        for slot, row in enumerate(rows):
            row.sequence.slot = slot
            self._batch.join(row.sequence)
        self._batch.fill(rows)
        self._batch.step.counts[SAMPLED_ROWS] = 0
        self._team.run(alone=self._is_small(sum(row.num_tokens for row in rows)) and not self._share_next)
        self._share_next = not self._share_next
        return self._logit_rows()[: len(rows)]

    def close(self) -> None:
        """Send the threads home. Idempotent."""
        self._team.close()

    def _is_small(self, num_tokens: int) -> bool:
        return num_tokens * self._weights_per_token < self._worth_a_team

    def _logit_rows(self) -> Array:
        return self._buffers.logits[:, : self._shape.vocab_size]

    def _logprobs(self, rows: Seq[Row], indices: Seq[int], sampled: Seq[int | None]) -> dict[int, PositionLogprobs]:
        found = {}
        for at, (index, token) in enumerate(zip(indices, sampled, strict=True)):
            wanted = rows[index].sequence.params.logprobs
            if wanted is not None and token is not None:
                entry = self._sampler.logprobs(self._buffers.logits[at], token, wanted)
                if entry is not None:
                    found[index] = entry
        return found

    def _prompt_logprobs(self, rows: Seq[Row]) -> dict[int, tuple[PositionLogprobs, ...]]:
        """Run the head once more over prompt positions, as many at a time as there are rows of logits."""
        found = {}
        packed = 0
        for index, row in enumerate(rows):
            wanted = row.sequence.params.prompt_logprobs if row.sequence.wants_prompt_logprobs else None
            following = row.sequence.tokens[
                row.start + 1 : min(row.start + row.num_tokens + 1, row.sequence.num_prompt)
            ]
            if wanted is not None and following:
                found[index] = tuple(self._logprobs_of(packed, following, wanted))
            packed += row.num_tokens
        return found

    def _logprobs_of(self, packed: int, following: list[int], wanted: int) -> list[PositionLogprobs]:
        entries = []
        room = len(self._buffers.logits)
        for start in range(0, len(following), room):
            chosen = following[start : start + room]
            self._batch.ask_logits(np.arange(packed + start, packed + start + len(chosen)))
            self._team.run()
            for at, token in enumerate(chosen):
                entry = self._sampler.logprobs(self._buffers.logits[at], token, wanted)
                if entry is not None:
                    entries.append(entry)
        return entries


def _dims(shape: ModelShape, limits: SchedulerSettings) -> Dims:
    heads = shape.num_heads * shape.head_dim
    qkv = heads + 2 * shape.num_kv_heads * shape.head_dim
    return Dims(
        hidden=shape.hidden_size,
        layers=shape.num_layers,
        heads=shape.num_heads,
        kv_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
        value_dim=padded_head_dim(shape),
        inner=shape.intermediate_size,
        vocab=shape.vocab_size,
        epsilon=np.float32(shape.rms_norm_eps),
        scale=np.float32(shape.head_dim**-0.5),
        block_size=limits.block_size,
        max_blocks=limits.max_blocks_per_seq,
        hidden_stride=padded(shape.hidden_size) + _ROW_GAP,
        qkv_stride=padded(qkv) + _ROW_GAP,
        attended_stride=heads + _ROW_GAP,
        inner_stride=padded(shape.intermediate_size) + _ROW_GAP,
        logits_stride=padded(shape.vocab_size),
    )


def _cache_tensors(
    shape: ModelShape, limits: SchedulerSettings, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values, [layers, blocks, a block's elements]; zero, as a weight of 0 times garbage could be NaN.

    numpy asks the system for zero pages, which take no memory until they are written to; torch would write the zeros.
    """
    regions = shape.num_kv_heads * limits.block_size

    def zeros(elements: int) -> torch.Tensor:
        array = np.zeros((shape.num_layers, limits.num_blocks, elements * dtype.itemsize), np.uint8)
        return torch.from_numpy(array).view(dtype)

    return zeros(regions * shape.head_dim), zeros(regions * padded_head_dim(shape))


def _buffers(shape: ModelShape, dims: Dims, limits: SchedulerSettings, threads: int, *, pairs: bool) -> Buffers:
    def rows(stride: int, kind: type[np.generic] = np.float32) -> Array:
        return np.zeros(limits.max_num_batched_tokens * stride, kind)

    depths = (shape.hidden_size, shape.intermediate_size, shape.num_heads * shape.head_dim)
    scratch = max(
        max(depths) * PANEL,
        (shape.hidden_size + MAX_ROWS) * 2 * PANEL,
        attention.scratch_floats(shape.group_size, shape.head_dim, dims.value_dim),
    )
    multiplied = np.uint16 if pairs else np.float32
    return Buffers(
        hidden=rows(dims.hidden_stride),
        normed=rows(dims.hidden_stride, multiplied),
        qkv=rows(dims.qkv_stride),
        attended=rows(dims.attended_stride, multiplied),
        inner=rows(dims.inner_stride, multiplied),
        logits=np.zeros((limits.max_num_seqs, num_panels(shape.vocab_size) * PANEL), np.float32),
        scratch=np.zeros((threads, scratch), np.float32),
        tickets=np.zeros(shape.num_layers, np.int64),
    )
