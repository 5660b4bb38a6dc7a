"""The Llama family's tensors by what they do, whatever a checkpoint calls them."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from spillway_engine.model.checkpoint import Checkpoint
from spillway_engine.model.config import ModelShape


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerTensors:
    """One decoder layer. Weights are [out, in], biases and norms [size]; None where the model has none."""

    input_norm: torch.Tensor
    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    o: torch.Tensor
    post_attention_norm: torch.Tensor
    gate: torch.Tensor
    up: torch.Tensor
    down: torch.Tensor
    q_bias: torch.Tensor | None = None
    k_bias: torch.Tensor | None = None
    v_bias: torch.Tensor | None = None
    o_bias: torch.Tensor | None = None
    q_norm: torch.Tensor | None = None
    k_norm: torch.Tensor | None = None
    gate_bias: torch.Tensor | None = None
    up_bias: torch.Tensor | None = None
    down_bias: torch.Tensor | None = None


class DecoderTensors:
    """Reads a Llama-family checkpoint piece by piece, so that a whole model never lies in memory twice.

    All tensors come in `dtype`. Errors are those of `Checkpoint.tensor`: they name the tensor.
    """

    def __init__(self, checkpoint: Checkpoint, shape: ModelShape, dtype: torch.dtype) -> None:
        self._checkpoint = checkpoint
        self._shape = shape
        self._dtype = dtype
        # a checkpoint saved from the bare decoder lacks the causal model's prefix
        self._prefix = "" if "embed_tokens.weight" in checkpoint else "model."
        checkpoint.ignore(*(name for name in checkpoint.names if name.endswith("rotary_emb.inv_freq")))

    def embedding(self) -> torch.Tensor:
        """[vocab_size, hidden_size]."""
        return self._read(f"{self._prefix}embed_tokens.weight", self._shape.vocab_size, self._shape.hidden_size)

    def final_norm(self) -> torch.Tensor:
        """[hidden_size]."""
        return self._read(f"{self._prefix}norm.weight", self._shape.hidden_size)

    def lm_head(self) -> torch.Tensor | None:
        """[vocab_size, hidden_size], or None where the embedding serves as the head too."""
        if self._shape.tie_word_embeddings:
            self._checkpoint.ignore("lm_head.weight")  # some tied models ship their copy all the same
            return None
        return self._read("lm_head.weight", self._shape.vocab_size, self._shape.hidden_size)

    def layers(self) -> Iterator[LayerTensors]:
        """All layers in order, each read when it is reached."""
        return map(self.layer_tensors, range(self._shape.num_layers))

    def layer_tensors(self, layer: int) -> LayerTensors:
        """Read one layer."""
        read = {
            field: self._read(f"{self._prefix}layers.{layer}.{name}", *size)
            for field, (name, size) in layer_names(self._shape).items()
        }
        return LayerTensors(**read)

    def _read(self, name: str, *size: int) -> torch.Tensor:
        return self._checkpoint.tensor(name, size, self._dtype)


def layer_names(shape: ModelShape) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return each field of `LayerTensors` that this model has, with its name below the layer's and its size."""
    hidden, mlp = shape.hidden_size, shape.intermediate_size
    query, key = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    names: dict[str, tuple[str, tuple[int, ...]]] = {
        "input_norm": ("input_layernorm.weight", (hidden,)),
        "q": ("self_attn.q_proj.weight", (query, hidden)),
        "k": ("self_attn.k_proj.weight", (key, hidden)),
        "v": ("self_attn.v_proj.weight", (key, hidden)),
        "o": ("self_attn.o_proj.weight", (hidden, query)),
        "post_attention_norm": ("post_attention_layernorm.weight", (hidden,)),
        "gate": ("mlp.gate_proj.weight", (mlp, hidden)),
        "up": ("mlp.up_proj.weight", (mlp, hidden)),
        "down": ("mlp.down_proj.weight", (hidden, mlp)),
    }
    if shape.attention_bias:
        names |= {
            "q_bias": ("self_attn.q_proj.bias", (query,)),
            "k_bias": ("self_attn.k_proj.bias", (key,)),
            "v_bias": ("self_attn.v_proj.bias", (key,)),
        }
    if shape.attention_output_bias:
        names["o_bias"] = ("self_attn.o_proj.bias", (hidden,))
    if shape.qk_norm:
        names |= {
            "q_norm": ("self_attn.q_norm.weight", (shape.head_dim,)),
            "k_norm": ("self_attn.k_norm.weight", (shape.head_dim,)),
        }
    if shape.mlp_bias:
        names |= {
            "gate_bias": ("mlp.gate_proj.bias", (mlp,)),
            "up_bias": ("mlp.up_proj.bias", (mlp,)),
            "down_bias": ("mlp.down_proj.bias", (hidden,)),
        }
    return names
