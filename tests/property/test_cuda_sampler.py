"""The GPU's sampler, interpreted, gives the tokens of the rule in plain numpy, and its noise and weights to the bit."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spillway_engine.cuda.kernels.numbers import fine_weight, gumbel, natural_log, noise_words, weight
from spillway_engine.request import Request, Sequence
from spillway_engine.sampling import noise, reference, weights
from spillway_engine.sampling.sampler import CpuSampler
from spillway_wire.sampling import SamplingParams

pytestmark = pytest.mark.usefixtures("cuda_on_cpu")

EOS = (0,)


def spread(shape: str, size: int, seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    rng = np.random.default_rng(seed)
    rows: dict[str, Callable[[], Any]] = {
        "flat": lambda: rng.standard_normal(size),
        "peaked": lambda: rng.permutation(20.0 - 2.0 * np.log(np.arange(1, size + 1))),
        "ties": lambda: rng.integers(0, 3, size) * 0.5,
        "masked": lambda: np.where(rng.random(size) < 0.7, -np.inf, rng.standard_normal(size)),
        "zeros": lambda: rng.choice([0.0, -0.0, -1.0], size),
    }
    values: np.ndarray[Any, np.dtype[np.float32]] = np.asarray(rows[shape](), np.float32)
    return values


row = st.builds(
    spread, st.sampled_from(["flat", "peaked", "ties", "masked", "zeros"]), st.sampled_from([3, 40, 1024, 2100]),
    st.integers(0, 2**32),
)  # fmt: skip
parameters = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.0, 1.0, 0.7, 2.0, 0.05]),
    top_k=st.sampled_from([-1, 1, 2, 17, 3000]),
    top_p=st.sampled_from([1.0, 0.95, 0.5, 1e-9]),
    min_p=st.sampled_from([0.0, 0.05, 1.0]),
    repetition_penalty=st.sampled_from([1.0, 1.3, 0.5]),
    presence_penalty=st.sampled_from([0.0, 0.5, -1.0]),
    frequency_penalty=st.sampled_from([0.0, 0.3]),
    logit_bias=st.dictionaries(st.integers(0, 2), st.floats(-100, 100), max_size=2),
    min_tokens=st.integers(0, 3),
    stop_token_ids=st.sampled_from([(), (1, 2)]),
    seed=st.integers(0, 2**64 - 1),
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    logits=row, params=parameters, choice=st.integers(0, 2**32 - 1),
    output=st.lists(st.integers(0, 2), max_size=4).map(tuple),
)  # fmt: skip
def test_tokens_are_those_of_the_rule(
    cuda_on_cpu: ModuleType, logits: Any, params: SamplingParams, choice: int, output: tuple[int, ...]
) -> None:
    sampler = cuda_on_cpu.InterpretedSampler(2, logits.size, EOS)
    request = Request(key=("c", "r", 1), prompt_token_ids=[1, 2], params=params, arrival=0)
    joining = Sequence(request, choice, max_output_tokens=9, resumed_tokens=output)
    joining.slot = 1
    sampler.join(joining)
    sampler.prepare([1], [len(output)])
    sampler.sample_rows(logits[None], 0, 1)
    expected = reference.sample(logits, params, choice=choice, prompt=[1, 2], output=output, eos_token_ids=EOS)
    assert sampler.finish(1)[0] == [expected]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(logits=row, data=st.data())
def test_logprobs_are_the_cpus_to_the_bit(cuda_on_cpu: ModuleType, logits: Any, data: st.DataObject) -> None:
    chosen = data.draw(st.integers(0, logits.size - 1))
    num_top = data.draw(st.integers(0, 5))
    found = cuda_on_cpu.InterpretedSampler(1, logits.size).logprobs(logits, chosen, num_top)
    assert found == CpuSampler(1, logits.size).logprobs(logits, chosen, num_top)


@triton.jit  # type: ignore[untyped-decorator]
def show(words, noises, logs, coarse, fine, first, position, choice, seed, distances, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: N803, PLR0917
    at = tl.arange(0, SIZE)
    bits = noise_words(
        first,
        tl.load(position),
        tl.load(choice).to(tl.uint32, bitcast=True),
        tl.load(seed).to(tl.uint64, bitcast=True),
        SIZE,
    )
    tl.store(words + at, bits.to(tl.int32, bitcast=True))
    tl.store(noises + at, gumbel(bits))
    tl.store(logs + at, natural_log(tl.load(logs + at)))
    distance = tl.load(distances + at)
    tl.store(coarse + at, weight(distance))
    tl.store(fine + at, fine_weight(distance))


@pytest.mark.parametrize(("position", "choice", "seed"), [(0, 0, 0), (7, 2**31, 1), (2**31 - 1, 127, 2**64 - 1)])
def test_noise_logarithms_and_weights_are_the_cpus_to_the_bit(position: int, choice: int, seed: int) -> None:
    size, first = 64, 128
    rng = np.random.default_rng(position)
    values = np.exp(rng.uniform(-300, 300, size))
    distances = np.concatenate([rng.uniform(0, 40, size - 2), [0.0, np.inf]]).astype(np.float32)
    words, coarse = torch.empty(size, dtype=torch.int32), torch.empty(size, dtype=torch.int32)
    fine, noises = torch.empty(size, dtype=torch.int64), torch.empty(size, dtype=torch.float64)
    logs = torch.from_numpy(values.copy())
    show[(1,)](
        words, noises, logs, coarse, fine, first, torch.tensor([position], dtype=torch.int32),
        torch.from_numpy(np.array([choice], np.uint32).view(np.int32)),
        torch.from_numpy(np.array([seed], np.uint64).view(np.int64)), torch.from_numpy(distances), SIZE=size,
    )  # fmt: skip
    expected = reference.words(first + size, position, choice, seed)[first:]
    assert words.numpy().view(np.uint32).tolist() == expected
    assert noises.tolist() == [noise.gumbel(np.uint32(word)) for word in expected]
    assert logs.tolist() == [noise.natural_log(float(value)) for value in values]
    assert coarse.tolist() == reference.weights(distances).tolist()
    assert fine.tolist() == [int(weights.fine_weight(distance)) for distance in distances]
