"""The shipped tokenizer: every number one token, every text back unchanged, the template and the trainer agree."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from spillway_engine.demo import MODEL_PATH
from spillway_engine.demo.conversation import Conversation
from spillway_engine.demo.language import conversation
from spillway_engine.demo.numbers import COUNT_LIMIT, counted
from spillway_engine.demo.tokenizer import (
    ASSISTANT,
    BEGIN,
    CHAT_TEMPLATE,
    END,
    SPECIALS,
    number_tokens,
    render,
    train_tokenizer,
)

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"])).filter(lambda text: not any(s in text for s in SPECIALS))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(MODEL_PATH / "tokenizer.json"))


def through(tokenizer: Tokenizer, text: str) -> str:
    return str(tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False))


@given(text=ANY_TEXT)
@settings(max_examples=300, deadline=None)
def test_any_text_comes_back_unchanged(tokenizer: Tokenizer, text: str) -> None:
    assert through(tokenizer, text) == text


@given(
    parts=st.lists(
        st.sampled_from(["37", " 38", "007", "1000", " ", "\n", "🙂", "你好", "é", "Spell", " +", "\t", "'s"])
    )
)
@settings(deadline=None)
def test_awkward_mixtures_come_back_unchanged(tokenizer: Tokenizer, parts: list[str]) -> None:
    assert through(tokenizer, "".join(parts)) == "".join(parts)


@given(text=ANY_TEXT, cut=st.integers(0, 50))
@settings(deadline=None)
def test_tokens_mean_the_same_bytes_wherever_a_stream_is_cut(tokenizer: Tokenizer, text: str, cut: int) -> None:
    ids = tokenizer.encode(text).ids
    head, tail = tokenizer.decode(ids[:cut]), tokenizer.decode(ids[cut:])
    if "\ufffd" not in head + tail:  # a cut inside a character is the reader's to mend
        assert head + tail == text


@pytest.mark.parametrize("text", ["{}", " {}", "({})", "from {} to", "{}+1", "{}?", "a-{}.", "🙂{}"])
def test_every_number_is_one_token_wherever_it_stands(tokenizer: Tokenizer, text: str) -> None:
    known = {token: number for token, number, _ in number_tokens(tokenizer)}
    for number in range(COUNT_LIMIT + 1):
        found = [known[token] for token in tokenizer.encode(text.format(number)).ids if token in known]
        assert number in found
        assert len(found) == text.count("1") + 1


@pytest.mark.parametrize("text", ["1000", "007", "00", "12345", "0123"])
def test_other_numbers_are_written_digit_by_digit(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.encode(text).tokens == list(text)


def test_counting_takes_one_token_a_number(tokenizer: Tokenizer) -> None:
    encoding = tokenizer.encode(counted(0, COUNT_LIMIT))
    assert len(encoding.ids) == COUNT_LIMIT + 1
    assert tokenizer.decode(encoding.ids) == counted(0, COUNT_LIMIT)


def test_special_tokens_are_one_token_and_no_post_processor_adds_any(tokenizer: Tokenizer) -> None:
    for special in SPECIALS:
        assert tokenizer.encode(special).tokens == [special]
    assert tokenizer.encode("Hello").ids == tokenizer.encode("Hello", add_special_tokens=False).ids


@given(seed=st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_training_text_is_what_the_chat_template_writes(seed: int) -> None:
    config = json.loads((MODEL_PATH / "tokenizer_config.json").read_text())
    template = ImmutableSandboxedEnvironment().from_string(config["chat_template"])
    talk = conversation(random.Random(seed), 4, longest=10)
    messages = [] if talk.system is None else [{"role": "system", "content": talk.system}]
    for turn in talk.turns:
        messages += [{"role": "user", "content": turn.user}, {"role": "assistant", "content": turn.assistant}]
    names = {"bos_token": config["bos_token"], "eos_token": config["eos_token"]}
    assert template.render(messages=messages, add_generation_prompt=False, **names) == "".join(
        text for text, _ in render(talk)
    )
    prompt = template.render(messages=messages[:-1], add_generation_prompt=True, **names)
    assert prompt == "".join(text for text, _ in render(talk)[:-1])


def test_the_template_takes_content_in_parts() -> None:
    template = ImmutableSandboxedEnvironment().from_string(CHAT_TEMPLATE)
    parts = [{"type": "text", "text": "Hello, "}, {"type": "text", "text": "you"}]
    written = template.render(
        messages=[{"role": "user", "content": parts}], add_generation_prompt=True, bos_token=BEGIN, eos_token=END
    )
    assert written == f"{BEGIN}<|user|>Hello, you{END}{ASSISTANT}"


def test_only_the_assistant_is_learned_from() -> None:
    talk = conversation(random.Random(1), 3)
    learned = [text for text, is_answer in render(Conversation("Be brief.", talk.turns)) if is_answer]
    assert learned == [turn.assistant + END for turn in talk.turns]


def test_training_a_tokenizer_again_gives_the_same_one() -> None:
    texts = ["Count from 1 to 10", "Hello, how are you?", "Spell river", "r i v e r"] * 5
    assert train_tokenizer(texts).to_str() == train_tokenizer(texts).to_str()
