"""The demo model's text: always the same, always right, and never what the evaluation asks."""

from __future__ import annotations

import random
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spillway_engine.demo import numbers
from spillway_engine.demo.conversation import Topic
from spillway_engine.demo.held_out import is_range_held_out, is_sum_held_out, is_word_held_out
from spillway_engine.demo.language import conversation, turn
from spillway_engine.demo.smalltalk import equally_good

SEEDS = st.integers(0, 2**32)
NUMBERS = st.integers(0, numbers.COUNT_LIMIT)


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_the_same_seed_writes_the_same_conversation(seed: int) -> None:
    assert conversation(random.Random(seed), 20) == conversation(random.Random(seed), 20)


def test_different_seeds_write_different_conversations() -> None:
    assert len({conversation(random.Random(seed), 20) for seed in range(20)}) == 20


@given(SEEDS)
@settings(max_examples=100, deadline=None)
def test_training_never_sees_a_held_out_range(seed: int) -> None:
    spoken = turn(random.Random(seed), Topic.COUNT, 1000)
    if spoken.assistant != numbers.COUNT_BEYOND:
        counted = spoken.assistant.split(" ")
        assert not is_range_held_out(int(counted[0]), int(counted[-1]))


@given(SEEDS)
@settings(max_examples=100, deadline=None)
def test_training_never_sees_a_held_out_sum(seed: int) -> None:
    spoken = turn(random.Random(seed), Topic.SUM, 1000)
    if spoken.assistant != numbers.SUM_BEYOND:
        one, other, total = map(int, re.findall(r"\d+", spoken.assistant))
        assert total == one + other
        assert not is_sum_held_out(one, other)


@given(SEEDS)
@settings(max_examples=100, deadline=None)
def test_training_never_sees_a_held_out_word(seed: int) -> None:
    spoken = turn(random.Random(seed), Topic.SPELL, 1000)
    word = spoken.assistant.replace(" ", "")
    assert word in spoken.user
    assert not is_word_held_out(word)


def test_whole_conversations_never_leak_either() -> None:
    rng = random.Random(7)
    seen = 0
    for _ in range(50):
        for spoken in conversation(rng, 40).turns:
            written = spoken.assistant
            if found := re.fullmatch(r"(\d+) \+ (\d+) = (\d+)", written):
                assert not is_sum_held_out(int(found[1]), int(found[2]))
                seen += 1
            elif spoken.topic is Topic.COUNT and written != numbers.COUNT_BEYOND:
                counted = [int(word) for word in written.split()]
                assert not is_range_held_out(counted[0], counted[-1])
                seen += 1
    assert seen > 500


@given(NUMBERS, NUMBERS)
def test_the_twin_of_a_held_out_sum_is_held_out(one: int, other: int) -> None:
    assert is_sum_held_out(one, other) == is_sum_held_out(other, one)


def test_about_the_said_share_is_held_out() -> None:
    ranges = sum(is_range_held_out(first, last) for first in range(100) for last in range(100))
    sums = sum(is_sum_held_out(one, other) for one in range(100) for other in range(one, 100))
    assert 400 < ranges < 600
    assert 400 < sums < 620


@given(NUMBERS, NUMBERS)
def test_counting_goes_by_ones_from_the_first_to_the_last(first: int, last: int) -> None:
    counted = [int(word) for word in numbers.counted(first, last).split(" ")]
    assert (counted[0], counted[-1]) == (first, last)
    assert len(counted) == abs(last - first) + 1
    assert {later - sooner for sooner, later in pairwise(counted)} <= {1 if first <= last else -1}


@given(SEEDS, st.integers(1, 1000))
def test_a_range_is_no_longer_than_asked_and_stays_within_the_limit(seed: int, longest: int) -> None:
    first, last = numbers.draw_range(random.Random(seed), longest)
    assert abs(first - last) < longest
    assert 0 <= min(first, last) <= max(first, last) <= numbers.COUNT_LIMIT


@given(SEEDS)
@settings(deadline=None)
def test_a_question_names_the_numbers_of_its_answer(seed: int) -> None:
    spoken = turn(random.Random(seed), Topic.COUNT, 50)
    asked = set(re.findall(r"\d+", spoken.user))
    if spoken.assistant == numbers.COUNT_BEYOND:
        assert any(int(number) > numbers.COUNT_LIMIT for number in asked)
    else:
        counted = spoken.assistant.split(" ")
        assert asked <= {counted[0], counted[-1]}
        assert {counted[0], counted[-1]} - asked <= {"1"}


@pytest.mark.parametrize("topic", list(Topic))
def test_every_topic_asks_and_answers(topic: Topic) -> None:
    rng = random.Random(3)
    for _ in range(200):
        spoken = turn(rng, topic, 50)
        assert spoken.topic is topic
        assert spoken.user.strip()
        assert spoken.assistant == spoken.assistant.strip() != ""
        assert not re.search(r"[{}]", spoken.assistant)


def test_a_told_name_is_remembered() -> None:
    rng = random.Random(11)
    recalled = 0
    for _ in range(200):
        name = None
        for spoken in conversation(rng, 30, longest=5).turns:
            if told := re.fullmatch(r"Nice to meet you, (\w+)!", spoken.assistant):
                name = told[1]
            elif asked := re.fullmatch(r"Your name is (\w+)\.", spoken.assistant):
                assert asked[1] == name
                recalled += 1
    assert recalled > 10


def test_any_joke_is_as_good_as_another_and_a_sum_is_not() -> None:
    rng = random.Random(5)
    answers = {turn(rng, Topic.TALK, 5).assistant for _ in range(300)}
    assert any(len(equally_good(answer)) > 1 for answer in answers)
    assert equally_good("1 + 1 = 2") == {"1 + 1 = 2"}
