"""Llama shapes of 1 and 8 billion parameters with weights made on the device: speed does not hang on what they know."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from spillway_engine.model.config import ModelShape
from spillway_engine.model.decoder import LayerTensors, layer_names
from spillway_engine.model.rope import Rope

SEED = 20_25


def _shape(hidden: int, layers: int, heads: int, inner: int, *, tied: bool) -> ModelShape:
    head_dim = 64 if hidden < 4096 else 128
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
    return ModelShape(
        architecture="LlamaForCausalLM",
        vocab_size=128_256,
        hidden_size=hidden,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=8,
        head_dim=head_dim,
        intermediate_size=inner,
        rms_norm_eps=1e-5,
        max_position_embeddings=8192,
        rope=Rope(1.0 / 500_000.0**exponents, 1.0),
        tie_word_embeddings=tied,
        attention_bias=False,
        attention_output_bias=False,
        mlp_bias=False,
        qk_norm=False,
        sliding_windows=(None,) * layers,
        dtype=torch.bfloat16,
    )


SHAPES = {
    "1b": _shape(2048, 16, 32, 8192, tied=True),  # Llama 3.2 1B
    "8b": _shape(4096, 32, 32, 14_336, tied=False),  # Llama 3.1 8B
}


@dataclass(frozen=True, slots=True)
class MadeUpTensors:
    """Random weights of a shape, of the spread that keeps activations near one."""

    shape: ModelShape
    device: torch.device

    def embedding(self) -> torch.Tensor:
        """[vocab_size, hidden_size]."""
        return self._random(self.shape.vocab_size, self.shape.hidden_size)

    def final_norm(self) -> torch.Tensor:
        """[hidden_size]."""
        return torch.ones(self.shape.hidden_size, dtype=torch.bfloat16, device=self.device)

    def lm_head(self) -> torch.Tensor | None:
        """[vocab_size, hidden_size], or None where the embedding serves as the head."""
        return None if self.shape.tie_word_embeddings else self.embedding()

    def layer_tensors(self, layer: int) -> LayerTensors:
        """Make one layer."""
        del layer
        return LayerTensors(**dict(self._tensors()))

    def _tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        for field, (_, size) in layer_names(self.shape).items():
            is_norm = len(size) == 1
            yield field, torch.ones(size, dtype=torch.bfloat16, device=self.device) if is_norm else self._random(*size)

    def _random(self, *size: int) -> torch.Tensor:
        return torch.randn(*size, dtype=torch.bfloat16, device=self.device).mul_(size[-1] ** -0.5)
