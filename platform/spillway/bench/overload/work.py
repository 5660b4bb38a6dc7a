"""What is asked: mixed lengths, the same for everybody, and answers that can be checked.

Lengths are dealt from a shuffled deck that holds every pair of a prompt's and an answer's length once: any minute has
the same mix, and a level differs from another in its rate alone. Their means are those of the engine's benchmark.

=========  =========================================  ==========================================================
work       prompt                                     a right answer
=========  =========================================  ==========================================================
tokens     random token ids: no two share a prefix    as many tokens as asked for, as its usage and, where tokens
                                                      are words, its words say; it ends for its length
counting   "Count from 3 to 40", of the demo model    the numbers, one token each, and the end by itself
=========  =========================================  ==========================================================
"""

import itertools
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from spillway.bench.overload.plan import Expected, Shot
from spillway.bench.streams import Count

PROMPT_TOKENS: Final = (32, 64, 96, 128, 192, 256)
OUTPUT_TOKENS: Final = (16, 32, 48, 64, 96, 128)
LONGEST: Final = max(PROMPT_TOKENS) + max(OUTPUT_TOKENS)
COUNTS: Final = (8, 16, 24, 32, 48, 64)
_STREAMED: Final = {"stream": True, "stream_options": {"include_usage": True}, "temperature": 0.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Whose requests these are, as they say it."""

    group: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """More of the body."""
    headers: Mapping[str, str] = field(default_factory=dict)


NOBODY: Final = Sender()


def with_key(group: str, key: str) -> Sender:
    """Return a sender that shows an API key."""
    return Sender(group=group, headers={"Authorization": f"Bearer {key}"})


class Work(Protocol):
    """A source of requests."""

    def shots(self, due: Sequence[tuple[float, Sender]], seed: str) -> list[Shot]:
        """Return a request for each time; the same for the same seed, but for the sender's own fields.

        Runs have seeds of their own: a prompt that was asked before would be in a cache.
        """


def deal(cards: Sequence[Any], randomness: random.Random) -> Iterator[Any]:
    """Yield cards for ever: all of them in random order, then all of them again."""
    while True:
        yield from randomness.sample(cards, len(cards))


@dataclass(frozen=True, slots=True)
class TokenWork:
    """Prompts of token ids, through `/v1/completions`."""

    model: str
    vocab_size: int
    tokens_are_words: bool = False
    """Whether the tokenizer joins one word for each token."""

    @classmethod
    def of(cls, folder: Path, model: str) -> "TokenWork":
        """Return the work for a Hugging Face folder. Raises OSError or KeyError if it is none."""
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        vocabulary = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        return cls(model, int(config["vocab_size"]), vocabulary["model"]["type"] == "WordLevel")

    def shots(self, due: Sequence[tuple[float, Sender]], seed: str) -> list[Shot]:
        """See `Work`."""
        randomness = random.Random(seed)  # of tokens from 1 on: 0 may stand for unknown words
        lengths = deal(list(itertools.product(PROMPT_TOKENS, OUTPUT_TOKENS)), randomness)
        return [
            self._shot(number, at, sender, randomness.choices(range(1, self.vocab_size), k=prompt), output)
            for number, ((at, sender), (prompt, output)) in enumerate(zip(due, lengths, strict=False))
        ]

    def _shot(self, number: int, due_s: float, sender: Sender, prompt: list[int], output: int) -> Shot:
        body = {
            "model": self.model,
            "prompt": prompt,
            "max_tokens": output,
            "min_tokens": output,
            "ignore_eos": True,
            **_STREAMED,
            **sender.fields,
        }
        words = output if self.tokens_are_words else None
        return Shot(
            number=number,
            due_s=due_s,
            path="/v1/completions",
            body=msgspec.json.encode(body),
            expected=Expected(num_tokens=output, finish_reason="length", num_words=words),
            group=sender.group,
            headers=dict(sender.headers),
        )


@dataclass(frozen=True, slots=True)
class CountingWork:
    """The demo model's counting, through `/v1/chat/completions`."""

    counts: Mapping[int, Sequence[Count]]
    """By length, ranges that the model counts right: this is no test of a model."""
    model: str = "demo"

    def shots(self, due: Sequence[tuple[float, Sender]], seed: str) -> list[Shot]:
        """See `Work`."""
        randomness = random.Random(seed)
        chosen = (randomness.choice(self.counts[length]) for length in deal(list(self.counts), randomness))
        return [
            self._shot(number, at, sender, count)
            for number, ((at, sender), count) in enumerate(zip(due, chosen, strict=False))
        ]

    def _shot(self, number: int, due_s: float, sender: Sender, count: Count) -> Shot:
        return Shot(
            number=number,
            due_s=due_s,
            path="/v1/chat/completions",
            body=msgspec.json.encode({**count.fields(), **_STREAMED, **sender.fields}),
            expected=Expected(num_tokens=count.num_tokens, finish_reason="stop", text=count.answer),
            group=sender.group,
            headers=dict(sender.headers),
        )
