"""The model card: what the model is and what was measured, written by the training script so that it cannot drift."""

from __future__ import annotations

import json
import math
import platform
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from safetensors.torch import load_file

from spillway_engine.demo import numbers
from spillway_engine.demo.evaluate import Mark, as_json, as_table
from spillway_engine.demo.examination import STATED_ACCURACY

if TYPE_CHECKING:
    from collections.abc import Sequence

_CARD: Final = """\
---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---
# Spillway's demo model

A Llama of {parameters:,} parameters (float32, tied embeddings) that counts, adds, spells, knows a few facts
and chats a little. It exists so that anybody can try Spillway without a download, and so that a lost, doubled
or changed token is visible to the eye: ask it to *count from 37 to 90*.

It was trained from nothing on text that its own generator writes (`spillway_engine.demo.language`); no other
data, text or model went into it.

## Stated ranges

At temperature 0, at least {stated:.1%} of whole answers, ending included, are exactly right for

- **counting** from any number between 0 and {count} up to another, or down where the words say so, over at most
  {range} numbers, in any of the phrasings that the generator writes (longer ranges: see below);
- **sums** of two numbers, each between 0 and {sum}, answered as `12 + 30 = 42`.

Sums are taught up to {taught} + {taught}, differences up to {difference}, products up to {product} times {product};
beyond that it says that it cannot. What is outside its little world it says it does not know; being this
small, it sometimes says something wrong instead.

## Measured

Greedy answers by Spillway's engine, exact matches of the whole answer. Held-out ranges, sums and
words were never in the training text: a hash of the numbers or letters decides
(`spillway_engine.demo.held_out`).

{table}

## Made with

`python -m spillway_engine.demo.train --out FOLDER` in {minutes:.1f} minutes on {threads} CPU threads
({processor}): {steps:,} steps, {tokens:.1f} million tokens, seed {seed}.
{note}`python -m spillway_engine.demo.evaluate` repeats the measurement; `--seed` asks other questions.

## Shape

{layers} layers, hidden size {hidden}, {heads} heads of {head} with {kv_heads} for keys and values, intermediate size
{intermediate}, vocabulary {vocabulary:,}, context {context:,}.

Every number from 0 to {count} is one token, with and without a space before it; other text is byte-level BPE,
so any text can be encoded and comes back unchanged. The chat template knows the roles system, user and
assistant. """


@dataclass(frozen=True, slots=True)
class Training:
    """How the model was made: optimizer steps, tokens read, wall-clock seconds without the evaluation."""

    num_steps: int
    num_tokens: int
    seconds: float
    num_threads: int
    processor: str
    seed: int
    note: str = ""
    """What a reader should know of the circumstances."""


def processor_name() -> str:
    """What the training ran on."""
    information = Path("/proc/cpuinfo")
    if information.exists() and (found := re.search(r"model name\s*: (.+)", information.read_text())):
        return found[1]
    return platform.processor() or platform.machine()


def write_report(folder: Path, marks: Sequence[Mark], training: Training) -> None:
    """Write `evaluation.json` and the model card, README.md, beside the model."""
    config = json.loads((folder / "config.json").read_text())
    parameters = sum(math.prod(tensor.shape) for tensor in load_file(folder / "model.safetensors").values())
    stated = {"accuracy": STATED_ACCURACY, "count_limit": numbers.COUNT_LIMIT}
    stated |= {"range_limit": numbers.RANGE_LIMIT, "sum_limit": numbers.SUM_LIMIT}
    report = {"parameters": parameters, "stated": stated, "training": asdict(training), "marks": as_json(marks)}
    (folder / "evaluation.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    card = _CARD.format(
        table=as_table(marks),
        parameters=parameters,
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        heads=config["num_attention_heads"],
        kv_heads=config["num_key_value_heads"],
        head=config["head_dim"],
        intermediate=config["intermediate_size"],
        vocabulary=config["vocab_size"],
        context=config["max_position_embeddings"],
        minutes=training.seconds / 60,
        threads=training.num_threads,
        processor=training.processor,
        steps=training.num_steps,
        seed=training.seed,
        note=training.note and training.note + "\n",
        tokens=training.num_tokens / 1e6,
        stated=STATED_ACCURACY,
        count=numbers.COUNT_LIMIT,
        range=numbers.RANGE_LIMIT,
        sum=numbers.SUM_LIMIT,
        taught=numbers.SUM_TAUGHT_LIMIT,
        difference=numbers.DIFFERENCE_LIMIT,
        product=numbers.PRODUCT_LIMIT,
    )
    (folder / "README.md").write_text(card)
