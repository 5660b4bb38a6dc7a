"""Turns about numbers: counting, sums, differences, products, and what comes next.

The ranges that the model is said to master are the constants here; questions beyond them are answered with the limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from spillway_engine.demo.conversation import Topic, Turn
from spillway_engine.demo.held_out import is_range_held_out, is_sum_held_out
from spillway_engine.demo.phrasing import ask, vary

if TYPE_CHECKING:
    import random

COUNT_LIMIT: Final = 999
"""The largest number; each up to it is one token."""
RANGE_LIMIT: Final = 100
"""Counting is mastered over at most this many numbers, anywhere from 0 to `COUNT_LIMIT`, up and down."""
SUM_LIMIT: Final = 499
"""Sums of two numbers are mastered when each is between 0 and this number."""
SUM_TAUGHT_LIMIT: Final = 499
"""Sums are taught up to this number, so that each of them fits one token; beyond it the model says that it cannot."""
DIFFERENCE_LIMIT: Final = 99
"""Differences are taught for numbers between 0 and this one, the larger first."""
PRODUCT_LIMIT: Final = 10
"""The multiplication table that is taught whole."""

COUNT_BEYOND: Final = f"I can only count from 0 to {COUNT_LIMIT}."
SUM_BEYOND: Final = f"I can only add numbers from 0 to {SUM_TAUGHT_LIMIT}."
DIFFERENCE_BEYOND: Final = f"I can only subtract numbers from 0 to {DIFFERENCE_LIMIT}."
DIFFERENCE_NEGATIVE: Final = "That is less than zero, and I only know numbers from 0 up."
PRODUCT_BEYOND: Final = f"I can only multiply numbers from 0 to {PRODUCT_LIMIT}."

_RANGE_SCALES: Final = (4, 12, 12, 24, 24, 24, 40, 40, 40, 80, 80, 150, 150, 300)
_RANGE_FRAMES: Final = (
    "Count from {first} to {last}",
    "Count from {first} to {last}",
    "Count from {first} to {last}",
    "Count {first} to {last}",
    "Count from {first} up to {last}",
    "Count from {first} until {last}",
    "Count from {first} through {last}",
    "Start at {first} and count to {last}",
    "Count to {last} from {first}",
    "Count to {last} starting at {first}",
    "List the numbers from {first} to {last}",
    "Give me the numbers from {first} to {last}",
    "Say the numbers from {first} to {last}",
    "Write the numbers {first} to {last}",
    "Print all numbers from {first} to {last}",
)
_DOWN_FRAMES: Final = (
    "Count down from {first} to {last}",
    "Count backwards from {first} to {last}",
    "Count from {first} down to {last}",
    "Count from {first} back to {last}",
)
_SUM_QUESTIONS: Final = (
    "What is {one} + {other}?",
    "What is {one} plus {other}?",
    "How much is {one} + {other}?",
    "How much is {one} plus {other}?",
    "{one} + {other}",
    "{one}+{other}",
    "{one} + {other} =",
    "{one}+{other}=?",
    "{one} plus {other}",
    "What is {one}+{other}?",
    "What is the sum of {one} and {other}?",
    "What do you get when you add {one} and {other}?",
)
_SUM_REQUESTS: Final = (
    "Add {one} and {other}",
    "Add {one} to {other}",
    "Calculate {one} + {other}",
    "Compute {one} + {other}",
)
_DIFFERENCE_QUESTIONS: Final = (
    "What is {one} - {other}?",
    "What is {one} minus {other}?",
    "How much is {one} - {other}?",
    "{one} - {other}",
    "{one}-{other}",
    "{one} minus {other}",
    "How much is {one} minus {other}?",
)
_PRODUCT_QUESTIONS: Final = (
    "What is {one} x {other}?",
    "What is {one} * {other}?",
    "What is {one} times {other}?",
    "How much is {one} times {other}?",
    "{one} times {other}",
    "{one} x {other}",
    "{one}*{other}",
    "{one} * {other}",
)


def counted(first: int, last: int) -> str:
    """The numbers from `first` to `last`, both included, up or down, one space between them."""
    step = 1 if first <= last else -1
    return " ".join(map(str, range(first, last + step, step)))


def summed(one: int, other: int) -> str:
    """The answer to a sum, as the model writes it."""
    return f"{one} + {other} = {one + other}"


def draw_range(rng: random.Random, longest: int) -> tuple[int, int]:
    """First and last number of a range of at most `longest` numbers, possibly held out; three in ten run down.

    Lengths are drawn on several scales, because the hard part, when to stop, is met once per range whatever its length.
    """
    scale = rng.choice([scale for scale in _RANGE_SCALES if scale <= longest] or [longest])
    length = rng.randint(max(1, scale // 4) if scale > 100 else 1, scale)
    low = rng.randint(0, 2) if rng.random() < 0.15 else rng.randint(0, COUNT_LIMIT + 1 - length)
    low = min(low, COUNT_LIMIT + 1 - length)
    high = low + length - 1
    return (high, low) if rng.random() < 0.3 else (low, high)


def count_turn(rng: random.Random, longest: int) -> Turn:
    """A range that is not held out."""
    first, last = draw_range(rng, longest)
    while is_range_held_out(first, last):
        first, last = draw_range(rng, longest)
    return count_question(rng, first, last)


def count_question(rng: random.Random, first: int, last: int) -> Turn:
    """Some way of asking for this very range."""
    if first == 1 and rng.random() < 0.6:
        frame = "Count to {last}"
    elif last == 1 and first > 1 and rng.random() < 0.4:
        frame = rng.choice(("Count down from {first}", "Count backwards from {first}"))
    else:
        frame = rng.choice(_DOWN_FRAMES if first > last else _RANGE_FRAMES)
    return Turn(ask(rng, frame).format(first=first, last=last), counted(first, last), Topic.COUNT)


def count_beyond_turn(rng: random.Random) -> Turn:
    """A range that leaves what one token can say."""
    last = _beyond(rng, COUNT_LIMIT)
    first = rng.randint(0, COUNT_LIMIT) if rng.random() < 0.7 else _beyond(rng, COUNT_LIMIT)
    frame = "Count to {last}" if rng.random() < 0.3 else rng.choice(_RANGE_FRAMES)
    return Turn(ask(rng, frame).format(first=first, last=last), COUNT_BEYOND, Topic.COUNT)


def draw_sum(rng: random.Random) -> tuple[int, int]:
    """Two numbers within the taught range, possibly held out; small ones are drawn more often than their share."""
    scale = rng.choice(
        (10, 100, 100, 100, SUM_TAUGHT_LIMIT + 1, SUM_TAUGHT_LIMIT + 1, SUM_TAUGHT_LIMIT + 1, SUM_TAUGHT_LIMIT + 1)
    )
    one, other = rng.randrange(scale), rng.randrange(scale)
    if rng.random() < 0.1:
        other = rng.randrange(10)
    return (one, other) if rng.random() < 0.5 else (other, one)


def sum_turn(rng: random.Random) -> Turn:
    """A sum that is not held out."""
    one, other = draw_sum(rng)
    while is_sum_held_out(one, other):
        one, other = draw_sum(rng)
    return sum_question(rng, one, other)


def sum_question(rng: random.Random, one: int, other: int) -> Turn:
    """Some way of asking for this very sum."""
    return Turn(_ask_for_sum(rng, one, other), summed(one, other), Topic.SUM)


def sum_beyond_turn(rng: random.Random) -> Turn:
    """A sum outside the taught range."""
    large = rng.randint(SUM_TAUGHT_LIMIT + 1, COUNT_LIMIT) if rng.random() < 0.6 else _beyond(rng, COUNT_LIMIT)
    small = rng.randint(0, COUNT_LIMIT)
    one, other = (large, small) if rng.random() < 0.5 else (small, large)
    return Turn(_ask_for_sum(rng, one, other), SUM_BEYOND, Topic.SUM)


def difference_turn(rng: random.Random) -> Turn:
    """A difference, or why there is none."""
    question = vary(rng, rng.choice(_DIFFERENCE_QUESTIONS))
    one, other = rng.randint(0, DIFFERENCE_LIMIT), rng.randint(0, DIFFERENCE_LIMIT)
    if rng.random() < 0.1:
        large = rng.randint(DIFFERENCE_LIMIT + 1, COUNT_LIMIT) if rng.random() < 0.6 else _beyond(rng, COUNT_LIMIT)
        one, other = (large, other) if rng.random() < 0.5 else (one, large)
        answer = DIFFERENCE_BEYOND
    else:
        if one < other and rng.random() < 0.8:
            one, other = other, one
        answer = f"{one} - {other} = {one - other}" if one >= other else DIFFERENCE_NEGATIVE
    return Turn(question.format(one=one, other=other), answer, Topic.DIFFERENCE)


def product_turn(rng: random.Random) -> Turn:
    """One cell of the multiplication table, or a refusal."""
    question = vary(rng, rng.choice(_PRODUCT_QUESTIONS))
    one, other = rng.randint(0, PRODUCT_LIMIT), rng.randint(0, PRODUCT_LIMIT)
    answer = f"{one} x {other} = {one * other}"
    if rng.random() < 0.15:
        large = rng.randint(PRODUCT_LIMIT + 1, COUNT_LIMIT) if rng.random() < 0.7 else _beyond(rng, COUNT_LIMIT)
        one, other = (large, other) if rng.random() < 0.5 else (one, large)
        answer = PRODUCT_BEYOND
    return Turn(question.format(one=one, other=other), answer, Topic.PRODUCT)


def order_turn(rng: random.Random) -> Turn:
    """Which number comes next, came before, or is the bigger one."""
    number = rng.randint(1, COUNT_LIMIT - 1)
    kind = rng.randrange(4)
    if kind == 0:
        frame = rng.choice(("What comes after {0}?", "Which number comes after {0}?", "What number follows {0}?"))
        return Turn(vary(rng, frame).format(number), f"{number + 1}", Topic.ORDER)
    if kind == 1:
        frame = rng.choice(("What comes before {0}?", "Which number comes before {0}?"))
        return Turn(vary(rng, frame).format(number), f"{number - 1}", Topic.ORDER)
    other = rng.randint(0, COUNT_LIMIT - 1)
    other += other >= number
    adjective, answer = (
        (rng.choice(("bigger", "larger", "greater")), max(number, other))
        if kind == 2
        else (rng.choice(("smaller", "less")), min(number, other))
    )
    frame = rng.choice(
        ("Which is {adjective}, {0} or {1}?", "What is {adjective}, {0} or {1}?", "Is {0} or {1} {adjective}?")
    )
    return Turn(vary(rng, frame).format(number, other, adjective=adjective), f"{answer}", Topic.ORDER)


def _ask_for_sum(rng: random.Random, one: int, other: int) -> str:
    if rng.random() < 0.25:
        return ask(rng, rng.choice(_SUM_REQUESTS)).format(one=one, other=other)
    return vary(rng, rng.choice(_SUM_QUESTIONS)).format(one=one, other=other)


def _beyond(rng: random.Random, limit: int) -> int:
    """A number above `limit`, on any of several scales."""
    return rng.randint(limit + 1, rng.choice((limit + 50, 2_000, 10_000, 1_000_000)))
