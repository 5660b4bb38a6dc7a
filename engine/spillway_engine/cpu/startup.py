"""Makes a Llama-family model ready on a CPU: reads, packs, compiles, and measures how exact it is."""

import time
from pathlib import Path

from spillway_engine.cpu.runner import CpuRunner, block_bytes
from spillway_engine.cpu.weights import can_pair, load_weights, weight_bytes
from spillway_engine.errors import MemoryBudgetError
from spillway_engine.exactness import measure_exactness
from spillway_engine.kernel_cache import use_kernel_cache, warm_up_phase
from spillway_engine.machine import available_bytes, num_threads
from spillway_engine.model.checkpoint import Checkpoint
from spillway_engine.model.config import ModelShape, check_token_ids, choose_dtype
from spillway_engine.model.decoder import DecoderTensors
from spillway_engine.pace import time_step
from spillway_engine.prepared import Prepared, Report
from spillway_engine.settings import EngineSettings
from spillway_engine.sizing import size_engine


def prepare_native(
    settings: EngineSettings, path: Path, shape: ModelShape, eos_token_ids: tuple[int, ...], report: Report
) -> Prepared:
    """Load the model in `path`. Raises `ModelError`, `SettingsError` or `MemoryBudgetError`."""
    check_token_ids(path, eos_token_ids, shape.vocab_size)
    warming = warm_up_phase(use_kernel_cache())
    with Checkpoint(path) as checkpoint:
        dtype = choose_dtype(settings.dtype, shape.dtype or checkpoint.dtype)
        free = available_bytes()
        needed = weight_bytes(shape, dtype)
        if needed > free:
            raise MemoryBudgetError(f"the weights of {path} take {needed >> 20} MiB; {free >> 20} MiB are free")
        one_block = block_bytes(shape, dtype, settings.block_size)
        limits = size_engine(
            settings,
            max_positions=shape.max_position_embeddings,
            blocks_within=lambda budget: budget // one_block,
            free_bytes=free - needed,
        )
        tensors = DecoderTensors(checkpoint, shape, dtype)
        pairs = can_pair(shape, dtype)
        weights = load_weights(
            tensors,
            shape,
            dtype,
            limits.max_model_len,
            lambda share: report("loading weights", share),
            pairs=pairs,
        )
        checkpoint.check_all_read()
    runner = CpuRunner(
        shape,
        weights,
        limits,
        dtype=dtype,
        pairs=pairs,
        threads=settings.threads or num_threads(),
        eos_token_ids=eos_token_ids,
    )
    report(warming, 0.0)
    started = time.monotonic()
    exactness = measure_exactness(runner.logits, vocab_size=shape.vocab_size, limits=limits)
    measured_step = time_step(runner, vocab_size=shape.vocab_size, limits=limits)
    return Prepared(
        runner=runner,
        limits=limits,
        vocab_size=shape.vocab_size,
        exactness=exactness,
        warmup_s=time.monotonic() - started,
        measured_step=measured_step,
    )
