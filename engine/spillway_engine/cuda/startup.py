"""Makes a Llama-family model ready on a GPU.

::

    weights ─▶ buffers ─▶ largest step ─▶ cache from what is left ─▶ graphs ─▶ how exact, how fast

The largest step runs before the cache is sized, over a cache that just holds it: what it takes for good (workspaces,
compiled kernels) is then counted, and no later step needs more.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from spillway_engine.cuda.buffers import Buffers, Cache, block_bytes
from spillway_engine.cuda.choosing import Choosing
from spillway_engine.cuda.device import CudaDevice, Device
from spillway_engine.cuda.failure import translated
from spillway_engine.cuda.memory import Measured, blocks_for
from spillway_engine.cuda.nvml import GpuFacts, find_library
from spillway_engine.cuda.program import Program
from spillway_engine.cuda.runner import CudaRunner
from spillway_engine.cuda.tiles import MAX_HEAD_DIM, choose_tiles
from spillway_engine.cuda.weights import Tensors, load_weights, weight_bytes
from spillway_engine.errors import MemoryBudgetError, UnsupportedModelError
from spillway_engine.exactness import LENGTHS, measure_exactness, probe_sequence
from spillway_engine.model.checkpoint import Checkpoint
from spillway_engine.model.config import ModelShape, check_token_ids, choose_dtype
from spillway_engine.model.decoder import DecoderTensors
from spillway_engine.pace import time_step
from spillway_engine.plan import Row
from spillway_engine.prepared import Prepared, Report
from spillway_engine.settings import EngineSettings, SchedulerSettings
from spillway_engine.sizing import context_of

STEP_TOKENS = 2048
"""Token budget of a step on a GPU: while a chunk is computed, running streams pause."""

WARMING = "warming up: compiling kernels and measuring the largest step"

_PROGRAMS_PER_MULTIPROCESSOR = 4
"""Programs of attention that a multiprocessor runs at once, about; they are persistent."""

PROBED = (700, *LENGTHS)
"""Sequences that exactness is measured on: one spans several splits of keys."""


def prepare_on_cuda(
    settings: EngineSettings, path: Path, shape: ModelShape | None, eos_token_ids: tuple[int, ...], report: Report
) -> Prepared:
    """Load the model in `path`. Raises `ModelError`, `SettingsError` or `MemoryBudgetError`."""
    device = CudaDevice()
    if shape is None:
        raise UnsupportedModelError(
            f"{path}: this architecture runs through transformers, and that on the CPU alone; use device 'cpu' for it"
        )
    check_token_ids(path, eos_token_ids, shape.vocab_size)
    properties = torch.cuda.get_device_properties(device.torch_device)
    with Checkpoint(path, str(device.torch_device)) as checkpoint:
        dtype = choose_dtype(settings.dtype, shape.dtype or checkpoint.dtype)
        return prepare(
            settings,
            shape,
            dtype,
            DecoderTensors(checkpoint, shape, dtype),
            device,
            eos_token_ids=eos_token_ids,
            report=report,
            when_read=checkpoint.check_all_read,
            programs=num_programs(device),
            facts=GpuFacts(f"GPU-{properties.uuid}", find_library()),
        )


def num_programs(device: Device) -> int:
    """Return how many of attention's persistent programs a GPU runs side by side."""
    properties = torch.cuda.get_device_properties(device.torch_device)
    return int(_PROGRAMS_PER_MULTIPROCESSOR * properties.multi_processor_count)


def prepare(
    settings: EngineSettings,
    shape: ModelShape,
    dtype: torch.dtype,
    tensors: Tensors,
    device: Device,
    *,
    eos_token_ids: tuple[int, ...] = (),
    report: Report = lambda _phase, _share: None,
    when_read: Callable[[], None] = lambda: None,
    programs: int = 8,
    facts: GpuFacts | None = None,
) -> Prepared:
    """Make a model ready whose weights come from `tensors`; `when_read` is called when all are read.

    `programs` is how many of attention's run side by side. Raises `SettingsError`, `MemoryBudgetError`,
    `UnsupportedModelError`, or what reading raises.
    """
    if shape.head_dim > MAX_HEAD_DIM:
        raise UnsupportedModelError(f"head_dim is {shape.head_dim}; on a GPU it is at most {MAX_HEAD_DIM}")
    limits = starting_limits(settings, shape.max_position_embeddings)
    free_before, total = device.free_bytes()
    needed = weight_bytes(shape, dtype)
    if needed > free_before:
        raise MemoryBudgetError(f"the weights take {needed >> 20} MiB; {free_before >> 20} MiB of the GPU are free")
    tiles = choose_tiles(dtype, head_dim=shape.head_dim, group=shape.group_size)
    kept_as = torch.float8_e4m3fn if settings.kv_cache_dtype == "float8" else dtype
    where = device.torch_device
    with translated():
        weights = load_weights(
            tensors,
            shape,
            tiles,
            where,
            max_positions=limits.max_model_len,
            report=lambda share: report("loading weights", share),
            invariant=settings.batch_invariant,
        )
        when_read()
        report(WARMING, 0.0)
        started = time.monotonic()
        buffers = Buffers.allocate(shape, weights, limits, tiles.attention)
        choosing = Choosing.allocate(limits.max_num_seqs, shape.vocab_size, len(eos_token_ids), where)

        def make(limits: SchedulerSettings) -> CudaRunner:
            program = Program(
                shape=shape,
                weights=weights,
                cache=Cache.empty(shape, limits, kept_as, where),
                buffers=buffers,
                choosing=choosing,
                tiles=tiles.attention,
                num_programs=programs,
            )
            return CudaRunner(device, program, limits, eos_token_ids=eos_token_ids, facts=facts)

        rows = largest_step(limits)
        trial = replace(limits, num_blocks=sum(len(row.sequence.block_ids) for row in rows))
        make(trial).logits(rows)
        device.give_back()
        free_after, _ = device.free_bytes()
        blocks = blocks_for(
            Measured(total=total, free_before=free_before, free_after=free_after),
            settings.gpu_memory_utilization,
            block_bytes(shape, kept_as, limits.block_size),
            useful=limits.max_num_seqs * limits.max_blocks_per_seq,
            kv_cache_bytes=settings.kv_cache_bytes,
        )
        limits = replace(limits, num_blocks=blocks)
        runner = make(limits)
        if settings.cuda_graphs:
            runner.record(report)
        report(WARMING, 1.0)
        exactness = measure_exactness(runner.logits, vocab_size=shape.vocab_size, limits=limits, lengths_wanted=PROBED)
        measured_step = time_step(runner, vocab_size=shape.vocab_size, limits=limits)
    return Prepared(
        runner=runner,
        limits=limits,
        vocab_size=shape.vocab_size,
        exactness=exactness,
        warmup_s=time.monotonic() - started,
        measured_step=measured_step,
    )


def starting_limits(settings: EngineSettings, max_positions: int) -> SchedulerSettings:
    """Return the limits of an engine on a GPU, before the size of its cache is known."""
    tokens = settings.max_num_batched_tokens or max(STEP_TOKENS, settings.max_num_seqs)
    return SchedulerSettings(
        max_num_seqs=settings.max_num_seqs,
        max_num_batched_tokens=tokens,
        max_model_len=context_of(settings, max_positions),
        block_size=settings.block_size,
        num_blocks=1,
        prefix_caching=settings.prefix_caching,
        step_policy=settings.step_policy,
        batch_wait_s=settings.batch_wait_s,
        runs_ahead=True,
    )


def largest_step(limits: SchedulerSettings) -> list[Row]:
    """Return rows that fill a step: as many prompts as there are slots, as long as there are tokens."""
    rows = []
    left, first_block = limits.max_num_batched_tokens, 0
    for slot in range(limits.max_num_seqs):
        count = min(-(-left // (limits.max_num_seqs - slot)), limits.max_model_len)
        sequence = probe_sequence([0] * count, first_block, limits.block_size)
        first_block += len(sequence.block_ids)
        left -= count
        rows.append(Row(sequence, 0, count, samples=True))
    return rows
