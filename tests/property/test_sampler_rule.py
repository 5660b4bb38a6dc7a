"""Every row's token is the one that the rule in plain numpy gives, whatever the logits and parameters."""

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from spillway_engine.request import Request, Sequence
from spillway_engine.sampling import reference
from spillway_engine.sampling.prefix import keep_count, keep_mass
from spillway_engine.sampling.sampler import CpuSampler
from spillway_engine.sampling.scan import scan
from spillway_engine.sampling.weights import BLOCK, REACH, Candidates, fill, num_blocks, weight
from spillway_wire.sampling import SamplingParams

Floats = NDArray[np.float32]
EOS = (0,)


def spread(shape: str, size: int, seed: int) -> Floats:
    """Rows as models make them, and some that they should not make."""
    rng = np.random.default_rng(seed)
    rows: dict[str, Callable[[], NDArray[Any]]] = {
        "flat": lambda: rng.standard_normal(size),
        "peaked": lambda: rng.permutation(20.0 - 2.0 * np.log(np.arange(1, size + 1))),
        "ties": lambda: rng.integers(0, 3, size) * 0.5,
        "equal": lambda: np.zeros(size),
        "ascending": lambda: np.linspace(-20.0, 20.0, size),
        "far": lambda: rng.standard_normal(size) * 1e30,
        "masked": lambda: np.where(rng.random(size) < 0.7, -np.inf, rng.standard_normal(size)),
        "zeros": lambda: rng.choice([0.0, -0.0, -1.0], size),
    }
    return rows[shape]().astype(np.float32)


SHAPES = ("flat", "peaked", "ties", "equal", "ascending", "far", "masked", "zeros")
sizes = st.one_of(st.integers(1, 40), st.sampled_from((BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK, 12 * BLOCK + 77)))
any_row = st.one_of(
    st.builds(spread, st.sampled_from(SHAPES), sizes, st.integers(0, 2**32)),
    arrays(np.float32, st.integers(1, 40), elements=st.floats(width=32)),
)


@st.composite
def params_for(draw: st.DrawFn, size: int) -> SamplingParams:
    tokens = st.integers(0, size - 1)
    penalties = st.sampled_from((0.0, 0.0, 0.5, -1.0, 2.0))
    return SamplingParams(
        temperature=draw(st.sampled_from((0.0, 1.0, 0.7, 2.0, 0.05)) | st.floats(0.0, 2.0)),
        top_k=draw(st.sampled_from((-1, 1, 2)) | st.integers(1, 2 * size)),
        top_p=draw(st.sampled_from((1.0, 0.95, 0.5)) | st.floats(0.0, 1.0, exclude_min=True)),
        min_p=draw(st.sampled_from((0.0, 0.0, 0.05, 1.0)) | st.floats(0.0, 1.0)),
        repetition_penalty=draw(st.sampled_from((1.0, 1.0, 1.3, 0.5)) | st.floats(0.0, 10.0, exclude_min=True)),
        presence_penalty=draw(penalties),
        frequency_penalty=draw(penalties),
        logit_bias=draw(st.dictionaries(tokens, st.floats(-100, 100), max_size=4)),
        seed=draw(st.integers(0, 2**64 - 1)),
        min_tokens=draw(st.integers(0, 4)),
        stop_token_ids=tuple(draw(st.lists(tokens, max_size=3))),
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[Floats, SamplingParams, list[int], list[int], int]:
    row = draw(any_row)
    tokens = st.integers(0, row.size - 1)
    prompt, output = draw(st.lists(tokens, min_size=1, max_size=8)), draw(st.lists(tokens, max_size=8))
    return row, draw(params_for(row.size)), prompt, output, draw(st.integers(0, 5))


def sequence(params: SamplingParams, prompt: list[int], output: list[int], choice: int, slot: int) -> Sequence:
    request = Request(key=("client", "request", 1), prompt_token_ids=prompt, params=params, arrival=0)
    joining = Sequence(request, choice, max_output_tokens=1000, resumed_tokens=output)
    joining.slot = slot
    return joining


PLAIN = SamplingParams()


@settings(deadline=None, max_examples=400)
@given(cases())
@example((np.array([1.4e-45, 0.0], np.float32)[::-1].copy(), SamplingParams(temperature=2.0, top_k=1), [0], [], 0))
@example((np.array([-0.0, -0.0, -1.0, -1.0, 0.0, 0.0], np.float32), SamplingParams(top_p=0.5), [0], [], 0))
@example((np.full(3, 3.4e38, np.float32), SamplingParams(repetition_penalty=1e-300), [0, 1], [2], 0))
@example((np.array([-3.4e38, 3.4e38], np.float32), SamplingParams(temperature=1e-300), [0], [], 0))
def test_a_row_becomes_what_the_rule_says(case: tuple[Floats, SamplingParams, list[int], list[int], int]) -> None:
    row, params, prompt, output, choice = case
    sampler = CpuSampler(2, row.size, EOS)
    sampler.join(sequence(params, prompt, output, choice, slot=1))
    sampler.prepare([1], [len(output)])
    before = row.tobytes()
    sampler.sample_rows(row[np.newaxis], 0, 1)
    tokens, failed = sampler.finish(1)
    expected = reference.sample(row, params, choice=choice, prompt=prompt, output=output, eos_token_ids=EOS)
    assert tokens == [expected]
    assert failed == ([0] if expected is None else [])
    assert row.tobytes() == before


def prefix_of(row: Floats, params: SamplingParams) -> tuple[set[int], Floats]:
    """Return the tokens that the kernels keep, and their distances."""
    candidates = Candidates(
        np.empty(row.size, np.float32),
        np.empty(row.size, np.int32),
        np.empty(num_blocks(row.size), np.float32),
        np.empty(row.size, np.int32),
    )
    top = scan(row, candidates.nearest)
    fill(candidates, row, row[top], np.float32(1.0))
    limit, last = keep_count(candidates, REACH, params.top_k)
    limit, last = keep_mass(candidates, limit, last, params.top_p)
    distances = (row.max() - row).astype(np.float32)
    return {i for i in range(row.size) if distances[i] < limit or (distances[i] == limit and i <= last)}, distances


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(("flat", "peaked", "ties", "equal", "ascending")),
    sizes | st.just(80 * BLOCK),
    st.integers(0, 2**32),
    st.data(),
)
def test_top_k_and_top_p_keep_exactly_the_tokens_that_sorting_would(
    shape: str, size: int, seed: int, data: st.DataObject
) -> None:
    row = spread(shape, size, seed)
    params = SamplingParams(
        top_k=data.draw(st.integers(1, 2 * size)), top_p=data.draw(st.floats(0.0, 0.9999, exclude_min=True))
    )
    order, distances = reference.kept(row, params)
    tokens, kernel_distances = prefix_of(row, params)
    assert tokens == set(order)
    assert np.array_equal(distances, kernel_distances)


def test_weights_equal_the_reference_and_are_close_to_the_exponential() -> None:
    distances = np.concatenate([np.linspace(0, 30, 5001), [np.inf, 1e-38, 3e38]]).astype(np.float32)
    ours = np.array([weight(distance) for distance in distances])
    with np.errstate(over="ignore"):
        assert np.array_equal(ours, reference.weights(distances))
    true = 2.0**30 * np.exp(-distances.astype(np.float64))
    assert np.all(np.abs(ours - true) <= 2.0 + true * 1e-5)  # what `draw` allows for


@settings(deadline=None, max_examples=200)
@given(any_row, st.integers(0, 20), st.data())
def test_logprobs_are_the_log_softmax_of_the_raw_logits(row: Floats, num_top: int, data: st.DataObject) -> None:
    chosen = data.draw(st.integers(0, row.size - 1))
    answer = CpuSampler(1, row.size).logprobs(row, chosen, num_top)
    if reference.unsound(row):
        assert answer is None
        return
    assert answer is not None
    values, order = reference.logprobs(row)
    listed: list[Any] = [token for token in order if row[token] > -np.inf][:num_top]
    assert [entry.token_id for entry in answer.top] == listed
    assert [entry.rank for entry in answer.top] == list(range(1, len(listed) + 1))
    assert (answer.chosen.token_id, answer.chosen.rank) == (chosen, order.index(chosen) + 1)
    for entry in (answer.chosen, *answer.top):
        assert np.isclose(entry.logprob, values[entry.token_id], rtol=1e-6, atol=2e-6)
