"""Makes a model ready through transformers: loads, proves that it can be paged, and measures how exact it is."""

import time
from pathlib import Path

import torch

from spillway_engine.errors import MemoryBudgetError
from spillway_engine.exactness import measure_exactness
from spillway_engine.hf.model import PagedModel
from spillway_engine.hf.runner import HfRunner
from spillway_engine.kernel_cache import use_kernel_cache, warm_up_phase
from spillway_engine.machine import available_bytes, num_threads
from spillway_engine.model.checkpoint import Checkpoint
from spillway_engine.model.config import check_token_ids, choose_dtype, declared_dtype
from spillway_engine.pace import time_step
from spillway_engine.prepared import Prepared, Report
from spillway_engine.settings import EngineSettings
from spillway_engine.sizing import size_engine
from spillway_text.fields import Fields


def prepare_through_transformers(
    settings: EngineSettings, path: Path, eos_token_ids: tuple[int, ...], report: Report
) -> Prepared:
    """Load the model in `path`. Raises `ModelError`, `SettingsError` or `MemoryBudgetError`."""
    torch.set_num_threads(settings.threads or num_threads())
    warming = warm_up_phase(use_kernel_cache())
    dtype = choose_dtype(settings.dtype, declared_dtype(Fields.of_file(path / "config.json")))
    with Checkpoint(path) as checkpoint:
        needed, free = checkpoint.bytes_as(dtype), available_bytes()
    if needed > free:
        raise MemoryBudgetError(f"the weights of {path} take {needed >> 20} MiB; {free >> 20} MiB are free")
    report("loading weights", 0.0)
    model = PagedModel.load(path, dtype=settings.dtype, trust_remote_code=settings.trust_remote_code)
    check_token_ids(path, eos_token_ids, model.vocab_size)
    limits = size_engine(
        settings,
        max_positions=model.max_model_len,
        blocks_within=lambda budget: model.blocks_within(budget, settings.block_size),
        free_bytes=available_bytes(),
    )
    runner = HfRunner(model, limits, eos_token_ids=eos_token_ids)
    report(warming, 0.0)
    started = time.monotonic()
    exactness = measure_exactness(runner.logits, vocab_size=model.vocab_size, limits=limits)
    measured_step = time_step(runner, vocab_size=model.vocab_size, limits=limits)
    return Prepared(
        runner=runner,
        limits=limits,
        vocab_size=model.vocab_size,
        exactness=exactness,
        warmup_s=time.monotonic() - started,
        measured_step=measured_step,
    )
