"""The native family's shapes and rotary frequencies, against transformers' own reading of the same folders."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from spillway_engine.errors import InvalidCheckpointError, ModelNotFoundError, UnsupportedModelError
from spillway_engine.model.config import check_token_ids, choose_dtype, read_shape

_SIZES = {
    "vocab_size": 320,
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 96,
}
_LLAMA: dict[str, Any] = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", **_SIZES}


def _write(folder: Path, config: dict[str, Any]) -> Path:
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("architecture", "config", "windows", "biases", "qk_norm"),
    [
        ("LlamaForCausalLM", transformers.LlamaConfig(**_SIZES), (None,) * 4, (False, False, False), False),
        (
            "LlamaForCausalLM",
            transformers.LlamaConfig(**_SIZES, attention_bias=True, mlp_bias=True, head_dim=24, num_key_value_heads=2),
            (None,) * 4,
            (True, True, True),
            False,
        ),
        (
            "MistralForCausalLM",
            transformers.MistralConfig(**_SIZES, num_key_value_heads=2),
            (4096,) * 4,
            (False,) * 3,
            False,
        ),
        (
            "MistralForCausalLM",
            transformers.MistralConfig(**_SIZES, num_key_value_heads=2, sliding_window=None),
            (None,) * 4,
            (False,) * 3,
            False,
        ),
        (
            "Qwen2ForCausalLM",
            transformers.Qwen2Config(**_SIZES, num_key_value_heads=2, tie_word_embeddings=True),
            (None,) * 4,
            (True, False, False),
            False,
        ),
        (
            "Qwen2ForCausalLM",
            transformers.Qwen2Config(
                **_SIZES, num_key_value_heads=1, use_sliding_window=True, sliding_window=32, max_window_layers=3
            ),
            (None, None, None, 32),
            (True, False, False),
            False,
        ),
        (
            "Qwen3ForCausalLM",
            transformers.Qwen3Config(**_SIZES, num_key_value_heads=2, head_dim=32),
            (None,) * 4,
            (False,) * 3,
            True,
        ),
    ],
)  # fmt: skip
def test_a_saved_configuration_reads_as_transformers_reads_it(
    tmp_path: Path, *, architecture: str, config: Any, windows: Any, biases: Any, qk_norm: bool
) -> None:
    config.architectures = [architecture]
    config.dtype = torch.bfloat16
    config.save_pretrained(tmp_path)
    shape = read_shape(tmp_path)
    assert shape.architecture == architecture
    assert (shape.vocab_size, shape.hidden_size, shape.num_layers) == (320, 64, 4)
    assert (shape.num_heads, shape.intermediate_size) == (4, 96)
    assert shape.num_kv_heads == config.num_key_value_heads
    assert shape.head_dim == (getattr(config, "head_dim", None) or 16)
    assert shape.rms_norm_eps == config.rms_norm_eps
    assert shape.max_position_embeddings == config.max_position_embeddings
    assert shape.tie_word_embeddings == config.tie_word_embeddings
    assert shape.sliding_windows == windows
    assert (shape.attention_bias, shape.attention_output_bias, shape.mlp_bias) == biases
    assert shape.qk_norm == qk_norm
    assert shape.dtype is torch.bfloat16


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "linear", "factor": 4.0},
        {"rope_type": "dynamic", "factor": 2.0},
        {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 128,
        },
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128},
        {
            "rope_type": "yarn",
            "factor": 16.0,
            "original_max_position_embeddings": 128,
            "mscale": 0.7,
            "mscale_all_dim": 1.1,
            "beta_fast": 16,
            "truncate": False,
        },
        {"rope_type": "yarn", "factor": 2.0, "attention_factor": 1.25, "original_max_position_embeddings": 64},
    ],
    ids=lambda rope: "-".join([rope["rope_type"], *sorted(set(rope) & {"mscale", "attention_factor"})]),
)
@pytest.mark.parametrize("theta", [10_000.0, 500_000])
@pytest.mark.parametrize("old_style", [False, True])
def test_scaled_frequencies_equal_transformers_bit_for_bit(
    tmp_path: Path, rope: dict[str, Any], theta: float, old_style: bool
) -> None:
    reference = transformers.LlamaConfig(
        **_SIZES, max_position_embeddings=1024, rope_parameters={**rope, "rope_theta": theta}
    )
    expected, scaling = ROPE_INIT_FUNCTIONS[rope["rope_type"]](reference, torch.device("cpu"))
    extra = (
        {"rope_theta": theta, "rope_scaling": {**rope, "type": rope["rope_type"]}}
        if old_style
        else {"rope_parameters": {**rope, "rope_theta": theta}}
    )
    found = read_shape(_write(tmp_path, _LLAMA | {"max_position_embeddings": 1024} | extra)).rope
    assert torch.equal(found.inv_freq, expected)
    assert found.inv_freq.dtype is torch.float32
    assert found.attention_scaling == scaling


def test_plain_frequencies_equal_the_models_own(tmp_path: Path) -> None:
    rope = {"rope_type": "default", "rope_theta": 1e6}
    config = transformers.Qwen3Config(**_SIZES, head_dim=32, num_key_value_heads=2, rope_parameters=rope)
    own = transformers.models.qwen3.modeling_qwen3.Qwen3RotaryEmbedding(config)
    config.architectures = ["Qwen3ForCausalLM"]
    config.save_pretrained(tmp_path)
    assert torch.equal(read_shape(tmp_path).rope.inv_freq, own.inv_freq)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"architectures": ["GPTNeoXForCausalLM"]}, "architecture GPTNeoXForCausalLM has no native decoder"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ({"quantization_config": {"bits": 4}}, "quantised"),
        ({"rope_scaling": {"rope_type": "longrope"}}, "rope type 'longrope'"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor 0.5"),
        ({"torch_dtype": "float64"}, "dtype 'float64'"),
    ],
)
def test_what_the_decoder_cannot_do_is_named(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(UnsupportedModelError, match=re.escape(words)):
        read_shape(_write(tmp_path, _LLAMA | change))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vocab_size": None}, "key 'vocab_size' is missing; an integer was expected"),
        ({"hidden_size": "64"}, "key 'hidden_size' is '64'; an integer was expected"),
        ({"num_hidden_layers": True}, "key 'num_hidden_layers' is True; an integer was expected"),
        ({"intermediate_size": 0}, "key 'intermediate_size' is 0; an integer of at least 1"),
        ({"num_key_value_heads": 3}, "num_key_value_heads is 3; a divisor of num_attention_heads (4)"),
        ({"num_attention_heads": 3}, "hidden_size is 64; a multiple of num_attention_heads (3)"),
        ({"head_dim": 7}, "head_dim is 7; an even number"),
        ({"architectures": "LlamaForCausalLM"}, "a list of strings was expected"),
        ({"rope_scaling": 4}, "key 'rope_scaling' is 4; an object was expected"),
        ({"rope_scaling": {"rope_type": "linear"}}, "rope_scaling: key 'factor' is missing; a number was expected"),
        ({"tie_word_embeddings": "yes"}, "key 'tie_word_embeddings' is 'yes'; true or false was expected"),
    ],
)
def test_a_wrong_key_is_named_with_what_was_expected(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidCheckpointError, match=re.escape(words)) as caught:
        read_shape(_write(tmp_path, _LLAMA | change))
    assert "config.json" in str(caught.value)


def test_a_folder_without_or_with_a_broken_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"config\.json does not exist"):
        read_shape(tmp_path)
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(InvalidCheckpointError, match="cannot be read as JSON"):
        read_shape(tmp_path)


def test_a_token_that_ends_answers_is_one_that_the_model_knows(tmp_path: Path) -> None:
    check_token_ids(tmp_path, (0, 130), 131)
    with pytest.raises(InvalidCheckpointError, match="'eos_token_id' names token 131; the model's vocab_size is 131"):
        check_token_ids(tmp_path, (0, 131), 131)


def test_the_type_is_the_one_asked_for_else_the_checkpoints() -> None:
    assert choose_dtype("float16", torch.bfloat16) is torch.float16
    assert choose_dtype("auto", torch.bfloat16) is torch.bfloat16
    assert choose_dtype("auto", None) is torch.float32
