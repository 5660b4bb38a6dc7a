"""Is it right? The examination, answered greedily: `python -m spillway_engine.demo.evaluate`.

Ends with status 1 when a stated accuracy is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from spillway_engine import Engine, SamplingParams
from spillway_engine.demo import MODEL_PATH
from spillway_engine.demo.examination import STATED_ACCURACY, Subject, examination
from spillway_engine.demo.smalltalk import equally_good
from spillway_engine.demo.tokenizer import END, render
from spillway_wire.outcomes import FinishReason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spillway_engine.demo.conversation import Conversation

_BATCH = 64
_CACHE_BYTES = 128 << 20


@dataclass(frozen=True, slots=True)
class Mark:
    """How one subject went; `mistakes` holds a few [last question, answer given] to look at."""

    name: str
    stated: bool
    right: int
    asked: int
    mistakes: tuple[tuple[str, str], ...]

    @property
    def accuracy(self) -> float:
        """Share of whole answers that were exactly right, ending included."""
        return self.right / self.asked

    @property
    def is_missed(self) -> bool:
        """Whether a stated accuracy was not reached."""
        return self.stated and self.accuracy < STATED_ACCURACY


def answers(engine: Engine, questions: Sequence[Conversation]) -> list[str | None]:
    """What the model says to each conversation's last question, greedily; None when it does not end by itself.

    An answer may be a few tokens longer than the right one before it is cut off.
    """
    prompts = [engine.text.encode(_prompt(question), add_special_tokens=False) for question in questions]
    params = [
        SamplingParams(temperature=0.0, max_tokens=len(engine.text.encode(question.turns[-1].assistant)) + 8)
        for question in questions
    ]
    return [
        output.text if output.answers[0].finish_reason is FinishReason.STOP else None
        for output in engine.generate(prompts, params)
    ]


@torch.no_grad()
def teacher_forced(model: LlamaForCausalLM, tokenizer: Tokenizer, subject: Subject) -> float:
    """About the share of right answers, in one pass a batch: for progress reports.

    A greedy answer is the wanted one exactly when each of its tokens is the likeliest after those before it.
    Other answers that would be as good count as wrong here.
    """
    encoded = []
    for question in subject.questions:
        prompt = tokenizer.encode(_prompt(question)).ids
        answer = tokenizer.encode(question.turns[-1].assistant + END).ids
        encoded.append((prompt + answer, len(answer)))
    encoded.sort(key=lambda entry: len(entry[0]))
    right = 0
    for start in range(0, len(encoded), _BATCH // 4):
        batch = encoded[start : start + _BATCH // 4]
        longest = len(batch[-1][0])
        tokens = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in batch])
        guesses = model(tokens, use_cache=False).logits.argmax(-1)
        for guessed, (ids, num_answer) in zip(guesses, batch, strict=True):
            right += guessed[len(ids) - num_answer - 1 : len(ids) - 1].tolist() == ids[-num_answer:]
    return right / len(encoded)


def mark(engine: Engine, subject: Subject) -> Mark:
    """Ask one subject's questions."""
    given = answers(engine, subject.questions)
    mistakes = []
    for question, answer in zip(subject.questions, given, strict=True):
        if answer not in equally_good(question.turns[-1].assistant):
            mistakes.append((question.turns[-1].user, "(does not end)" if answer is None else answer))
    asked = len(subject.questions)
    return Mark(subject.name, subject.stated, asked - len(mistakes), asked, tuple(mistakes[:5]))


def evaluate(folder: Path, seed: int = 1, scale: float = 1.0) -> tuple[Mark, ...]:
    """Examine the model in `folder`."""
    with Engine(str(folder), kv_cache_bytes=_CACHE_BYTES) as engine:
        return tuple(mark(engine, subject) for subject in examination(seed, scale))


def as_json(marks: Sequence[Mark]) -> list[dict[str, object]]:
    """The marks with their accuracies, for `evaluation.json`."""
    return [{**asdict(entry), "accuracy": round(entry.accuracy, 5)} for entry in marks]


def as_table(marks: Sequence[Mark]) -> str:
    """The marks as a Markdown table; stated subjects in bold."""
    lines = ["| subject | right | asked | accuracy |", "|---|---|---|---|"]
    for entry in marks:
        name = f"**{entry.name}**" if entry.stated else entry.name
        lines.append(f"| {name} | {entry.right:,} | {entry.asked:,} | {entry.accuracy:.2%} |")
    return "\n".join(lines)


def _prompt(question: Conversation) -> str:
    """Everything up to where the last answer begins."""
    return "".join(stretch for stretch, _ in render(question)[:-1])


def main() -> int:
    """Examine a model, print the marks and say whether it passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL_PATH, help="the model folder to examine")
    parser.add_argument("--seed", type=int, default=1, help="another seed asks other questions")
    parser.add_argument("--scale", type=float, default=1.0, help="0.1 asks a tenth of the questions")
    parser.add_argument("--json", action="store_true", help="JSON, with examples of mistakes, instead of the table")
    arguments = parser.parse_args()
    marks = evaluate(arguments.model, arguments.seed, arguments.scale)
    sys.stdout.write((json.dumps(as_json(marks), indent=2) if arguments.json else as_table(marks)) + "\n")
    return 1 if any(entry.is_missed for entry in marks) else 0


if __name__ == "__main__":
    sys.exit(main())
