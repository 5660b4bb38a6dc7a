"""The same request gives the same tokens and the same logprobs to the bit, whatever happens around it.

A request is run undisturbed once. Then hypothesis draws company, a step budget, a cache size, prefix caching, threads
and a moment to be resumed at; the answer must not differ in anything.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from spillway_engine.core import EngineCore
from spillway_engine.cpu.runner import _WORTH_A_TEAM, CpuRunner
from spillway_engine.cpu.vector import multiplies_pairs
from spillway_engine.cpu.weights import load_weights
from spillway_engine.exactness import probe_sequence
from spillway_engine.model.checkpoint import Checkpoint
from spillway_engine.model.config import ModelShape, read_shape
from spillway_engine.model.decoder import DecoderTensors
from spillway_engine.plan import Row
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
        logit_bias={3: 2.0, 9: -100.0}, stop_token_ids=tuple(range(0, VOCAB, 6)), max_tokens=OUTPUT, logprobs=0,
    ),
    "with its prompt": SamplingParams(temperature=0.0, max_tokens=OUTPUT, logprobs=1, prompt_logprobs=1),
}  # fmt: skip


class Model(NamedTuple):
    shape: ModelShape
    weights: Any
    dtype: torch.dtype
    pairs: bool


class Answer(NamedTuple):
    tokens: list[int]
    logprobs: list[PositionLogprobs]
    prompt_logprobs: list[PositionLogprobs]

    def after(self, position: int) -> "Answer":
        """What a continuation from there has to add."""
        prompt_logprobs = [] if position else self.prompt_logprobs
        return Answer(self.tokens[position:], self.logprobs[position:], prompt_logprobs)


KINDS = [("float32", False), ("float16", False), ("bfloat16", False), *[("bfloat16", True)] * multiplies_pairs()]


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

    def __init__(self, model: Model, *, threads: int = 1, worth_a_team: int = _WORTH_A_TEAM, **limits: Any) -> None:
        chosen = SchedulerSettings(**{"max_num_seqs": 8, "max_model_len": CONTEXT, **limits})
        self.runner = CpuRunner(
            model.shape,
            model.weights,
            chosen,
            dtype=model.dtype,
            pairs=model.pairs,
            threads=threads,
            eos_token_ids=(),
            worth_a_team=worth_a_team,
        )
        self.core = EngineCore(chosen, self.runner, vocab_size=VOCAB, eos_token_ids=())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.runner.close()

    def run(self) -> dict[tuple[str, int], Answer]:
        """Step until nothing is left; the books are checked, too."""
        answers: dict[tuple[str, int], Answer] = {}
        while self.core.has_work:
            report = self.core.step()
            for _, delta in report.deltas if report is not None else ():
                answer = answers.setdefault((delta.request_id, delta.choice), Answer([], [], []))
                answer.tokens.extend(delta.token_ids)
                answer.logprobs.extend(delta.logprobs)
                answer.prompt_logprobs.extend(delta.prompt_logprobs)
        self.core.check_integrity()
        return answers


ONE = (Choice(),)


def submit(name: str, prompt: list[int], params: SamplingParams, choices: tuple[Choice, ...] = ONE) -> Submit:
    return Submit(request_id=name, prompt_token_ids=prompt, params=params, choices=choices)


def undisturbed(model: Model, prompt: list[int], params: SamplingParams, choice: int) -> Answer:
    with Served(model) as served:
        served.core.submit("test", submit("alone", prompt, params, (Choice(index=choice),)))
        return served.run()["alone", choice]


prompts = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=150)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_nothing_around_a_request_changes_it(model: Model, data: st.DataObject) -> None:
    prompt = data.draw(prompts, label="prompt")
    params = PARAMS[data.draw(st.sampled_from(sorted(PARAMS)), label="params")]
    num_choices = data.draw(st.integers(1, 2), label="choices")
    expected = [undisturbed(model, prompt, params, choice) for choice in range(num_choices)]
    company = data.draw(st.lists(prompts, max_size=6), label="company")
    copies = data.draw(st.integers(0, 2), label="others with the same prompt")
    resumed_at = [data.draw(st.integers(0, len(answer.tokens)), label="resumed at") for answer in expected]
    limits = {
        "max_num_batched_tokens": data.draw(st.sampled_from([8, 17, 64, 256]), label="step budget"),
        "num_blocks": data.draw(st.sampled_from([12, 16, 64]), label="blocks"),  # 12 is just enough for one: preemption
        "prefix_caching": data.draw(st.booleans(), label="prefix caching"),
        "threads": data.draw(st.sampled_from([1, 2, 3]), label="threads"),
        "worth_a_team": data.draw(st.sampled_from([0, _WORTH_A_TEAM]), label="worth a team"),
    }
    with Served(model, **limits) as served:
        for index, other in enumerate([*company, *[prompt] * copies]):
            served.core.submit("test", submit(f"other {index}", other, PARAMS["sampled"]))
        for _ in range(data.draw(st.integers(0, 6), label="steps before it comes")):
            served.core.step()
        choices = tuple(
            Choice(index=choice, output_token_ids=tuple(answer.tokens[:position]))
            for choice, (answer, position) in enumerate(zip(expected, resumed_at, strict=True))
        )
        served.core.submit("test", submit("it", prompt, params, choices))
        answers = served.run()
    for choice, (answer, position) in enumerate(zip(expected, resumed_at, strict=True)):
        assert answers["it", choice] == answer.after(position)


def all_ways(model: Model, params: SamplingParams) -> Iterator[Answer]:
    prompt = [position * 5 % VOCAB for position in range(140)]
    for limits in (
        {},
        {"max_num_batched_tokens": 8},
        {"num_blocks": 12},
        {"threads": 2},
        {"threads": 2, "worth_a_team": 0},
    ):
        with Served(model, **limits) as served:
            for name in ("first", "second"):  # the second finds the first's prefix in the cache
                served.core.submit("test", submit(name, prompt, params))
                yield served.run()[name, 0]


@pytest.mark.parametrize("kind", sorted(PARAMS))
def test_chunks_small_caches_threads_and_prefix_hits_by_example(model: Model, kind: str) -> None:
    params = PARAMS[kind]
    first, *others = all_ways(model, params)
    assert all(other == first for other in others)
    assert max(1, params.min_tokens) < len(first.tokens) <= OUTPUT
    assert len(first.prompt_logprobs) == (0 if params.prompt_logprobs is None else 139)


def test_a_continuation_does_not_compute_its_prompts_logprobs_again(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt, params = [1, 2, 3], PARAMS["with its prompt"]
    expected = undisturbed(model, prompt, params, 0)
    with Served(model) as served:
        monkeypatch.setattr(served.runner, "_logprobs_of", None)  # not called, or it raises
        choice = Choice(output_token_ids=tuple(expected.tokens[:1]))
        served.core.submit("test", submit("it", prompt, params, (choice,)))
        assert served.run()["it", 0] == expected.after(1)


def test_measuring_runs_small_steps_both_by_one_thread_and_by_the_team(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [Row(probe_sequence([1, 2, 3], 0, 16), 0, 3, samples=True)]
    ways: list[bool] = []
    with Served(model, threads=2) as served:
        run = served.runner._team.run

        def noted(*, alone: bool = False) -> None:
            ways.append(alone)
            run(alone=alone)

        monkeypatch.setattr(served.runner._team, "run", noted)
        alone, shared = (served.runner.logits(rows).copy() for _ in range(2))
    assert ways == [True, False]
    assert np.array_equal(alone.view(np.int32), shared.view(np.int32))
