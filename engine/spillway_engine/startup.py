"""From settings to an engine that can take work.

::

    settings ─▶ folder ─▶ shape ─▶ limits (context, step, blocks) ─▶ runner, warm ─▶ core

All that can be wrong with a model or a setting is raised here, as an `EngineError` or a `ModelError` that names it.
"""

from dataclasses import dataclass
from pathlib import Path

from spillway_engine.core import EngineCore
from spillway_engine.errors import SettingsError, UnsupportedModelError
from spillway_engine.model.config import ModelShape, read_shape
from spillway_engine.pace import StepTime
from spillway_engine.plan import Runner
from spillway_engine.prepared import Prepared, Report
from spillway_engine.settings import Backend, EngineSettings, served_name
from spillway_text.folders import resolve_model
from spillway_text.text import read_eos_token_ids
from spillway_wire.messages import Capacity, Exactness

BLOCK_SIZES = (16, 32, 64, 128)
"""Whole vectors of slots, and whole blocks in attention's rounds of 128 keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedEngine:
    """A core that is ready, and what clients are told of it."""

    core: EngineCore
    runner: Runner
    path: Path
    name: str
    vocab_size: int
    eos_token_ids: tuple[int, ...]
    exactness: Exactness
    capacity: Capacity
    warmup_s: float
    measured_step: StepTime


def load_engine(settings: EngineSettings, report: Report | None = None) -> LoadedEngine:
    """Make an engine ready. Raises `ModelError`, `SettingsError` or `MemoryBudgetError`."""
    if settings.block_size not in BLOCK_SIZES:
        raise SettingsError(f"block_size is {settings.block_size}; allowed: {', '.join(map(str, BLOCK_SIZES))}")
    if settings.kv_cache_dtype != "auto" and settings.device != "cuda":
        raise SettingsError(f"kv_cache_dtype is {settings.kv_cache_dtype!r}; allowed on a CPU: auto")
    path = resolve_model(settings.model, code=settings.trust_remote_code)
    eos_token_ids = tuple(read_eos_token_ids(path))
    prepared = _prepare(settings, path, eos_token_ids, report or (lambda _phase, _share: None))
    limits = prepared.limits
    return LoadedEngine(
        core=EngineCore(limits, prepared.runner, vocab_size=prepared.vocab_size, eos_token_ids=eos_token_ids),
        runner=prepared.runner,
        path=path,
        name=served_name(settings, path),
        vocab_size=prepared.vocab_size,
        eos_token_ids=eos_token_ids,
        exactness=prepared.exactness,
        capacity=Capacity(
            max_num_seqs=limits.max_num_seqs,
            max_num_batched_tokens=limits.max_num_batched_tokens,
            max_model_len=limits.max_model_len,
            num_blocks=limits.num_blocks,
            block_size=limits.block_size,
        ),
        warmup_s=prepared.warmup_s,
        measured_step=prepared.measured_step,
    )


def _prepare(settings: EngineSettings, path: Path, eos_token_ids: tuple[int, ...], report: Report) -> Prepared:
    """Load through the native decoder where it can, unless told otherwise."""
    shape = _native_shape(settings.backend, path)
    if settings.device == "cuda":
        from spillway_engine.cuda.startup import prepare_on_cuda  # noqa: PLC0415 - imports Triton

        return prepare_on_cuda(settings, path, shape, eos_token_ids, report)
    if shape is None:
        from spillway_engine.hf.startup import prepare_through_transformers  # noqa: PLC0415 - imports transformers

        return prepare_through_transformers(settings, path, eos_token_ids, report)
    from spillway_engine.cpu.startup import prepare_native  # noqa: PLC0415 - compiles kernels

    return prepare_native(settings, path, shape, eos_token_ids, report)


def _native_shape(backend: Backend, path: Path) -> ModelShape | None:
    if backend is Backend.TRANSFORMERS:
        return None
    try:
        return read_shape(path)
    except UnsupportedModelError:
        if backend is Backend.NATIVE:
            raise
        return None
