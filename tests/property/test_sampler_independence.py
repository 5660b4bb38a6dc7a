"""What a row becomes depends on its own sequence alone, and sampled tokens follow the distribution asked for."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from spillway_engine.request import Request, Sequence
from spillway_engine.sampling import reference
from spillway_engine.sampling.sampler import CpuSampler
from spillway_wire.sampling import SamplingParams

Floats = NDArray[np.float32]
VOCAB = 300
EOS = (2, 5)

params_st = st.builds(
    SamplingParams,
    temperature=st.sampled_from((0.0, 0.8, 1.3)),
    top_k=st.sampled_from((-1, 5, 50)),
    top_p=st.sampled_from((1.0, 0.9)),
    repetition_penalty=st.sampled_from((1.0, 1.2)),
    frequency_penalty=st.sampled_from((0.0, 0.7)),
    presence_penalty=st.sampled_from((0.0, -0.3)),
    min_tokens=st.integers(0, 5),
    logit_bias=st.dictionaries(st.integers(0, VOCAB - 1), st.floats(-5, 5), max_size=3),
    seed=st.integers(0, 2**64 - 1),
)


def sequence(params: SamplingParams, *, slot: int, choice: int = 0, output: tuple[int, ...] = ()) -> Sequence:
    request = Request(key=("client", "request", 1), prompt_token_ids=[7, 8, 7], params=params, arrival=0)
    joining = Sequence(request, choice, max_output_tokens=1000, resumed_tokens=output)
    joining.slot = slot
    return joining


def logits_at(step: int, who: int) -> Floats:
    """What a model would give sequence `who` at a step."""
    return np.random.default_rng((step, who)).standard_normal(VOCAB).astype(np.float32)


def sample_alone(params: SamplingParams, logits: Floats, choice: int, position: int) -> int | None:
    sampler = CpuSampler(1, VOCAB, EOS)
    sampler.join(sequence(params, slot=0, choice=choice))
    sampler.prepare([0], [position])
    sampler.sample_rows(logits[np.newaxis], 0, 1)
    return sampler.finish(1)[0][0]


@settings(deadline=None, max_examples=60)
@given(st.lists(params_st, min_size=1, max_size=8), st.randoms(use_true_random=False), st.data())
def test_neighbours_order_padding_and_threads_change_nothing(
    batch: list[SamplingParams], random: Random, data: st.DataObject
) -> None:
    size = len(batch)
    broken = data.draw(st.integers(0, size))  # one row may be unsound, or none
    rows = [logits_at(0, who) for who in range(size)]
    if broken < size:
        rows[broken][VOCAB // 2] = np.nan
    alone = [sample_alone(params, rows[who], who, position=3) for who, params in enumerate(batch)]

    sampler = CpuSampler(size + 2, VOCAB, EOS, num_threads=2)
    slots = random.sample(range(size + 2), size)
    for who, params in enumerate(batch):
        sampler.join(sequence(params, slot=slots[who], choice=who))
    order = random.sample(range(size), size)
    padded = np.full((size, VOCAB + 20), np.inf, np.float32)
    padded[:, :VOCAB] = [rows[who] for who in order]
    sampler.prepare([slots[who] for who in order], [3] * size)
    split = data.draw(st.integers(0, size))
    with ThreadPoolExecutor(2) as pool:
        parts = [
            pool.submit(sampler.sample_rows, padded, 0, split, 0),
            pool.submit(sampler.sample_rows, padded, split, size, 1),
        ]
        for part in parts:
            part.result()
    tokens, failed = sampler.finish(size)
    assert tokens == [alone[who] for who in order]
    assert failed == [row for row, who in enumerate(order) if who == broken]


def generate(sampler: CpuSampler, slot: int, start: int, stop: int) -> list[int]:
    output = []
    for position in range(start, stop):
        sampler.prepare([slot], [position])
        sampler.sample_rows(logits_at(position, 0)[np.newaxis], 0, 1)
        (token,), _ = sampler.finish(1)
        assert token is not None
        output.append(token)
    return output


@settings(deadline=None, max_examples=60)
@given(params_st, params_st, st.integers(0, 10))
def test_joining_with_tokens_equals_having_sampled_them(
    params: SamplingParams, former: SamplingParams, interruption: int
) -> None:
    sampler = CpuSampler(2, VOCAB, EOS)
    sampler.join(sequence(params, slot=0, choice=1))
    undisturbed = generate(sampler, 0, 0, 12)

    other = CpuSampler(2, VOCAB, EOS)
    other.join(sequence(former, slot=1, output=(1, 1, 9)))
    generate(other, 1, 3, 5)
    other.join(sequence(params, slot=1, choice=1, output=tuple(undisturbed[:interruption])))
    assert generate(other, 1, interruption, 12) == undisturbed[interruption:]


def softmax(row: Floats, temperature: float) -> NDArray[np.float64]:
    weights = np.exp((row.astype(np.float64) - row.max()) / temperature)
    return np.asarray(weights / weights.sum())


@pytest.mark.parametrize(
    ("temperature", "row"),
    [
        (1.0, np.random.default_rng(1).standard_normal(40)),
        (0.5, np.random.default_rng(2).standard_normal(300)),
        (2.0, 6.0 - 1.5 * np.log(np.arange(1.0, 201.0))),
        (1.0, np.zeros(130)),
    ],
)
@pytest.mark.parametrize("vary", ["position", "seed", "choice"])
def test_frequencies_follow_the_softmax(temperature: float, row: NDArray[np.float64], vary: str) -> None:
    num_rows, num_steps = 256, 80
    logits = np.tile(row.astype(np.float32), (num_rows, 1))
    sampler = CpuSampler(num_rows, row.size)
    seen = np.zeros(row.size)
    of: dict[str, Callable[[int, int], tuple[int, int, int]]] = {  # seed, choice, position of a row at a step
        "position": lambda slot, step: (0, 0, slot * num_steps + step),
        "seed": lambda slot, step: (slot * num_steps + step, 0, 0),
        "choice": lambda slot, step: (0, slot * num_steps + step, 0),
    }
    for step in range(num_steps):
        for slot in range(num_rows):
            seed, choice, _ = of[vary](slot, step)
            if step == 0 or vary != "position":
                sampler.join(sequence(SamplingParams(temperature=temperature, seed=seed), slot=slot, choice=choice))
        sampler.prepare(range(num_rows), [of[vary](slot, step)[2] for slot in range(num_rows)])
        sampler.sample_rows(logits, 0, num_rows)
        np.add.at(seen, np.array(sampler.finish(num_rows)[0]), 1)

    expected = softmax(row.astype(np.float32), temperature) * num_rows * num_steps
    rare = expected < 5.0  # chi-square wants five in every cell: the rare ones share one
    cells = np.append(expected[~rare], expected[rare].sum() if rare.any() else [])
    counts = np.append(seen[~rare], seen[rare].sum() if rare.any() else [])
    degrees = cells.size - 1
    statistic = float(((counts - cells) ** 2 / cells).sum())
    assert statistic < degrees + 5.0 * np.sqrt(2.0 * degrees)
    assert statistic > degrees - 5.0 * np.sqrt(2.0 * degrees)  # nor more regular than chance


def test_the_reference_agrees_at_the_size_of_a_real_vocabulary() -> None:
    vocab = 49_152
    rng = np.random.default_rng(3)
    rows = np.stack([rng.standard_normal(vocab), rng.permutation(20.0 - 1.5 * np.log(np.arange(1, vocab + 1)))])
    rows = rows.astype(np.float32)
    sampler = CpuSampler(2, vocab, EOS)
    for params in (SamplingParams(seed=4), SamplingParams(temperature=0.8, top_k=20_000, top_p=0.95, seed=5)):
        for slot in range(2):
            sampler.join(sequence(params, slot=slot, choice=slot))
        sampler.prepare([0, 1], [0, 0])
        sampler.sample_rows(rows, 0, 2)
        expected = [reference.sample(rows[slot], params, choice=slot, prompt=[7, 8, 7]) for slot in range(2)]
        assert sampler.finish(2)[0] == expected
