"""The shape of a Llama-family model, read from a Hugging Face folder's config.json.

One table says how the families differ; everything else about them is the same decoder.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from spillway_engine.errors import InvalidCheckpointError, UnsupportedModelError
from spillway_engine.model.rope import Rope, read_rope
from spillway_text.fields import Fields

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelShape:
    """All that the native decoder needs to know of a checkpoint before it reads a tensor."""

    architecture: str
    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    rms_norm_eps: float
    max_position_embeddings: int
    rope: Rope
    tie_word_embeddings: bool
    attention_bias: bool
    """Whether the query, key and value projections have biases."""
    attention_output_bias: bool
    mlp_bias: bool
    qk_norm: bool
    """Whether queries and keys are RMS-normalised per head before they are rotated."""
    sliding_windows: tuple[int | None, ...]
    """Per layer: how many positions a query sees, itself included; None is all."""
    dtype: torch.dtype | None
    """The checkpoint's own type as config.json says; None where it says nothing."""

    @property
    def group_size(self) -> int:
        """Query heads that share one key-value head."""
        return self.num_heads // self.num_kv_heads


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """How one architecture differs from the others. Defaults are those of transformers' configuration classes."""

    model_type: str
    windows: Callable[[Fields, int], tuple[int | None, ...]]
    attention_bias: bool | None = None
    """None: the key `attention_bias` says, for the output projection too."""
    mlp_bias: bool | None = None
    """None: the key `mlp_bias` says."""
    qk_norm: bool = False
    num_kv_heads: int | None = None
    """None: as many as query heads."""
    head_dim: int | None = None
    """None: hidden_size / num_attention_heads."""
    max_position_embeddings: int = 32_768


def _no_window(_: Fields, num_layers: int) -> tuple[int | None, ...]:
    return (None,) * num_layers


def _same_window(config: Fields, num_layers: int) -> tuple[int | None, ...]:
    # a null means no window, a missing key means transformers' default
    window = config.optional("sliding_window", int) if config.names("sliding_window") else 4096
    return (_checked_window(config, window),) * num_layers


def _upper_window(config: Fields, num_layers: int) -> tuple[int | None, ...]:
    if not config.get("use_sliding_window", bool, default=False):
        return _no_window(config, num_layers)
    window = _checked_window(config, config.optional("sliding_window", int) if config.names("sliding_window") else 4096)
    kinds = config.strings("layer_types")
    if not kinds:
        first = config.get("max_window_layers", int, 28)
        return tuple(window if layer >= first else None for layer in range(num_layers))
    if len(kinds) != num_layers:
        raise InvalidCheckpointError(
            f"{config.where}: layer_types has {len(kinds)} entries; {num_layers} (num_hidden_layers) were expected"
        )
    for kind in kinds:
        if kind not in {"full_attention", "sliding_attention"}:
            raise UnsupportedModelError(f"{config.where}: layer type {kind!r} is not supported by this decoder")
    return tuple(window if kind == "sliding_attention" else None for kind in kinds)


def _checked_window(config: Fields, window: int | None) -> int | None:
    if window is not None and window < 1:
        raise InvalidCheckpointError(f"{config.where}: sliding_window is {window}; at least 1, or null, was expected")
    return window


NATIVE_ARCHITECTURES: dict[str, Family] = {
    "LlamaForCausalLM": Family(model_type="llama", windows=_no_window, max_position_embeddings=2048),
    "MistralForCausalLM": Family(
        model_type="mistral",
        windows=_same_window,
        attention_bias=False,
        mlp_bias=False,
        num_kv_heads=8,
        max_position_embeddings=131_072,
    ),
    "Qwen2ForCausalLM": Family(
        model_type="qwen2", windows=_upper_window, attention_bias=True, mlp_bias=False, num_kv_heads=32
    ),
    "Qwen3ForCausalLM": Family(
        model_type="qwen3", windows=_upper_window, mlp_bias=False, qk_norm=True, num_kv_heads=32, head_dim=128
    ),
}


def read_shape(path: Path) -> ModelShape:
    """Read `path`/config.json.

    Raises `ModelNotFoundError` without that file, `UnsupportedModelError` naming an architecture or a feature that
    only the transformers backend can serve, and `InvalidCheckpointError` naming a key that is missing or ill-typed.
    """
    config = Fields.of_file(path / "config.json")
    architecture, family = _family(config)
    if "quantization_config" in config:
        raise UnsupportedModelError(f"{config.where}: quantised checkpoints are not supported by the native decoder")
    activation = config.get("hidden_act", str, "silu")
    if activation != "silu":
        raise UnsupportedModelError(
            f"{config.where}: hidden_act {activation!r} is not supported by the native decoder; only silu is"
        )
    heads = config.positive("num_attention_heads")
    hidden = config.positive("hidden_size")
    if "head_dim" not in config and family.head_dim is None and hidden % heads:
        raise InvalidCheckpointError(
            f"{config.where}: hidden_size is {hidden}; a multiple of num_attention_heads ({heads}) was expected"
        )
    kv_heads = config.positive("num_key_value_heads", family.num_kv_heads or heads)
    if heads % kv_heads:
        raise InvalidCheckpointError(
            f"{config.where}: num_key_value_heads is {kv_heads}; a divisor of num_attention_heads ({heads}) "
            "was expected"
        )
    head_dim = config.positive("head_dim", family.head_dim or hidden // heads)
    if head_dim % 2:
        raise InvalidCheckpointError(f"{config.where}: head_dim is {head_dim}; an even number was expected")
    layers = config.positive("num_hidden_layers")
    positions = config.positive("max_position_embeddings", family.max_position_embeddings)
    own_bias = config.get("attention_bias", bool, default=False) if family.attention_bias is None else False
    return ModelShape(
        architecture=architecture,
        vocab_size=config.positive("vocab_size"),
        hidden_size=hidden,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate_size=config.positive("intermediate_size"),
        rms_norm_eps=config.get("rms_norm_eps", float, 1e-6),
        max_position_embeddings=positions,
        rope=read_rope(config, head_dim=head_dim, max_position_embeddings=positions),
        tie_word_embeddings=config.get("tie_word_embeddings", bool, default=False),
        attention_bias=own_bias if family.attention_bias is None else family.attention_bias,
        attention_output_bias=own_bias,
        mlp_bias=config.get("mlp_bias", bool, default=False) if family.mlp_bias is None else family.mlp_bias,
        qk_norm=family.qk_norm,
        sliding_windows=family.windows(config, layers),
        dtype=declared_dtype(config),
    )


def declared_dtype(config: Fields) -> torch.dtype | None:
    """Return the checkpoint's type: `dtype` (transformers 5) or `torch_dtype` (before), None where neither stands."""
    name = config.optional("dtype", str) or config.optional("torch_dtype", str)
    if name is None or name == "auto":
        return None
    dtype = DTYPES.get(name.removeprefix("torch."))
    if dtype is None:
        raise UnsupportedModelError(f"{config.where}: dtype {name!r} is not supported; supported: {', '.join(DTYPES)}")
    return dtype


def choose_dtype(requested: str, declared: torch.dtype | None) -> torch.dtype:
    """Return the type to compute in: what was asked for, else the checkpoint's own, else float32."""
    if requested != "auto":
        return DTYPES[requested]
    return declared or torch.float32


def check_token_ids(path: Path, token_ids: Iterable[int], vocab_size: int) -> None:
    """Raise `InvalidCheckpointError` for a token that ends an answer but that the model does not know.

    Kernels write to such tokens' logits, and check no bounds.
    """
    for token in token_ids:
        if token >= vocab_size:
            raise InvalidCheckpointError(
                f"{path}: key 'eos_token_id' names token {token}; the model's vocab_size is {vocab_size}"
            )


def _family(config: Fields) -> tuple[str, Family]:
    names = config.strings("architectures")
    if not names:  # a folder written by hand may only say its model type
        model_type = config.get("model_type", str)
        names = [name for name, family in NATIVE_ARCHITECTURES.items() if family.model_type == model_type]
        names = names or [f"model type {model_type}"]
    family = NATIVE_ARCHITECTURES.get(names[0])
    if family is None:
        supported = ", ".join(NATIVE_ARCHITECTURES)
        raise UnsupportedModelError(
            f"{config.where}: architecture {names[0]} has no native decoder (there is one for {supported}); "
            "the transformers backend may serve it"
        )
    return names[0], family
