"""Tiny random models of other families through transformers: tokens equal `generate`, however a step is made up."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from spillway_engine.errors import InvalidCheckpointError, MemoryBudgetError, UnsupportedModelError
from spillway_engine.exactness import measure_exactness
from spillway_engine.hf import startup
from spillway_engine.hf.model import PagedModel
from spillway_engine.hf.runner import HfRunner
from spillway_engine.plan import Row, StepPlan, StepResult
from spillway_engine.request import Request, Sequence
from spillway_engine.settings import Backend, EngineSettings, SchedulerSettings
from spillway_engine.startup import load_engine
from spillway_wire.messages import Exactness
from spillway_wire.sampling import SamplingParams

_SIZES: dict[str, Any] = {
    "vocab_size": 199,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": None,
    "pad_token_id": 0,
    "tie_word_embeddings": False,  # tied and random, a model repeats its last token whatever came before
}
_GQA = _SIZES | {"num_key_value_heads": 2}
_WINDOW = _GQA | {"sliding_window": 12}

_FAMILIES: dict[str, Callable[[], Any]] = {
    "llama": lambda: transformers.LlamaConfig(**_GQA),
    "gemma2": lambda: transformers.Gemma2Config(
        **_WINDOW, head_dim=24, query_pre_attn_scalar=16, attn_logit_softcapping=4.0, final_logit_softcapping=3.0
    ),
    "gemma3": lambda: transformers.Gemma3TextConfig(
        **_WINDOW, head_dim=16, query_pre_attn_scalar=16, layer_types=["sliding_attention", "full_attention"]
    ),
    "olmo2": lambda: transformers.Olmo2Config(**_GQA),
    "phi": lambda: transformers.PhiConfig(**_SIZES, partial_rotary_factor=0.5),
    "phi3": lambda: transformers.Phi3Config(**_WINDOW),
    "gpt_neox": lambda: transformers.GPTNeoXConfig(**_SIZES),
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=199, n_embd=64, n_layer=2, n_head=4, n_positions=256, bos_token_id=1, eos_token_id=None,
        tie_word_embeddings=False,
    ),
    "gpt_oss": lambda: transformers.GptOssConfig(
        **_WINDOW, head_dim=16, num_local_experts=4, num_experts_per_tok=2
    ),
    "deepseek_v3": lambda: transformers.DeepseekV3Config(
        **_SIZES, num_key_value_heads=4, q_lora_rank=16, kv_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=16,
        v_head_dim=12, n_routed_experts=4, n_group=1, topk_group=1, num_experts_per_tok=2, moe_intermediate_size=32,
        first_k_dense_replace=1,
    ),
}  # fmt: skip
_ROUTED = {"gpt_oss", "deepseek_v3"}
"""Mixtures of experts: how many rows an expert gets depends on the batch, so their bits do too."""

_LIMITS = SchedulerSettings(max_num_seqs=8, max_num_batched_tokens=256, max_model_len=96, num_blocks=48)
_OUTPUT = 16

_GENERATOR = np.random.default_rng(5)
_PROMPTS = [[int(token) for token in _GENERATOR.integers(3, 199, length)] for length in (41, 3, 20, 1)]


def _save(config: Any, folder: Path) -> Path:
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.4)
    model.save_pretrained(folder)
    return folder


class _Served:
    """A model behind its runner, with `generate`'s answers to the prompts."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = _save(_FAMILIES[name](), folder)
        own = transformers.AutoModelForCausalLM.from_pretrained(self.folder, dtype=torch.float32).eval()
        self.expected = []
        for prompt in _PROMPTS:
            ids = torch.tensor([prompt])
            answer = own.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=_OUTPUT, pad_token_id=0
            )
            self.expected.append(answer[0, len(prompt) :].tolist())
        assert all(len(set(answer)) > 6 for answer in self.expected)  # or equality would say little
        self.model = PagedModel.load(self.folder, dtype="float32")
        self.runner = HfRunner(self.model, _LIMITS)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=list(_FAMILIES))
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, _one_thread: None) -> _Served:
    return _Served(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory, _one_thread: None) -> _Served:
    return _Served("llama", tmp_path_factory.mktemp("llama"))


def _sequence(index: int, *, slot: int | None = None, **params: Any) -> Sequence:
    """Return a sequence of one of the prompts, with six blocks of its own."""
    chosen = SamplingParams(**{"temperature": 0.0, **params})
    request = Request(key=("c", str(index), 1), prompt_token_ids=_PROMPTS[index], params=chosen, arrival=index)
    sequence = Sequence(request, 0, max_output_tokens=_OUTPUT)
    sequence.slot = index if slot is None else slot
    sequence.block_ids = list(range(sequence.slot * 6, sequence.slot * 6 + 6))
    return sequence


def _step(runner: HfRunner, shares: list[tuple[Sequence, int]], joined: tuple[Sequence, ...] = ()) -> StepResult:
    """Run one step, and settle it as a scheduler would."""
    rows = tuple(Row(s, s.num_computed, count, samples=count == s.num_pending) for s, count in shares)
    result = runner.execute(StepPlan(0, rows, sum(count for _, count in shares), joined))
    for row, token in zip(rows, result.token_ids, strict=True):
        row.sequence.num_computed += row.num_tokens
        assert (token is not None) == row.samples
        if token is not None:
            row.sequence.tokens.append(token)
    return result


def _finish(
    runner: HfRunner, sequences: list[Sequence], *, chunk: int = 256, outputs: int = _OUTPUT
) -> list[list[int]]:
    """Run steps until all have their output; prompts come in chunks of at most `chunk`."""
    joined = tuple(sequences)
    while going := [s for s in sequences if s.num_output < outputs]:
        _step(runner, [(s, min(s.num_pending, chunk)) for s in going], joined)
        joined = ()
    return [s.tokens[s.num_prompt :] for s in sequences]


def test_each_alone_equals_generate(served: _Served) -> None:
    for index, expected in enumerate(served.expected):
        assert _finish(served.runner, [_sequence(index)]) == [expected]


@pytest.mark.parametrize("chunk", [256, 7])
def test_together_whole_or_in_chunks_equals_generate(served: _Served, chunk: int) -> None:
    sequences = [_sequence(index) for index in range(len(_PROMPTS))]
    assert _finish(served.runner, sequences, chunk=chunk) == served.expected


def test_preempted_and_recomputed_elsewhere_equals_generate(served: _Served) -> None:
    sequences = [_sequence(index) for index in range(2)]
    _finish(served.runner, sequences, outputs=7)
    moved = sequences[0]
    moved.num_computed = 0
    moved.slot, moved.block_ids = 4, list(range(24, 30))
    assert _finish(served.runner, sequences, chunk=16) == served.expected[:2]


def test_a_prefix_computed_by_another_equals_generate(served: _Served) -> None:
    first, second = _sequence(0), _sequence(0, slot=1)
    _finish(served.runner, [first], outputs=3)
    second.block_ids[:2] = first.block_ids[:2]
    second.num_computed = 32
    assert _finish(served.runner, [first, second]) == [served.expected[0]] * 2


def test_dense_models_are_exact(served: _Served) -> None:
    measured = measure_exactness(served.runner.logits, vocab_size=199, limits=_LIMITS)
    if served.name not in _ROUTED:
        assert measured is Exactness.EXACT


def test_the_cache_takes_what_was_promised(served: _Served) -> None:
    taken = sum(tensor.nbytes for cache in served.model.state.caches.values() for tensor in (cache.keys, cache.values))
    assert taken == served.model.cache_bytes(_LIMITS.num_blocks, _LIMITS.block_size)
    assert served.model.blocks_within(taken, _LIMITS.block_size) == _LIMITS.num_blocks
    assert served.model.blocks_within(taken - 1, _LIMITS.block_size) == _LIMITS.num_blocks - 1


def test_two_threads_are_exact_too(llama: _Served) -> None:
    limits = SchedulerSettings(max_num_seqs=8, max_num_batched_tokens=128, max_model_len=48, num_blocks=48)
    torch.set_num_threads(2)
    try:
        assert measure_exactness(llama.runner.logits, vocab_size=199, limits=limits) is Exactness.EXACT
    finally:
        torch.set_num_threads(1)


def test_seeded_samples_do_not_depend_on_company(llama: _Served) -> None:
    params: dict[str, Any] = {"temperature": 1.3, "seed": 7, "frequency_penalty": 0.5}
    alone = _finish(llama.runner, [_sequence(2, slot=5, **params)])
    together = _finish(llama.runner, [_sequence(0), _sequence(2, **params), _sequence(3)], chunk=5)
    assert together[1] == alone[0]
    assert alone[0] != llama.expected[2]


def test_logprobs_are_the_models_own_for_prompt_and_output(llama: _Served) -> None:
    sequence = _sequence(2, logprobs=2, prompt_logprobs=1)
    first = _step(llama.runner, [(sequence, 13)], (sequence,))
    second = _step(llama.runner, [(sequence, sequence.num_pending), (_sequence(1), 3)])
    own = transformers.AutoModelForCausalLM.from_pretrained(llama.folder, dtype=torch.float32)
    with torch.inference_mode():
        expected = own(torch.tensor([sequence.tokens[:-1]])).logits[0].log_softmax(-1)
    prompt = [*first.prompt_logprobs[0], *second.prompt_logprobs[0]]
    assert [entry.chosen.token_id for entry in prompt] == _PROMPTS[2][1:]
    assert all(len(entry.top) == 1 for entry in prompt)
    found = [entry.chosen.logprob for entry in (*prompt, second.logprobs[0])]
    targets = torch.tensor(sequence.tokens[1:])
    torch.testing.assert_close(
        torch.tensor(found, dtype=torch.float32), expected.gather(1, targets[:, None])[:, 0], rtol=1e-4, atol=1e-4
    )
    assert [token.rank for token in second.logprobs[0].top] == [1, 2]
    assert not first.logprobs


def test_nan_in_one_sequence_fails_it_alone_until_its_blocks_are_scrubbed(llama: _Served) -> None:
    sick, well = _sequence(2), _sequence(0)
    _step(llama.runner, [(sick, 10), (well, well.num_pending)], (sick, well))
    for cache in llama.model.state.caches.values():
        cache.values[sick.block_ids[0]] = float("nan")
    rows = (Row(sick, 10, 10, samples=True), Row(well, well.num_computed, 1, samples=True))
    result = llama.runner.execute(StepPlan(1, rows, 11))
    assert result.failed == {0}
    assert result.token_ids == [None, llama.expected[0][1]]
    scrubbed = StepPlan(2, (Row(well, well.num_computed, 1, samples=True),), 1, scrub=tuple(sick.block_ids))
    llama.runner.execute(scrubbed)
    assert all(bool(cache.values.isfinite().all()) for cache in llama.model.state.caches.values())


def test_bfloat16_is_exact_and_near_float32(llama: _Served) -> None:
    model = PagedModel.load(llama.folder, dtype="bfloat16")
    runner = HfRunner(model, _LIMITS)
    assert model.cache_bytes_per_token == llama.model.cache_bytes_per_token // 2
    assert measure_exactness(runner.logits, vocab_size=199, limits=_LIMITS) is Exactness.EXACT
    row = Row(_sequence(0), 0, len(_PROMPTS[0]), samples=True)
    half, full = runner.logits([row])[0], llama.runner.logits([row])[0]
    assert float(np.corrcoef(half, full)[0, 1]) > 0.995


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            lambda: transformers.BloomConfig(vocab_size=99, hidden_size=32, n_layer=1, n_head=2),
            "BloomForCausalLM does not go through",
        ),
        (
            lambda: transformers.MambaConfig(vocab_size=99, hidden_size=32, num_hidden_layers=1, state_size=4),
            "MambaForCausalLM has layers of type 'linear_attention'",
        ),
        (
            lambda: transformers.BertConfig(**(_SIZES | {"eos_token_id": 2})),
            "Bert",
        ),
    ],
    ids=["bloom", "mamba", "bert"],
)
def test_what_cannot_be_paged_is_named(tmp_path: Path, config: Callable[[], Any], words: str) -> None:
    with pytest.raises(UnsupportedModelError, match=words):
        PagedModel.load(_save(config(), tmp_path))


def test_a_model_whose_paged_logits_are_not_its_own_is_refused(llama: _Served, monkeypatch: pytest.MonkeyPatch) -> None:
    own = transformers.models.llama.modeling_llama.eager_attention_forward

    def biased(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **rest: Any) -> Any:
        distance = torch.arange(query.shape[2])[:, None] - torch.arange(query.shape[2])
        return own(module, query, key, value, attention_mask - 0.5 * distance, **rest)

    monkeypatch.setattr(transformers.models.llama.modeling_llama, "eager_attention_forward", biased)
    with pytest.raises(UnsupportedModelError, match="LlamaForCausalLM cannot be paged: its logits differ by"):
        PagedModel.load(llama.folder)


def test_a_missing_tensor_and_a_wrong_shape_are_named(llama: _Served, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file  # noqa: PLC0415 - only here

    tensors = load_file(llama.folder / "model.safetensors")
    (tmp_path / "config.json").write_bytes((llama.folder / "config.json").read_bytes())
    name = "model.layers.1.mlp.up_proj.weight"
    kept = {key: tensor for key, tensor in tensors.items() if key != name}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InvalidCheckpointError, match=f"tensor {name} is missing"):
        PagedModel.load(tmp_path)
    save_file(kept | {name: torch.zeros(5, 64)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InvalidCheckpointError, match=re.escape(f"{name} has shape (5, 64); (96, 64) was expected")):
        PagedModel.load(tmp_path)


def test_weights_are_counted_in_the_type_that_they_are_loaded_in(
    llama: _Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = (llama.folder / "model.safetensors").stat().st_size  # float32
    monkeypatch.setattr(startup, "available_bytes", lambda: stored * 3 // 4)
    monkeypatch.setattr(startup, "PagedModel", SimpleNamespace(load=lambda *_, **__: pytest.fail("reached")))
    for dtype, outcome in (("float32", MemoryBudgetError), ("bfloat16", pytest.fail.Exception)):
        settings = EngineSettings(model=str(llama.folder), dtype=dtype, backend=Backend.TRANSFORMERS)
        with pytest.raises(outcome):
            load_engine(settings)


def test_a_loaded_engine_knows_how_long_a_step_takes(llama: _Served) -> None:
    settings = EngineSettings(model=str(llama.folder), backend=Backend.TRANSFORMERS, max_num_seqs=4)
    engine = load_engine(settings)
    engine.runner.close()
    assert engine.measured_step.num_tokens == 64
    assert engine.measured_step.took_ns > 0
