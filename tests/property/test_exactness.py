"""The same request gives the same tokens and the same logprobs to the bit, whatever happens around it.

A request is run undisturbed once. Then hypothesis draws company, a step budget, a cache size, prefix caching, threads
and a moment to be resumed at; the answer must not differ in anything.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from spillway_engine.core import EngineCore
from spillway_engine.cpu.runner import CpuRunner
from spillway_engine.cpu.vector import multiplies_pairs
from spillway_engine.cpu.weights import load_weights
from spillway_engine.model.checkpoint import Checkpoint
from spillway_engine.model.config import ModelShape, read_shape
from spillway_engine.model.decoder import DecoderTensors
from spillway_engine.settings import SchedulerSettings
from spillway_wire.messages import Choice, PositionLogprobs, Submit
from spillway_wire.sampling import SamplingParams

VOCAB = 97
CONTEXT = 256
OUTPUT = 24
PARAMS = {
    "greedy": SamplingParams(temperature=0.0, max_tokens=OUTPUT, logprobs=2),
    "sampled": SamplingParams(temperature=1.3, top_p=0.9, top_k=40, seed=11, max_tokens=OUTPUT, logprobs=1),
    "penalised": SamplingParams(
        temperature=0.9, seed=5, repetition_penalty=1.3, presence_penalty=0.5, frequency_penalty=0.4, min_tokens=9,
        logit_bias={3: 2.0, 9: -100.0}, max_tokens=OUTPUT, logprobs=0,
    ),
}  # fmt: skip


class Model(NamedTuple):
    shape: ModelShape
    weights: Any
    dtype: torch.dtype
    pairs: bool


class Answer(NamedTuple):
    tokens: list[int]
    logprobs: list[PositionLogprobs]


KINDS = [("float32", False), ("bfloat16", False), *[("bfloat16", True)] * multiplies_pairs()]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind[0] + "_pairs" * kind[1])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder: Path = tmp_path_factory.mktemp("model")
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=CONTEXT, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    module = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(3.0)
    module.save_pretrained(folder)
    dtype: torch.dtype = getattr(torch, request.param[0])
    pairs: bool = request.param[1]
    shape = read_shape(folder)
    with Checkpoint(folder) as checkpoint:
        tensors = DecoderTensors(checkpoint, shape, dtype)
        weights = load_weights(tensors, shape, dtype, CONTEXT, lambda _: None, pairs=pairs)
    return Model(shape, weights, dtype, pairs)


class Served:
    """A core over a fresh cache."""

    def __init__(self, model: Model, *, threads: int = 1, **limits: Any) -> None:
        chosen = SchedulerSettings(**{"max_num_seqs": 8, "max_model_len": CONTEXT, **limits})
        self.runner = CpuRunner(
            model.shape,
            model.weights,
            chosen,
            dtype=model.dtype,
            pairs=model.pairs,
            threads=threads,
            eos_token_ids=(),
        )
        self.core = EngineCore(chosen, self.runner, vocab_size=VOCAB, eos_token_ids=())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.runner.close()

    def run(self) -> dict[str, Answer]:
        """Step until nothing is left; the books are checked, too."""
        answers: dict[str, Answer] = {}
        while self.core.has_work:
            report = self.core.step()
            for _, delta in report.deltas if report is not None else ():
                answer = answers.setdefault(delta.request_id, Answer([], []))
                answer.tokens.extend(delta.token_ids)
                answer.logprobs.extend(delta.logprobs)
        self.core.check_integrity()
        return answers


def submit(name: str, prompt: list[int], params: SamplingParams, output: tuple[int, ...] = ()) -> Submit:
    return Submit(
        request_id=name, prompt_token_ids=prompt, params=params, choices=(Choice(index=0, output_token_ids=output),)
    )


def undisturbed(model: Model, prompt: list[int], params: SamplingParams) -> Answer:
    with Served(model) as served:
        served.core.submit("test", submit("alone", prompt, params))
        return served.run()["alone"]


prompts = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=150)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_nothing_around_a_request_changes_it(model: Model, data: st.DataObject) -> None:
    prompt = data.draw(prompts, label="prompt")
    params = PARAMS[data.draw(st.sampled_from(sorted(PARAMS)), label="params")]
    expected = undisturbed(model, prompt, params)
    company = data.draw(st.lists(prompts, max_size=6), label="company")
    copies = data.draw(st.integers(0, 2), label="others with the same prompt")
    resumed_at = data.draw(st.integers(0, OUTPUT - 1), label="resumed at")
    limits = {
        "max_num_batched_tokens": data.draw(st.sampled_from([8, 17, 64, 256]), label="step budget"),
        "num_blocks": data.draw(st.sampled_from([12, 16, 64]), label="blocks"),  # 12 is just enough for one: preemption
        "prefix_caching": data.draw(st.booleans(), label="prefix caching"),
        "threads": data.draw(st.sampled_from([1, 2, 3]), label="threads"),
    }
    with Served(model, **limits) as served:
        for index, other in enumerate([*company, *[prompt] * copies]):
            served.core.submit("test", submit(f"other {index}", other, PARAMS["sampled"]))
        for _ in range(data.draw(st.integers(0, 6), label="steps before it comes")):
            served.core.step()
        served.core.submit("test", submit("it", prompt, params, tuple(expected.tokens[:resumed_at])))
        found = served.run()["it"]
    assert found.tokens == expected.tokens[resumed_at:]
    assert found.logprobs == expected.logprobs[resumed_at:]


def all_ways(model: Model) -> Iterator[Answer]:
    prompt = [position * 5 % VOCAB for position in range(140)]
    for limits in ({}, {"max_num_batched_tokens": 8}, {"num_blocks": 12}, {"threads": 2}):
        with Served(model, **limits) as served:
            for name in ("first", "second"):  # the second finds the first's prefix in the cache
                served.core.submit("test", submit(name, prompt, PARAMS["penalised"]))
                yield served.run()[name]


def test_chunks_small_caches_threads_and_prefix_hits_by_example(model: Model) -> None:
    first, *others = all_ways(model)
    assert all(other == first for other in others)
    assert len(first.tokens) == OUTPUT
