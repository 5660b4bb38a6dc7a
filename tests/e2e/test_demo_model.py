"""The shipped demo model is as exact as its card says, on held-out questions, by our own engine."""

from collections.abc import Iterator

import pytest

from spillway_engine import Engine, SamplingParams
from spillway_engine.demo.conversation import Conversation
from spillway_engine.demo.examination import STATED_ACCURACY, Subject, examination

STATED = [subject for subject in examination() if subject.stated]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine("demo", kv_cache_bytes=256 << 20) as loaded:
        yield loaded


def messages(conversation: Conversation) -> list[dict[str, str]]:
    """Everything up to the last question."""
    said = [] if conversation.system is None else [{"role": "system", "content": conversation.system}]
    for turn in conversation.turns:
        said += [{"role": "user", "content": turn.user}, {"role": "assistant", "content": turn.assistant}]
    return said[:-1]


@pytest.mark.parametrize("subject", STATED, ids=lambda subject: subject.name)
def test_it_is_as_exact_as_stated(engine: Engine, subject: Subject) -> None:
    prompts = [messages(question) for question in subject.questions]
    outputs = engine.generate(prompts, SamplingParams(temperature=0.0))
    wrong = [
        (question.turns[-1].user, output.text)
        for question, output in zip(subject.questions, outputs, strict=True)
        if output.text != question.turns[-1].assistant
    ]
    assert len(wrong) <= (1 - STATED_ACCURACY) * len(outputs), wrong[:5]


def test_it_talks(engine: Engine) -> None:
    outputs = engine.generate(
        ["Hello, how are you?", "Who are you?", "Thank you!"],
        SamplingParams(temperature=0.7, top_p=0.95, max_tokens=50),
    )
    for output in outputs:
        assert 0 < len(output.text) < 200
        assert output.answers[0].finish_reason == "stop"
