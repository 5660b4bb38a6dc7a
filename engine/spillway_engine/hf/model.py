"""Loading a decoder through transformers, and making sure that it can be paged before anybody relies on it."""

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from spillway_engine.errors import InvalidCheckpointError, ModelError, UnsupportedModelError
from spillway_engine.hf.attention import IMPLEMENTATION, PagedState
from spillway_engine.hf.invariance import make_row_invariant
from spillway_engine.hf.packing import PackedStep
from spillway_engine.hf.probe import check_paging
from spillway_engine.model.checkpoint import Checkpoint
from spillway_engine.model.config import choose_dtype, declared_dtype
from spillway_text.fields import Fields

_PAGED_LAYERS = {"full_attention", "sliding_attention"}


@dataclass(frozen=True, slots=True, eq=False)
class PagedModel:
    """A decoder whose attention layers have been met: what they keep of a token is known, their caches are not made."""

    path: Path
    module: Any
    """transformers' causal language model, in eval mode."""
    state: PagedState
    dtype: torch.dtype
    device: torch.device
    vocab_size: int
    max_model_len: int | None
    """The longest context that the configuration allows; None where it says nothing."""

    @classmethod
    def load(
        cls, path: Path, *, dtype: str = "auto", device: str = "cpu", trust_remote_code: bool = False
    ) -> "PagedModel":
        """Load a folder.

        Raises `ModelNotFoundError` without config.json or safetensors, `InvalidCheckpointError` naming a broken file or
        a missing tensor, and `UnsupportedModelError` naming what cannot be paged: an architecture that does not go
        through transformers' attention interface, a kind of layer that keeps other state than keys and values, or a
        model whose paged logits are not its own.
        """
        fields = Fields.of_file(path / "config.json")
        with Checkpoint(path):
            pass  # headers are whole and all files there: errors that transformers would report with less care
        chosen = choose_dtype(dtype, declared_dtype(fields))
        with _quiet():
            module = _load_module(path, chosen, trust_remote_code=trust_remote_code).to(device).eval()
        config = module.config.get_text_config()
        state = PagedState(module)
        if module.device.type == "cpu":
            make_row_invariant(module)
        model = cls(path, module, state, chosen, module.device, config.vocab_size, _max_model_len(config))
        model._meet_layers(config)
        check_paging(model)
        return model

    @property
    def cache_bytes_per_token(self) -> int:
        """Bytes of keys and values that one token takes in all layers."""
        return sum(kind.bytes_per_token for kind in self.state.kinds.values())

    def cache_bytes(self, num_blocks: int, block_size: int) -> int:
        """Bytes of a cache of `num_blocks` blocks, the one that stands for no block included."""
        return (num_blocks + 1) * block_size * self.cache_bytes_per_token

    def blocks_within(self, num_bytes: int, block_size: int) -> int:
        """How many blocks a budget pays for: the most whose `cache_bytes` are within it, 0 if not even one is."""
        return max(num_bytes // (block_size * self.cache_bytes_per_token) - 1, 0)

    def logits(self, step: PackedStep, tokens: torch.Tensor) -> torch.Tensor:
        """Run a step and return the logits of some of its packed tokens: [len(tokens), vocab_size] float32."""
        self.state.step = step
        try:
            return self._forward(step.input_ids, step.positions, tokens)
        finally:
            self.state.step = None

    def _forward(self, input_ids: torch.Tensor, positions: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        output = self.module(
            input_ids=input_ids[None], position_ids=positions[None], use_cache=False, logits_to_keep=tokens
        )
        logits: torch.Tensor = output.logits[0].float()
        return logits

    def _meet_layers(self, config: Any) -> None:
        """Run a few tokens that are not kept, so that each attention layer says what it needs."""
        ids = torch.zeros(8, dtype=torch.int64, device=self.device)
        with torch.inference_mode():
            self._forward(ids, torch.arange(8, device=self.device), ids[:1])
        sliding = list(getattr(config, "layer_types", None) or ()).count("sliding_attention")
        found = sum(kind.window is not None for kind in self.state.kinds.values())
        if found < sliding:
            raise UnsupportedModelError(
                f"{type(self.module).__name__} has {sliding} sliding layers, but {found} tell attention their window"
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' progress bars and reports out of the log: what is wrong is raised."""
    bars, verbosity = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


def _load_module(path: Path, dtype: torch.dtype, *, trust_remote_code: bool) -> Any:
    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=trust_remote_code)
        _check_config(config)
        module, info = AutoModelForCausalLM.from_pretrained(
            path,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            attn_implementation=IMPLEMENTATION,
            trust_remote_code=trust_remote_code,
            local_files_only=True,
            ignore_mismatched_sizes=True,  # named below; transformers' own error does not name them
            output_loading_info=True,
        )
    except ModelError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError, ImportError) as error:
        raise UnsupportedModelError(f"transformers cannot load {path}: {error}") from error
    for name, found, expected in sorted(info["mismatched_keys"]):
        raise InvalidCheckpointError(f"{path}: tensor {name} has shape {(*found,)}; {(*expected,)} was expected")
    if missing := sorted(info["missing_keys"]):
        raise InvalidCheckpointError(f"{path}: tensor {missing[0]} is missing ({len(missing)} are)")
    return module


def _check_config(config: Any) -> None:
    name = (config.architectures or [config.model_type])[0]
    text = config.get_text_config()
    if config.is_encoder_decoder:
        raise UnsupportedModelError(f"{name} is an encoder and a decoder; only decoders can be served")
    if strange := sorted(set(getattr(text, "layer_types", None) or ()) - _PAGED_LAYERS):
        raise UnsupportedModelError(f"{name} has layers of type {strange[0]!r}, which a paged cache does not hold")
    try:
        classes = AutoModelForCausalLM._model_mapping[type(config)]  # noqa: SLF001 - the only way to ask before loading
    except KeyError:
        return  # remote code, or no causal model at all: loading says which
    for model_class in classes if isinstance(classes, tuple) else (classes,):
        if not model_class._supports_attention_backend:  # noqa: SLF001 - transformers' own flag has no public name
            raise UnsupportedModelError(f"{name} does not go through transformers' attention interface")


def _max_model_len(config: Any) -> int | None:
    longest = _first(config, ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx"))
    kinds = _rope_kinds(getattr(config, "rope_parameters", None) or {})
    if "longrope" in kinds:
        # beyond the original context its frequencies change with the longest neighbour in the batch
        original = [kind.get("original_max_position_embeddings") for kind in kinds.values()]
        return min((length for length in (*original, longest) if length is not None), default=None)
    return longest


def _rope_kinds(parameters: dict[str, Any]) -> dict[str, dict[str, Any]]:
    nested = [value for value in parameters.values() if isinstance(value, dict)]
    return {entry.get("rope_type", "default"): entry for entry in itertools.chain(nested, [parameters])}


def _first(config: Any, keys: Iterable[str]) -> int | None:
    return next((value for key in keys if (value := getattr(config, key, None)) is not None), None)
