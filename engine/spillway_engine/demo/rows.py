"""Training rows: conversations cut to a fixed number of tokens, and how much each token weighs in the loss."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

import torch

from spillway_engine.demo.conversation import Topic
from spillway_engine.demo.language import conversation
from spillway_engine.demo.tokenizer import render

if TYPE_CHECKING:
    import random

    from tokenizers import Tokenizer


@dataclass(frozen=True, slots=True)
class Rows:
    """Tokens of shape [rows, length] (int64) and the weight of predicting each of them, same shape (float32)."""

    tokens: torch.Tensor
    weights: torch.Tensor


class Emphasis(Enum):
    """How the tokens of one answer share its weight in the loss.

    In all, a root of the length lets a sum's one hard token weigh against a range's hundreds of easy ones,
    and only a part of a long answer's middle is learned, because predicting over the whole vocabulary is a third of
    the work.
    """

    VARIETY = auto()
    """A quarter of the middle counts, for what it is: many different turns are learned quickly."""
    EXACTNESS = auto()
    """Two fifths of the middle count for all of it, and where an answer begins and ends counts most: one early stop
    in hundreds of numbers spoils a range."""
    ENDS = auto()
    """Half of the middle counts for all of it, longer answers count for more, and their ends for most."""

    def weights(self, rng: random.Random, num_tokens: int) -> list[float]:
        """The weight of each of an answer's `num_tokens` tokens; 0 for those that are not learned."""
        plain = num_tokens ** (-1 / 3 if self is Emphasis.ENDS else -1 / 2)
        share, middle, edge = {
            Emphasis.VARIETY: (0.25, plain, plain),
            Emphasis.EXACTNESS: (0.4, plain / 0.4, max(plain, 0.3)),
            Emphasis.ENDS: (0.5, plain / 0.5, max(plain, 0.4)),
        }[self]
        weights = []
        for place in range(num_tokens):
            if place < 2 or place >= num_tokens - 2:
                weights.append(edge)
            elif num_tokens < 24 or place < 4 or place >= num_tokens - 8:
                weights.append(plain)
            else:
                weights.append(middle if rng.random() < share else 0.0)
        return weights


def draw_rows(  # noqa: PLR0917 - what a stage is made of
    rng: random.Random, tokenizer: Tokenizer, num_rows: int, length: int, emphasis: Emphasis, mix: dict[Topic, int]
) -> Rows:
    """Rows that each start a conversation at position 0 and fill up with its turns; the last turn is cut.

    Filling a row with one long conversation, rather than with several, keeps plain causal attention right,
    and teaches that only the latest question is to be answered. Ranges are bounded by the length, so that
    most of them end inside their row.
    """
    tokens = torch.zeros(num_rows, length, dtype=torch.int64)
    weights = torch.zeros(num_rows, length)
    for row in range(num_rows):
        written: list[int] = []
        weighed: list[float] = []
        stretches = render(conversation(rng, 2 + length // 8, max(8, length - 24), mix))
        start = 0
        while len(written) < length:
            ahead = stretches[start : start + 16]  # most conversations are cut long before their last turn
            start += 16
            for (_, is_answer), encoding in zip(
                ahead, tokenizer.encode_batch([text for text, _ in ahead]), strict=True
            ):
                written += encoding.ids
                weighed += emphasis.weights(rng, len(encoding.ids)) if is_answer else [0.0] * len(encoding.ids)
        tokens[row] = torch.tensor(written[:length])
        weights[row] = torch.tensor(weighed[:length])
    return Rows(tokens, weights)
