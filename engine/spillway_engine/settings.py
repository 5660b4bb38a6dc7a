"""Settings of one engine: frozen, checked once, and every derived value a property."""

import os
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path

from spillway_engine.errors import SettingsError


class StepPolicy(StrEnum):
    """Which work of a step gets the token budget first."""

    DECODE_FIRST = "decode_first"
    """Running streams keep their pace; a prompt waits a little longer for its first token."""
    PREFILL_FIRST = "prefill_first"
    """First tokens come sooner; running streams pause while a prompt is computed."""


class Backend(StrEnum):
    """Which of the two ways in a model takes."""

    AUTO = "auto"
    """`native` where the architecture allows it, else `transformers`."""
    NATIVE = "native"
    TRANSFORMERS = "transformers"


DTYPES = ("auto", "float32", "bfloat16", "float16")
DEVICES = ("auto", "cpu", "cuda")
KV_CACHE_DTYPES = ("auto", "float8")


def _check_least(key: str, value: int) -> None:
    least = 2 if key == "max_model_len" else 1  # a token of the prompt and one of the answer
    if value < least:
        raise SettingsError(f"{key} is {value}; it must be at least {least}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerSettings:
    """What the scheduler needs to know. Sizes in tokens unless said otherwise."""

    max_num_seqs: int = 256
    max_num_batched_tokens: int = 2048
    max_model_len: int = 2048
    block_size: int = 16
    num_blocks: int = 1024
    prefix_caching: bool = True
    step_policy: StepPolicy = StepPolicy.DECODE_FIRST
    batch_wait_s: float = 0.0
    """How long a lone arrival may wait for company while nothing is running."""
    runs_ahead: bool = False
    """Whether the runner queues a decode before the token before it is known: it then wants its block a step sooner."""

    def __post_init__(self) -> None:
        for key in ("max_num_seqs", "max_num_batched_tokens", "max_model_len", "block_size", "num_blocks"):
            _check_least(key, getattr(self, key))
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise SettingsError(
                f"max_num_batched_tokens is {self.max_num_batched_tokens}; it must be at least max_num_seqs "
                f"({self.max_num_seqs}), or running requests could starve"
            )
        if not 0.0 <= self.batch_wait_s <= 10.0:
            raise SettingsError(f"batch_wait_s is {self.batch_wait_s}; it must be from 0 to 10 seconds")

    @property
    def max_blocks_per_seq(self) -> int:
        """Blocks that a sequence of the full context length holds."""
        return -(-self.max_model_len // self.block_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """What a user may choose about an engine; None leaves the choice to the engine."""

    model: str
    """A Hugging Face folder, a hub id, or `demo`."""
    served_name: str | None = None
    dtype: str = "auto"
    device: str = "auto"
    backend: Backend = Backend.AUTO
    max_model_len: int | None = None
    block_size: int = 16
    kv_cache_bytes: int | None = None
    """Budget of the key-value cache on a CPU; None: a quarter of the memory free at start, at most what can be used."""
    gpu_memory_utilization: float = 0.9
    """Of all memory of a GPU, for weights, activations and cache of this engine."""
    kv_cache_dtype: str = "auto"
    """`float8` halves the cache on a GPU, and rounds what it holds."""
    batch_invariant: bool = True
    """On a GPU: products whose result does not depend on the batch, so that tokens do not; else the library's."""
    cuda_graphs: bool = True
    """On a GPU: record decodes as graphs at start."""
    max_num_batched_tokens: int | None = None
    max_num_seqs: int = 256
    prefix_caching: bool = True
    step_policy: StepPolicy = StepPolicy.DECODE_FIRST
    batch_wait_s: float = 0.0
    threads: int | None = None
    """Compute threads on a CPU; None: one per core that this process may use. Steps too small to share use only one."""
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        allowed: dict[str, tuple[str, ...]] = {
            "dtype": DTYPES,
            "device": DEVICES,
            "backend": tuple(Backend),
            "step_policy": tuple(StepPolicy),
            "kv_cache_dtype": KV_CACHE_DTYPES,
        }
        for key, values in allowed.items():
            if getattr(self, key) not in values:
                raise SettingsError(f"{key} is {getattr(self, key)!r}; allowed: {', '.join(values)}")
        for key in (
            "max_model_len",
            "block_size",
            "kv_cache_bytes",
            "max_num_batched_tokens",
            "max_num_seqs",
            "threads",
        ):
            value = getattr(self, key)
            if value is not None:
                _check_least(key, value)
        if not 0.05 <= self.gpu_memory_utilization <= 1.0:
            raise SettingsError(f"gpu_memory_utilization is {self.gpu_memory_utilization}; allowed: 0.05 to 1.0")

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """Names of all settings, for command lines and configuration files."""
        return tuple(f.name for f in fields(cls))


def served_name(settings: EngineSettings, path: Path) -> str:
    """Return the name of a model whose folder was found at `path`: the one set, the hub id as given, or the folder's.

    A hub id's folder is called by a digest, so its name would tell nobody what is served.
    """
    if settings.served_name:
        return settings.served_name
    given = Path(settings.model).expanduser()
    return os.path.basename(os.path.abspath(path)) if path == given else settings.model  # noqa: PTH100, PTH119
