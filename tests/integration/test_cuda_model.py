"""A whole model through the CUDA path, its kernels interpreted: greedy tokens are transformers' own."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from spillway_engine.core import EngineCore
from spillway_engine.cuda import startup
from spillway_engine.model.checkpoint import Checkpoint
from spillway_engine.model.config import read_shape
from spillway_engine.model.decoder import DecoderTensors
from spillway_engine.settings import EngineSettings
from spillway_wire.messages import Exactness, PositionLogprobs, Submit
from spillway_wire.sampling import SamplingParams

BASE: dict[str, Any] = {
    "vocab_size": 61, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 320, "bos_token_id": None,
    "eos_token_id": None,
}  # fmt: skip
MODELS = {
    "llama with every bias": lambda: LlamaForCausalLM(
        LlamaConfig(**{**BASE, "num_hidden_layers": 1}, attention_bias=True, mlp_bias=True)
    ),
    "qwen3, sliding": lambda: Qwen3ForCausalLM(
        Qwen3Config(**BASE, use_sliding_window=True, sliding_window=9, max_window_layers=1)
    ),
}
PROMPT = [(7 * position * position + 3) % 61 for position in range(19)]


@pytest.mark.parametrize("name", MODELS)
def test_greedy_tokens_and_logprobs_are_those_of_transformers(
    name: str, tmp_path: Path, cuda_on_cpu: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    model = MODELS[name]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0).add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(tmp_path)
    shape = read_shape(tmp_path)
    # measured on a GPU in a moment, here in a minute
    monkeypatch.setattr(startup, "measure_exactness", lambda *_args, **_kwargs: Exactness.LOGICAL)
    device = cuda_on_cpu.LateDevice()
    phases = []
    with Checkpoint(tmp_path) as checkpoint:
        prepared = startup.prepare(
            EngineSettings(model=str(tmp_path), max_num_seqs=1, max_num_batched_tokens=16, gpu_memory_utilization=0.5),
            shape,
            torch.float32,
            DecoderTensors(checkpoint, shape, torch.float32),
            device,
            report=lambda phase, share: phases.append((phase, share)),
            when_read=checkpoint.check_all_read,
            programs=2,
        )
    assert [share for phase, share in phases if phase == "warming up: recording graphs"] == [0.0]
    assert prepared.limits.num_blocks == 20
    core = EngineCore(prepared.limits, prepared.runner, vocab_size=61, eos_token_ids=())
    params = SamplingParams(temperature=0.0, max_tokens=4, logprobs=1, prompt_logprobs=0)
    core.submit("test", Submit(request_id="r", prompt_token_ids=PROMPT, params=params))
    tokens: list[int] = []
    prompt: list[PositionLogprobs] = []
    output: list[PositionLogprobs] = []
    while core.has_work:
        report = core.step()
        assert report is not None
        for _, delta in report.deltas:
            tokens += delta.token_ids
            prompt += delta.prompt_logprobs
            output += delta.logprobs
    core.check_integrity()
    with torch.inference_mode():
        expected = model.generate(torch.tensor([PROMPT]), max_new_tokens=4, do_sample=False, pad_token_id=0)[0].tolist()
        logprobs = torch.log_softmax(model(torch.tensor([expected])).logits[0].double(), dim=-1)
    assert tokens == expected[19:]
    assert len(prompt) == 18
    for position, entry in enumerate(prompt + output):
        token = expected[position + 1]
        assert entry.chosen.token_id == token
        assert entry.chosen.logprob == pytest.approx(float(logprobs[position, token]), abs=2e-4)
    assert prepared.runner.facts()["eager_decodes"] == 0  # type: ignore[attr-defined]
