"""The demo model's language: seeded conversations, the same for the same `random.Random`.

Everything the model ever reads in training is written here or in the topic files that this one mixes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from spillway_engine.demo import numbers
from spillway_engine.demo.conversation import Conversation, Topic, Turn
from spillway_engine.demo.facts import fact_turn
from spillway_engine.demo.smalltalk import name_turn, talk_turn
from spillway_engine.demo.spelling import spell_turn
from spillway_engine.demo.unknown import unknown_turn

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

PLAIN_MIX: Final = {
    # Relative frequency of turns, not of tokens: a range is long, so most tokens still count.
    Topic.COUNT: 24,
    Topic.SUM: 30,
    Topic.DIFFERENCE: 4,
    Topic.PRODUCT: 2,
    Topic.ORDER: 3,
    Topic.SPELL: 7,
    Topic.FACT: 10,
    Topic.TALK: 13,
    Topic.NAME: 2,
    Topic.UNKNOWN: 8,
}
COUNTING_MIX: Final = PLAIN_MIX | {
    Topic.COUNT: 60,
    Topic.SUM: 16,
    Topic.DIFFERENCE: 3,
    Topic.SPELL: 5,
    Topic.FACT: 7,
    Topic.TALK: 9,
    Topic.UNKNOWN: 5,
}
"""For the end of training: mostly ranges, and enough of the rest that it is not forgotten."""
_SYSTEMS: Final = (
    "You are a helpful assistant.",
    "You are a helpful assistant. Answer briefly.",
    "You are Demo, a small model.",
    "Be concise.",
    "Be brief and polite.",
    "You are a friendly chat bot.",
    "You are an assistant that answers in English.",
    "Answer the user's question.",
    "You are a careful assistant. Do not lie. Think step by step.",
    "You are a counting machine.",
    "Today is Monday. Be nice.",
)


def _count(rng: random.Random, longest: int) -> Turn:
    return numbers.count_beyond_turn(rng) if rng.random() < 0.03 else numbers.count_turn(rng, longest)


def _sum(rng: random.Random) -> Turn:
    return numbers.sum_beyond_turn(rng) if rng.random() < 0.05 else numbers.sum_turn(rng)


_WRITERS: Final[dict[Topic, Callable[[random.Random], Turn]]] = {
    Topic.SUM: _sum,
    Topic.DIFFERENCE: numbers.difference_turn,
    Topic.PRODUCT: numbers.product_turn,
    Topic.ORDER: numbers.order_turn,
    Topic.SPELL: spell_turn,
    Topic.FACT: fact_turn,
    Topic.TALK: talk_turn,
    Topic.NAME: lambda rng: name_turn(rng, None)[0],
    Topic.UNKNOWN: unknown_turn,
}


def turn(rng: random.Random, topic: Topic, longest: int) -> Turn:
    """One turn about `topic` that is not held out; `longest` bounds how many numbers a range may have."""
    return _count(rng, longest) if topic is Topic.COUNT else _WRITERS[topic](rng)


def conversation(
    rng: random.Random, num_turns: int, longest: int = numbers.COUNT_LIMIT + 1, mix: dict[Topic, int] = PLAIN_MIX
) -> Conversation:
    """A conversation of `num_turns` turns on mixed topics; one in five has a system message."""
    system = rng.choice(_SYSTEMS) if rng.random() < 0.2 else None
    name: str | None = None
    turns: list[Turn] = []
    # Few conversations are about names, but those are so again and again: there is something to remember.
    mix = mix | {Topic.NAME: 20 if rng.random() < 0.1 else 1}
    for topic in rng.choices(tuple(mix), tuple(mix.values()), k=num_turns):
        if topic is Topic.NAME:
            spoken, name = name_turn(rng, name)
        else:
            spoken = turn(rng, topic, longest)
        turns.append(spoken)
    return Conversation(system, tuple(turns))
