"""Checkpoints: what is read, and how each kind of broken folder is named."""

import json
import re
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import save_file

from spillway_engine.errors import InvalidCheckpointError, ModelNotFoundError
from spillway_engine.model.checkpoint import Checkpoint
from spillway_engine.model.config import read_shape
from spillway_engine.model.decoder import DecoderTensors, layer_names

_SIZES = {
    "vocab_size": 96,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
}


def _saved(folder: Path, *, tied: bool, shard: str = "1GB") -> transformers.Qwen3ForCausalLM:
    model = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**_SIZES, head_dim=8, tie_word_embeddings=tied))
    model.save_pretrained(folder, max_shard_size=shard)
    return model


@pytest.mark.parametrize("shard", ["1GB", "20KB"])
@pytest.mark.parametrize("tied", [True, False])
def test_all_tensors_of_a_saved_model_are_read_and_none_is_left(tmp_path: Path, tied: bool, shard: str) -> None:
    model = _saved(tmp_path, tied=tied, shard=shard)
    assert (tmp_path / "model.safetensors.index.json").exists() == (shard == "20KB")
    own = model.state_dict()
    with Checkpoint(tmp_path) as checkpoint:
        tensors = DecoderTensors(checkpoint, read_shape(tmp_path), torch.float32)
        layers = list(tensors.layers())
        head = tensors.lm_head()
        assert torch.equal(tensors.embedding(), own["model.embed_tokens.weight"])
        assert torch.equal(tensors.final_norm(), own["model.norm.weight"])
        assert (head is None) == tied
        assert checkpoint.unused == ()
        checkpoint.check_all_read()
        assert checkpoint.dtype is torch.float32
        assert checkpoint.bytes_as(torch.float16) == 2 * sum(tensor.numel() for tensor in model.parameters())
        assert checkpoint.bytes_as(torch.float32) == 4 * sum(tensor.numel() for tensor in model.parameters())
    for index, layer in enumerate(layers):
        for field, (name, _) in layer_names(read_shape(tmp_path)).items():
            assert torch.equal(getattr(layer, field), own[f"model.layers.{index}.{name}"])
        assert layer.q_bias is None


def test_biases_are_read_where_the_shape_has_them(tmp_path: Path) -> None:
    model = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**_SIZES))
    model.save_pretrained(tmp_path)
    with Checkpoint(tmp_path) as checkpoint:
        layer = DecoderTensors(checkpoint, read_shape(tmp_path), torch.bfloat16).layer_tensors(1)
    expected = model.model.layers[1].self_attn.k_proj.bias.to(torch.bfloat16)
    assert layer.k_bias is not None
    assert torch.equal(layer.k_bias, expected)
    assert layer.o_bias is None


def test_a_tied_model_may_ship_its_head_and_old_ones_their_frequencies(tmp_path: Path) -> None:
    model = _saved(tmp_path, tied=True)
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.zeros(4)
    tensors["surprise"] = torch.zeros(1)
    save_file(tensors, tmp_path / "model.safetensors")
    with Checkpoint(tmp_path) as checkpoint:
        decoder = DecoderTensors(checkpoint, read_shape(tmp_path), torch.float32)
        assert decoder.lm_head() is None
        decoder.embedding()
        decoder.final_norm()
        list(decoder.layers())
        assert checkpoint.unused == ("surprise",)
        with pytest.raises(InvalidCheckpointError, match="tensor surprise is there, but the model"):
            checkpoint.check_all_read()


def test_a_checkpoint_of_the_bare_decoder_has_no_prefix(tmp_path: Path) -> None:
    model = _saved(tmp_path, tied=True)
    shape = read_shape(tmp_path)
    model.model.save_pretrained(tmp_path)
    with Checkpoint(tmp_path) as checkpoint:
        assert "embed_tokens.weight" in checkpoint
        layer = DecoderTensors(checkpoint, shape, torch.float32).layer_tensors(0)
    assert torch.equal(layer.down, model.model.layers[0].mlp.down_proj.weight)


def test_a_tensor_is_checked_and_converted(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2, 3), "packed": torch.ones(2, dtype=torch.int8)}, tmp_path / "model.safetensors")
    with Checkpoint(tmp_path) as checkpoint:
        assert checkpoint.tensor("a", (2, 3), torch.bfloat16).dtype is torch.bfloat16
        with pytest.raises(InvalidCheckpointError, match=re.escape("tensor a has shape (2, 3); (3, 2) was expected")):
            checkpoint.tensor("a", (3, 2))
        with pytest.raises(InvalidCheckpointError, match="tensor b is missing"):
            checkpoint.tensor("b", (1,))
        with pytest.raises(InvalidCheckpointError, match="tensor packed is of type I8; one of F32, F16, BF16"):
            checkpoint.tensor("packed", (2,))


def test_pickles_are_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ModelNotFoundError, match=r"pytorch_model\.bin .*save_pretrained"):
        Checkpoint(tmp_path)


def test_a_folder_without_weights_and_no_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"neither model\.safetensors nor"):
        Checkpoint(tmp_path)
    with pytest.raises(ModelNotFoundError, match="is not a folder"):
        Checkpoint(tmp_path / "nowhere")


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_truncated_file_is_named(tmp_path: Path, kept: int) -> None:
    save_file({"a": torch.ones(64)}, tmp_path / "model.safetensors")
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:kept])
    with pytest.raises(InvalidCheckpointError, match=r"model\.safetensors is not a whole safetensors file"):
        Checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("weight_map", "error", "words"),
    [
        ({"a": "gone.safetensors"}, ModelNotFoundError, "gone.safetensors does not exist"),
        ({"a": "one.safetensors", "z": "one.safetensors"}, InvalidCheckpointError, "tensor z is missing"),
        ({"a": "../one.safetensors"}, InvalidCheckpointError, "a file name was expected"),
        ({}, InvalidCheckpointError, "'weight_map' is missing or empty"),
    ],
)
def test_a_wrong_index_is_named(tmp_path: Path, weight_map: dict[str, str], error: type[Exception], words: str) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "one.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")
    with pytest.raises(error, match=re.escape(words)):
        Checkpoint(tmp_path)
