"""The questions that the demo model is examined with: held-out ranges, sums and words, samples of everything else."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from spillway_engine.demo import language, numbers, spelling
from spillway_engine.demo.conversation import Conversation, Topic, Turn
from spillway_engine.demo.held_out import is_range_held_out, is_sum_held_out, is_word_held_out

if TYPE_CHECKING:
    from collections.abc import Callable

STATED_ACCURACY: Final = 0.995
"""Least share of held-out ranges and sums, whole answers, that the shipped model gets right at temperature 0."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A group of questions; `stated` ones must reach `STATED_ACCURACY`."""

    name: str
    stated: bool
    questions: tuple[Conversation, ...]


def range_question(rng: random.Random, longest: int = numbers.COUNT_LIMIT + 1, *, down: bool = False) -> Turn:
    """Counting over a held-out range."""
    while True:
        first, last = numbers.draw_range(rng, longest)
        if (first > last) is down and is_range_held_out(first, last):
            return numbers.count_question(rng, first, last)


def sum_question(rng: random.Random) -> Turn:
    """A held-out sum, uniform over the stated range."""
    while True:
        one, other = rng.randint(0, numbers.SUM_LIMIT), rng.randint(0, numbers.SUM_LIMIT)
        if is_sum_held_out(one, other):
            return numbers.sum_question(rng, one, other)


def word_question(rng: random.Random) -> Turn:
    """A held-out word to spell."""
    while not is_word_held_out(word := spelling.draw_word(rng)):
        pass
    return spelling.spell_question(rng, word)


def examination(seed: int = 1, scale: float = 1.0) -> tuple[Subject, ...]:
    """All subjects; `scale` 0.1 asks a tenth of the questions."""
    rng = random.Random(seed)

    def ask(how_many: int, draw: Callable[[], Turn], num_earlier: int = 0) -> tuple[Conversation, ...]:
        """`how_many` conversations, each ending in a turn of `draw` after at most `num_earlier` others."""
        talks = []
        for _ in range(max(1, round(how_many * scale))):
            before = (
                language.conversation(rng, rng.randint(1, num_earlier), longest=60)
                if num_earlier
                else Conversation(None, ())
            )
            talks.append(Conversation(before.system, (*before.turns, draw())))
        return tuple(talks)

    def any_turn(topic: Topic) -> Callable[[], Turn]:
        return lambda: language.turn(rng, topic, numbers.COUNT_LIMIT + 1)

    limit, stated = numbers.SUM_LIMIT, numbers.RANGE_LIMIT
    return (
        Subject("counting up, held-out ranges", True, ask(1200, lambda: range_question(rng, stated))),
        Subject("counting down, held-out ranges", True, ask(400, lambda: range_question(rng, stated, down=True))),
        Subject("counting up, late in a conversation", True, ask(400, lambda: range_question(rng, stated), 5)),
        Subject("counting, held-out ranges of up to 300 numbers", False, ask(400, lambda: range_question(rng))),
        Subject(f"held-out sums of two numbers up to {limit}", True, ask(3000, lambda: sum_question(rng))),
        Subject("sums, late in a conversation", True, ask(600, lambda: sum_question(rng), 5)),
        Subject("spelling held-out words", False, ask(400, lambda: word_question(rng))),
        *(
            Subject(f"{topic} (not held out)", False, ask(300, any_turn(topic)))
            for topic in (
                Topic.DIFFERENCE,
                Topic.PRODUCT,
                Topic.ORDER,
                Topic.FACT,
                Topic.TALK,
                Topic.NAME,
                Topic.UNKNOWN,
            )
        ),
    )
