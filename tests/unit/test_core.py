"""The core: what it takes, what it refuses, and how everything it takes ends."""

from types import ModuleType
from typing import Any

import pytest

from spillway_engine.errors import InvalidRequestError, RequestTooLargeError
from spillway_wire.messages import Choice
from spillway_wire.outcomes import FinishReason, Outcome
from spillway_wire.sampling import SamplingParams

EOS = 0
STOP_TOKEN = 7


# ---- how a request ends ----


@pytest.mark.parametrize(
    ("params", "script", "tokens", "reason"),
    [
        (SamplingParams(max_tokens=3), {}, [1, 2, 3], FinishReason.LENGTH),
        (SamplingParams(max_tokens=1), {}, [1], FinishReason.LENGTH),
        (SamplingParams(max_tokens=9), {1: EOS}, [1, EOS], FinishReason.STOP),
        (SamplingParams(max_tokens=2), {1: EOS}, [1, EOS], FinishReason.STOP),
        (SamplingParams(max_tokens=3, ignore_eos=True), {1: EOS}, [1, EOS, 3], FinishReason.LENGTH),
        (SamplingParams(max_tokens=9, stop_token_ids=(3, 50)), {}, [1, 2, 3], FinishReason.STOP),
        (SamplingParams(max_tokens=9, stop_token_ids=(EOS,), ignore_eos=True), {0: EOS}, [EOS], FinishReason.STOP),
        (SamplingParams(max_tokens=9, stop_token_ids=(2, 4), min_tokens=3), {}, [1, 2, 3, 4], FinishReason.STOP),
    ],
)
def test_an_output_ends(
    fake_core: ModuleType, params: SamplingParams, script: dict[int, int], tokens: list[int], reason: FinishReason
) -> None:
    desk = fake_core.Desk()
    desk.runner.script = script
    desk.submit(params=params)
    deltas = desk.run()
    assert fake_core.tokens_of(deltas) == tokens
    assert [delta.position for delta in deltas] == list(range(len(tokens)))
    assert [delta.finish is not None for delta in deltas] == [False] * (len(tokens) - 1) + [True]
    finish = deltas[-1].finish
    assert finish is not None
    assert (finish.outcome, finish.reason, finish.usage.output_tokens) == (Outcome.COMPLETED, reason, len(tokens))
    assert desk.core.snapshot().finished == {"completed": 1}


def test_without_max_tokens_the_context_is_the_limit(fake_core: ModuleType) -> None:
    desk = fake_core.Desk(max_model_len=10)
    desk.submit(params=SamplingParams())
    assert fake_core.tokens_of(desk.run()) == [1, 2, 3, 4, 5, 6]


def test_max_tokens_is_bounded_by_the_context(fake_core: ModuleType) -> None:
    desk = fake_core.Desk(max_model_len=10)
    desk.submit(params=SamplingParams(max_tokens=50))
    assert len(fake_core.tokens_of(desk.run())) == 6


def test_without_max_tokens_a_small_cache_is_the_limit_and_it_is_used_to_the_last_place(fake_core: ModuleType) -> None:
    desk = fake_core.Desk(num_blocks=2)
    desk.submit(params=SamplingParams())
    assert len(fake_core.tokens_of(desk.run())) == 5  # 4 + 4 in the cache; the fifth token's keys are never needed


def test_a_request_is_finished_when_all_its_choices_are(fake_core: ModuleType) -> None:
    desk = fake_core.Desk()
    desk.submit(choices=(Choice(index=0), Choice(index=3)))
    deltas = desk.run()
    assert fake_core.tokens_of(deltas, 0) == fake_core.tokens_of(deltas, 3) == [1, 2, 3]
    assert [delta.choice for delta in deltas if delta.finish is not None] == [0, 3]
    assert desk.core.snapshot().finished == {"completed": 1}


# ---- what is refused ----


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"prompt_token_ids": []}, "send at least one token"),
        ({"prompt_token_ids": [1, 100]}, "its tokens are 0 to 99"),
        ({"prompt_token_ids": [-1]}, "its tokens are 0 to 99"),
        ({"choices": ()}, "ask for at least one"),
        ({"choices": (Choice(index=1), Choice(index=1))}, "distinct"),
        ({"choices": (Choice(index=-1),)}, r"\[-1\]; they must be distinct and from 0 to 4294967295"),
        ({"choices": (Choice(index=2**32),)}, "distinct and from 0 to 4294967295"),
        ({"choices": tuple(Choice(index=index) for index in range(129))}, "choices are 129; ask for at most 128"),
        ({"choices": (Choice(output_token_ids=(100,)),)}, "its tokens are 0 to 99"),
        ({"choices": (Choice(output_token_ids=(1, 2, 3, 4)),)}, "4 output tokens; it may have 3"),
        ({"params": SamplingParams(temperature=-1.0)}, "temperature is -1.0; it must be from 0 to 2"),
        ({"params": SamplingParams(top_p=0.0, max_tokens=0)}, "top_p .*; max_tokens "),
        ({"timeout_s": -1.0}, "timeout_s is -1.0"),
        ({"timeout_s": float("nan")}, "timeout_s is nan"),
    ],
)
def test_what_can_never_succeed_is_refused_and_says_why(
    fake_core: ModuleType, fields: dict[str, Any], says: str
) -> None:
    desk = fake_core.Desk()
    with pytest.raises(InvalidRequestError, match=says):
        desk.submit(**fields)
    assert not desk.core.has_work
    assert desk.core.snapshot().refused == {"invalid": 1}
    desk.core.check_integrity()


def test_the_most_choices_and_the_highest_index_are_served(fake_core: ModuleType) -> None:
    desk = fake_core.Desk()
    indices = [*range(127), 2**32 - 1]
    desk.submit(choices=tuple(Choice(index=index) for index in indices), params=SamplingParams(max_tokens=1))
    assert sorted(delta.choice for delta in desk.run()) == indices


@pytest.mark.parametrize(
    ("changes", "prompt", "max_tokens", "says"),
    [
        ({}, 32, None, "shorten it to 31 tokens"),
        ({"num_blocks": 2}, 9, None, "key-value cache holds 8"),
        ({"num_blocks": 2}, 4, 6, "lower max_tokens to 5 or less"),
    ],
)
def test_what_can_never_fit_is_refused_at_once(
    fake_core: ModuleType, changes: dict[str, int], prompt: int, max_tokens: int | None, says: str
) -> None:
    desk = fake_core.Desk(**changes)
    with pytest.raises(RequestTooLargeError, match=says):
        desk.submit(prompt=prompt, params=SamplingParams(max_tokens=max_tokens))
    assert desk.core.snapshot().refused == {"too_large": 1}


@pytest.mark.parametrize(("prompt", "max_tokens"), [(31, None), (31, 1)])
def test_what_just_fits_is_served(fake_core: ModuleType, prompt: int, max_tokens: int | None) -> None:
    desk = fake_core.Desk()
    desk.submit(prompt=prompt, params=SamplingParams(max_tokens=max_tokens))
    assert fake_core.tokens_of(desk.run()) == [1]


def test_a_request_that_is_being_served_cannot_be_submitted_again_but_its_next_attempt_can(
    fake_core: ModuleType,
) -> None:
    desk = fake_core.Desk()
    desk.submit()
    with pytest.raises(InvalidRequestError, match="count the attempt up"):
        desk.submit()
    desk.submit(attempt=2)
    desk.submit(client="another")
    desk.run()
    desk.submit()
    desk.run()
    assert desk.core.snapshot().finished == {"completed": 4}


# ---- continuations ----


def test_a_continuation_goes_on_where_the_earlier_attempt_stopped(fake_core: ModuleType) -> None:
    desk = fake_core.Desk()
    desk.submit(choices=(Choice(output_token_ids=(1, 2)),), attempt=2)
    deltas = desk.run()
    assert [(delta.position, delta.token_ids, delta.attempt) for delta in deltas] == [(2, (3,), 2)]
    assert deltas[0].finish is not None
    assert deltas[0].finish.usage.output_tokens == 3


@pytest.mark.parametrize(
    ("output", "reason"),
    [((1, 2, 3), FinishReason.LENGTH), ((1, EOS), FinishReason.STOP), ((STOP_TOKEN,), FinishReason.STOP)],
)
def test_a_choice_that_was_complete_ends_at_once_without_a_token(
    fake_core: ModuleType, output: tuple[int, ...], reason: FinishReason
) -> None:
    desk = fake_core.Desk()
    desk.submit(
        choices=(Choice(index=0, output_token_ids=output), Choice(index=1, output_token_ids=(1,))),
        params=SamplingParams(max_tokens=3, stop_token_ids=(STOP_TOKEN,)),
    )
    deltas = desk.run()
    first = next(delta for delta in deltas if delta.choice == 0)
    assert first.finish is not None
    assert (first.finish.outcome, first.finish.reason) == (Outcome.COMPLETED, reason)
    assert (first.position, first.token_ids) == (len(output), ())
    assert fake_core.tokens_of(deltas, 1) == [2, 3]


def test_a_later_attempt_goes_before_fresh_work_also_if_the_earlier_got_no_token(fake_core: ModuleType) -> None:
    desk = fake_core.Desk(max_num_seqs=1)
    desk.submit("fresh")
    desk.submit("aboard a crash", attempt=2)
    ends = [delta.request_id for delta in desk.run() if delta.finish is not None]
    assert ends == ["aboard a crash", "fresh"]


def test_a_request_whose_choices_were_all_complete_is_reported_without_a_step_of_the_runner(
    fake_core: ModuleType,
) -> None:
    desk = fake_core.Desk()
    desk.submit(choices=(Choice(output_token_ids=(1, 2, 3)),))
    assert desk.core.has_work
    (delta,) = desk.run()
    assert delta.finish is not None
    assert desk.runner.plans == []
