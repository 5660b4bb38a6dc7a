"""The benchmark's models: published shapes, random weights of a fixed seed, nothing downloaded.

Speed does not depend on what a model has learned, so weights of the right shape are enough. A model is an ordinary
Hugging Face folder, made once; it has no end-of-sequence token that could end a run early, and a word-level tokenizer
(``t0 t1 t2 …``) for the servers that refuse to start without one.
"""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SEED = 20_25
DEFAULT_ROOT = Path(".bench/models")
MAX_POSITION_EMBEDDINGS = 2048
HEAD_DIM = 64
COMPLETE = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
"""A folder with all of these is a finished model: it was moved into place in one step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """The sizes of a Llama model with tied embeddings and heads of 64."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    intermediate_size: int
    vocab_size: int

    def config(self) -> LlamaConfig:
        """The configuration as transformers writes it, bfloat16 and without special tokens."""
        return LlamaConfig(
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            num_key_value_heads=self.num_key_value_heads,
            head_dim=HEAD_DIM,
            intermediate_size=self.intermediate_size,
            vocab_size=self.vocab_size,
            max_position_embeddings=MAX_POSITION_EMBEDDINGS,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=None,
            dtype="bfloat16",
        )


SHAPES = {
    # SmolLM2-135M.
    "small": ModelShape(
        hidden_size=576,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        intermediate_size=1536,
        vocab_size=49_152,
    ),
    # So little arithmetic that what remains is each engine's own overhead.
    "tiny": ModelShape(
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=1024,
        vocab_size=4096,
    ),
}


def ensure_model(name: str, root: Path = DEFAULT_ROOT) -> Path:
    """Return the absolute folder of the model `name`, made under `root` unless it is there already.

    Raises KeyError for a name that is not in `SHAPES`.
    """
    shape = SHAPES[name]
    folder = root.absolute() / name
    if all((folder / file).is_file() for file in COMPLETE):
        return folder
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=f".{name}-") as scratch:
        draft = Path(scratch) / name
        _write_weights(shape, draft)
        _write_tokenizer(shape.vocab_size, draft)
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
    return folder


def _write_weights(shape: ModelShape, folder: Path) -> None:
    """Write the configuration and the weights; the caller's random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = LlamaForCausalLM(shape.config())
    model = model.to(torch.bfloat16)
    model.generation_config = GenerationConfig()
    model.save_pretrained(folder)


def _write_tokenizer(vocab_size: int, folder: Path) -> None:
    """Write a tokenizer whose word ``t123`` is the token 123."""
    words = {f"t{token}": token for token in range(vocab_size)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="t0"))  # noqa: S106 - a word of the vocabulary, not a password
    tokenizer.pre_tokenizer = Whitespace()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=MAX_POSITION_EMBEDDINGS)
    wrapped.save_pretrained(folder)
