"""The demo model's shape, and the embedding through which training sees that numbers have digits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from spillway_engine.demo.tokenizer import BEGIN, END, PAD, number_tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CONTEXT: Final = 2048
"""Longest sequence in tokens; counting from 0 to 999 takes about 1,010."""


def build_model(tokenizer: Tokenizer) -> LlamaForCausalLM:
    """A freshly initialised model for this tokenizer, float32, tied embeddings."""
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000_000.0},
        tie_word_embeddings=True,
        bos_token_id=tokenizer.token_to_id(BEGIN),
        eos_token_id=tokenizer.token_to_id(END),
        pad_token_id=tokenizer.token_to_id(PAD),
        dtype="float32",
    )
    return LlamaForCausalLM(config)


class DigitEmbedding(nn.Module):
    """Token embedding in which a number's row is its own vector plus one per digit, while it is trained.

    Without it every number is a stranger to every other, and sums have to be learned pair by pair. The three
    digits (units, tens, hundreds), "is a number" and "stands after a space" are shared tables: what is
    learned about 7 helps 17 and 700. `folded` gives the plain matrix of shape [vocabulary, hidden] that is
    shipped, so that the model stays an ordinary Llama.
    """

    def __init__(self, tokenizer: Tokenizer, plain: torch.Tensor) -> None:
        super().__init__()
        features = torch.zeros(plain.shape[0], 32)
        for token, number, spaced in number_tokens(tokenizer):
            for place in range(3):
                features[token, 10 * place + number // 10**place % 10] = 1.0
            features[token, 30] = 1.0
            features[token, 31] = float(spaced)
        self.features: torch.Tensor
        self.register_buffer("features", features)
        self.own = nn.Parameter(plain.detach().clone())
        self.shared = nn.Parameter(torch.randn(features.shape[1], plain.shape[1]) * 0.05)

    def folded(self) -> torch.Tensor:
        """The matrix of shape [vocabulary, hidden], float32."""
        return self.own + self.features @ self.shared
