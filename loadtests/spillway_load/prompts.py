"""What is asked: mixed lengths, and answers that can be checked. Pure, and the same for a seed.

=========  ================================================  ====================================================
kind       prompt                                            a right answer
=========  ================================================  ====================================================
count      "Count from 3 to 40", for the demo model, if      the numbers, one token each, and the end by itself
           asked for behind a conversation of some length
words      random words, for any model that knows            as many tokens as were asked for, by its own account
           `ignore_eos`
=========  ================================================  ====================================================
"""

import random
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

from spillway_load.shapes import Positive

T = TypeVar("T")
Length = Annotated[int, Meta(ge=1, le=1_000_000)]

LARGEST: Final = 999
"""The demo model counts to here."""
LONGEST_COUNT: Final = 100
"""Numbers in one answer that the demo model is made for."""
LONGEST_HISTORY: Final = 1600
"""Tokens of conversation that leave room for the answer in the demo model's context of 2048."""
_TURN: Final = 48
"""Numbers in a turn of the conversation before."""
_TURN_TOKENS: Final = _TURN + 16
"""Of such a turn, with its question and the template's marks; about."""
_WORDS: Final = (
    *("river", "stone", "winter", "garden", "copper", "window", "forest", "paper", "silver", "morning"),
    *("bridge", "candle", "harbour", "meadow", "number", "orange", "pencil", "shadow", "thunder", "village"),
)


class Expected(msgspec.Struct, frozen=True, array_like=True):
    """What a right answer is."""

    num_tokens: int
    finish_reason: str
    text: str | None = None
    """None: any."""


class Ask(msgspec.Struct, frozen=True):
    """A request's body, without what its sender adds, and what to expect."""

    fields: dict[str, Any]
    expected: Expected
    label: str
    """The prompt's end, for people."""


class _Work(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", kw_only=True):
    model: str = "demo"
    weight: Positive = 1.0
    """Its part of all requests."""
    name: str = ""
    """In the report; else its kind."""


class Counting(_Work, tag="count", frozen=True):
    """The demo model's art: one number lost, doubled or changed is seen."""

    numbers: Annotated[tuple[Annotated[int, Meta(ge=1, le=LONGEST_COUNT)], ...], Meta(min_length=1)] = (
        *(8, 16, 24, 32, 48, 64),
    )
    history_tokens: Annotated[tuple[Annotated[int, Meta(ge=0)], ...], Meta(min_length=1)] = (0,)
    """About as many tokens of a conversation go before."""

    def asks(self, randomness: random.Random) -> Iterator[Ask]:
        """Yield requests for ever."""
        for numbers, history in deal([(n, h) for n in self.numbers for h in self.history_tokens], randomness):
            yield self.ask(history, numbers, randomness)

    def of_lengths(self, prompt_tokens: int, output_tokens: int, randomness: random.Random) -> Ask:
        """Return a request of about these lengths; none is longer than the model is made for."""
        return self.ask(min(prompt_tokens - 16, LONGEST_HISTORY), min(output_tokens, LONGEST_COUNT), randomness)

    def ask(self, history_tokens: int, numbers: int, randomness: random.Random) -> Ask:
        """Return a request for so many numbers."""
        messages = [turn for _ in range(round(max(0, history_tokens) / _TURN_TOKENS)) for turn in _turn(randomness)]
        first = randomness.randint(1, LARGEST - numbers + 1)
        prompt, answer = _count(first, numbers)
        fields = {
            "model": self.model,
            "messages": [*messages, {"role": "user", "content": prompt}],
            "max_tokens": numbers + 15,
            "temperature": 0.0,
        }
        return Ask(fields, Expected(numbers + 1, "stop", answer), prompt)


class Words(_Work, tag="words", frozen=True):
    """Prompts and answers of given lengths, whatever they say."""

    prompt_words: Annotated[tuple[Length, ...], Meta(min_length=1)] = (32, 64, 128, 256)
    output_tokens: Annotated[tuple[Length, ...], Meta(min_length=1)] = (16, 32, 64, 128)

    def asks(self, randomness: random.Random) -> Iterator[Ask]:
        """Yield requests for ever."""
        for prompt, output in deal([(p, o) for p in self.prompt_words for o in self.output_tokens], randomness):
            yield self.of_lengths(prompt, output, randomness)

    def of_lengths(self, prompt_tokens: int, output_tokens: int, randomness: random.Random) -> Ask:
        """Return a request of these lengths, a word being about a token."""
        prompt = " ".join(randomness.choices(_WORDS, k=prompt_tokens))
        fields = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": output_tokens,
            "min_tokens": output_tokens,
            "ignore_eos": True,
            "temperature": 0.0,
        }
        return Ask(fields, Expected(output_tokens, "length"), f"{prompt_tokens} words")


Work = Counting | Words


def deal(cards: Sequence[T], randomness: random.Random) -> Iterator[T]:
    """Yield cards for ever: all in random order, then all again, so that any minute has the same mix."""
    while True:
        yield from randomness.sample(cards, len(cards))


def _count(first: int, numbers: int) -> tuple[str, str]:
    last = first + numbers - 1
    return f"Count from {first} to {last}", " ".join(map(str, range(first, last + 1)))


def _turn(randomness: random.Random) -> tuple[dict[str, str], dict[str, str]]:
    prompt, answer = _count(randomness.randint(1, LARGEST - _TURN + 1), _TURN)
    return {"role": "user", "content": prompt}, {"role": "assistant", "content": answer}
