"""The Llama family through the compiled program, against transformers on the same random weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

from spillway_engine.core import EngineCore
from spillway_engine.errors import InvalidCheckpointError
from spillway_engine.settings import Backend, EngineSettings
from spillway_engine.startup import LoadedEngine, load_engine
from spillway_wire.messages import Exactness, PositionLogprobs, Submit
from spillway_wire.sampling import SamplingParams

BASE: dict[str, Any] = {
    "vocab_size": 131,
    "hidden_size": 64,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "eos_token_id": None,
}
LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 10_000.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
CONFIGS: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaConfig(**BASE),
    "llama, tied, one key-value head": lambda: LlamaConfig(
        **{**BASE, "num_key_value_heads": 1}, tie_word_embeddings=True
    ),
    "llama, every bias": lambda: LlamaConfig(**BASE, attention_bias=True, mlp_bias=True),
    "llama 3 rope scaling": lambda: LlamaConfig(**BASE, rope_parameters=LLAMA3_ROPE),
    "llama, odd head": lambda: LlamaConfig(**BASE, head_dim=24),
    "mistral, sliding window": lambda: MistralConfig(**BASE, sliding_window=50),
    "qwen2": lambda: Qwen2Config(**BASE),
    "qwen2, upper layers slide": lambda: Qwen2Config(
        **BASE, use_sliding_window=True, sliding_window=40, max_window_layers=1
    ),
    "qwen3": lambda: Qwen3Config(**BASE, head_dim=32),
}
PROMPT = [(7 * position * position + 3) % 131 for position in range(150)]


def make_model(name: str, folder: Path) -> Any:
    torch.manual_seed(5)
    config = CONFIGS[name]()
    model = getattr(transformers, f"{type(config).__name__.removesuffix('Config')}ForCausalLM")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.3)  # biases and norms that matter
            else:
                parameter.mul_(6.0)  # so that logits are far apart
    model.save_pretrained(folder)
    return model


def answer(core: EngineCore, prompt: list[int], params: SamplingParams) -> tuple[list[int], list[PositionLogprobs]]:
    core.submit("test", Submit(request_id="r", prompt_token_ids=prompt, params=params))
    tokens: list[int] = []
    logprobs: list[PositionLogprobs] = []
    while core.has_work:
        report = core.step()
        assert report is not None
        for _, delta in report.deltas:
            tokens += delta.token_ids
            logprobs += delta.prompt_logprobs
    return tokens, logprobs


@pytest.mark.parametrize("name", CONFIGS)
def test_it_is_the_model_that_transformers_runs(name: str, tmp_path: Path) -> None:
    reference = make_model(name, tmp_path)
    engine = load_engine(
        EngineSettings(
            model=str(tmp_path), backend=Backend.NATIVE, max_num_batched_tokens=64, max_num_seqs=8, threads=2
        )
    )
    try:
        tokens, logprobs = answer(
            engine.core, PROMPT, SamplingParams(temperature=0.0, max_tokens=40, prompt_logprobs=0)
        )
    finally:
        engine.runner.close()
    assert engine.exactness is Exactness.EXACT
    assert engine.measured_step.num_tokens == 64
    assert engine.measured_step.took_ns > 0
    with torch.inference_mode():
        ids = torch.tensor([PROMPT])
        generated = reference.generate(ids, max_new_tokens=40, do_sample=False, pad_token_id=0)
        expected = torch.log_softmax(reference(ids).logits[0].double(), dim=-1)
    assert tokens == generated[0, len(PROMPT) :].tolist()
    assert len(logprobs) == len(PROMPT) - 1
    for position, entry in enumerate(logprobs):
        assert entry.chosen.token_id == PROMPT[position + 1]
        assert entry.chosen.logprob == pytest.approx(float(expected[position, PROMPT[position + 1]]), abs=2e-4)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_types_follow_the_float32_model(dtype: str, tmp_path: Path) -> None:
    """The weights are rounded; all arithmetic is in float32, so logprobs stay close to the rounded model's."""
    make_model("llama", tmp_path)
    rounded = transformers.LlamaForCausalLM.from_pretrained(tmp_path, dtype=getattr(torch, dtype)).float().eval()
    engine = load_engine(EngineSettings(model=str(tmp_path), dtype=dtype, max_num_seqs=8, threads=1))
    try:
        _, logprobs = answer(engine.core, PROMPT, SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0))
    finally:
        engine.runner.close()
    assert engine.exactness is Exactness.EXACT
    with torch.inference_mode():
        expected = torch.log_softmax(rounded(torch.tensor([PROMPT])).logits[0].double(), dim=-1)
    errors = [
        abs(entry.chosen.logprob - float(expected[position, PROMPT[position + 1]]))
        for position, entry in enumerate(logprobs)
    ]
    assert max(errors) < 0.5  # only the cache rounds on the way
    assert sum(errors) / len(errors) < 0.1


def test_block_size_does_not_change_bits(tmp_path: Path) -> None:
    make_model("llama", tmp_path)
    found = []
    for block_size in (16, 32, 64):
        engine = load_engine(EngineSettings(model=str(tmp_path), block_size=block_size, max_num_seqs=4, threads=1))
        try:
            found.append(answer(engine.core, PROMPT, SamplingParams(temperature=0.0, max_tokens=8, prompt_logprobs=3)))
        finally:
            engine.runner.close()
    assert found[0] == found[1] == found[2]


def test_the_cache_keeps_its_budget_to_the_byte(tmp_path: Path) -> None:
    make_model("llama", tmp_path)
    one_block = 3 * 2 * 2 * 16 * 16 * 4  # layers, keys and values, heads, dim, slots, bytes
    for budget, blocks in ((one_block * 5, 5), (one_block * 6 - 1, 5)):
        engine: LoadedEngine = load_engine(
            EngineSettings(model=str(tmp_path), kv_cache_bytes=budget, max_num_seqs=4, threads=1)
        )
        engine.runner.close()
        assert engine.capacity.num_blocks == blocks


def change_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def test_a_tensor_that_the_configuration_knows_nothing_of_is_named(tmp_path: Path) -> None:
    make_model("llama, every bias", tmp_path)
    change_config(tmp_path, attention_bias=False)
    with pytest.raises(InvalidCheckpointError, match=r"tensor model\.layers\.0\.self_attn\.k_proj\.bias is there"):
        load_engine(EngineSettings(model=str(tmp_path), max_num_seqs=4, threads=1))


@pytest.mark.parametrize("backend", [Backend.NATIVE, Backend.TRANSFORMERS])
def test_an_end_token_that_the_model_does_not_know_is_named(tmp_path: Path, backend: Backend) -> None:
    make_model("llama", tmp_path)
    (tmp_path / "generation_config.json").unlink(missing_ok=True)
    change_config(tmp_path, eos_token_id=[2, 131])
    with pytest.raises(InvalidCheckpointError, match="names token 131; the model's vocab_size is 131"):
        load_engine(EngineSettings(model=str(tmp_path), backend=backend, max_num_seqs=4, threads=1))
