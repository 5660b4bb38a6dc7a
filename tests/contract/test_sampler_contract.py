"""What a runner may rely on, whichever sampler it holds: the CPU's, or the GPU's through Triton's interpreter."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from spillway_engine.request import Request, Sequence
from spillway_engine.sampling.sampler import CpuSampler
from spillway_wire.sampling import SamplingParams

VOCAB = 16
EOS = 3
GREEDY = SamplingParams(temperature=0.0)


@pytest.fixture(params=["cpu", "cuda"])
def kind(request: pytest.FixtureRequest, cuda_on_cpu: ModuleType) -> Any:
    return CpuSampler if request.param == "cpu" else cuda_on_cpu.InterpretedSampler


@pytest.fixture
def sampler(kind: Any) -> Any:
    return kind(4, VOCAB, (EOS,))


def sequence(params: SamplingParams, *, slot: int | None = 0, output: tuple[int, ...] = ()) -> Sequence:
    request = Request(key=("client", "request", 1), prompt_token_ids=[1, 2], params=params, arrival=0)
    joining = Sequence(request, 0, max_output_tokens=100, resumed_tokens=output)
    joining.slot = slot
    return joining


def row(**logits: float) -> NDArray[np.float32]:
    """A row of zeros but for tokens t0, t1, …"""
    values = np.zeros((1, VOCAB), np.float32)
    for token, logit in logits.items():
        values[0, int(token[1:])] = logit
    return values


def sample(sampler: Any, logits: NDArray[np.float32], position: int = 0, slot: int = 0) -> int | None:
    sampler.prepare([slot], [position])
    sampler.sample_rows(logits, 0, 1)
    token: int | None = sampler.finish(1)[0][0]
    return token


def test_greedy_takes_the_largest_logit_and_the_lowest_id_among_equals(sampler: Any) -> None:
    sampler.join(sequence(GREEDY))
    assert sample(sampler, row(t9=1.0)) == 9
    assert sample(sampler, row(t9=1.0, t4=1.0)) == 4
    assert sample(sampler, row(t0=-0.0)) == 0
    assert sample(sampler, np.full((1, VOCAB), -1e30, np.float32)) == 0


@pytest.mark.parametrize("params", [GREEDY, SamplingParams(), SamplingParams(repetition_penalty=2.0)])
@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf])
@pytest.mark.parametrize("token", [0, 7, VOCAB - 1])
def test_a_row_with_nan_or_inf_fails(sampler: Any, params: SamplingParams, bad: float, token: int) -> None:
    sampler.join(sequence(params))
    assert sample(sampler, row(**{f"t{token}": bad})) is None
    assert sample(sampler, row(t5=50.0)) == 5  # and leaves nothing behind


def test_negative_nan_is_told_from_minus_infinity(sampler: Any) -> None:
    sampler.join(sequence(GREEDY))
    bits = np.zeros((1, VOCAB), np.uint32)
    bits[0, 6] = 0xFFC00001
    assert sample(sampler, bits.view(np.float32)) is None
    assert sample(sampler, row(t6=-np.inf, t2=1.0)) == 2
    assert sample(sampler, np.full((1, VOCAB), -np.inf, np.float32)) is None


def test_a_failed_row_is_not_hidden_by_bias_or_suppression(sampler: Any) -> None:
    sampler.join(sequence(SamplingParams(temperature=0.0, min_tokens=5)))
    assert sample(sampler, row(**{f"t{EOS}": np.nan})) is None


def test_min_tokens_suppresses_end_and_stop_tokens_until_that_many_are_out(sampler: Any) -> None:
    sampler.join(sequence(SamplingParams(temperature=0.0, min_tokens=2, stop_token_ids=(8,), ignore_eos=True)))
    likely = row(**{f"t{EOS}": 3.0}, t8=2.0, t5=1.0)
    assert [sample(sampler, likely, position) for position in range(3)] == [5, 5, EOS]


def test_a_request_that_suppresses_everything_fails(sampler: Any) -> None:
    stops = tuple(range(VOCAB))
    sampler.join(sequence(SamplingParams(min_tokens=1, stop_token_ids=stops)))
    assert sample(sampler, row(t1=1.0)) is None
    assert sample(sampler, row(t1=40.0), position=1) == 1


def test_bias_is_added_before_penalties(sampler: Any) -> None:
    # 1 is in the prompt: (2 + 2) / 2 = 2 loses to 2.5, where 2 / 2 + 2 = 3 would win
    sampler.join(sequence(SamplingParams(temperature=0.0, logit_bias={1: 2.0}, repetition_penalty=2.0)))
    assert sample(sampler, row(t1=2.0, t6=2.5)) == 6


def test_frequency_and_presence_look_at_output_only_and_repetition_at_the_prompt_too(sampler: Any) -> None:
    sampler.join(sequence(SamplingParams(temperature=0.0, presence_penalty=2.0), slot=0))
    sampler.join(sequence(SamplingParams(temperature=0.0, repetition_penalty=2.0), slot=1))
    sampler.join(sequence(SamplingParams(temperature=0.0, frequency_penalty=0.4), slot=2))
    logits = row(t1=3.0, t9=2.0)
    assert [sample(sampler, logits, position, slot=0) for position in range(2)] == [1, 9]
    assert sample(sampler, logits, slot=1) == 9
    assert [sample(sampler, logits, position, slot=2) for position in range(4)] == [1, 1, 1, 9]


def test_rows_that_need_no_more_than_a_maximum_are_told_apart(sampler: Any) -> None:
    sampler.join(sequence(GREEDY, slot=0))
    sampler.join(sequence(SamplingParams(temperature=0.0, min_tokens=1), slot=1))
    assert not sampler.prepare([0], [0])
    assert sampler.prepare([1], [0])
    assert sampler.prepare([0, 1], [0, 0])
    sampler.join(sequence(SamplingParams(temperature=0.0, top_k=3, top_p=0.5, seed=9), slot=1))
    assert not sampler.prepare([0, 1], [0, 0])


def test_one_failed_row_leaves_the_others_and_their_counts_alone(sampler: Any) -> None:
    for slot in range(3):
        sampler.join(sequence(SamplingParams(temperature=0.0, presence_penalty=1.0), slot=slot))
    logits = np.concatenate([row(t5=0.5), row(t5=np.nan), row(t6=0.5)])
    sampler.prepare([2, 0, 1], [0, 0, 0])
    sampler.sample_rows(logits, 0, 3)
    assert sampler.finish(3) == ([5, None, 6], [1])
    assert sample(sampler, row(t15=0.1, t5=0.2), position=1, slot=2) == 15  # 5 was counted there
    assert sample(sampler, row(t15=0.1, t5=0.2), position=0, slot=0) == 5  # and not here


def test_counts_are_kept_only_for_those_who_need_them_and_given_back(sampler: Any) -> None:
    penalised = SamplingParams(presence_penalty=1.0)
    for _ in range(10):
        for slot in range(4):
            sampler.join(sequence(penalised, slot=slot))
        assert sampler.num_counting == 4
        sampler.join(sequence(SamplingParams(), slot=1))
        assert sampler.num_counting == 3


def test_a_sequence_without_a_slot_cannot_join(sampler: Any) -> None:
    with pytest.raises(ValueError, match="has no slot"):
        sampler.join(sequence(GREEDY, slot=None))


def test_largest_allowed_parameters_fit(kind: Any) -> None:
    wide = kind(1, 4096, tuple(range(8)))
    stops, bias = tuple(range(100, 164)), dict.fromkeys(range(1024), -100.0)
    wide.join(
        sequence(SamplingParams(stop_token_ids=stops, logit_bias=bias, min_tokens=2**40, top_k=2**40, seed=2**64 - 1))
    )
    token = sample(wide, np.zeros((1, 4096), np.float32))
    assert token is not None
    assert token >= 1024


def test_logprobs_rank_ties_by_id_and_leave_out_the_impossible(sampler: Any) -> None:
    logits = np.full(VOCAB, -np.inf, np.float32)
    logits[[4, 9, 11]] = (1.0, 2.0, 1.0)
    answer = sampler.logprobs(logits, 11, 5)
    assert answer is not None
    assert [(entry.token_id, entry.rank) for entry in answer.top] == [(9, 1), (4, 2), (11, 3)]
    assert (answer.chosen.token_id, answer.chosen.rank) == (11, 3)
    assert answer.chosen == answer.top[2]
    assert sum(np.exp(entry.logprob) for entry in answer.top) == pytest.approx(1.0, abs=1e-6)
    assert sampler.logprobs(np.full(VOCAB, np.nan, np.float32), 1, 1) is None
