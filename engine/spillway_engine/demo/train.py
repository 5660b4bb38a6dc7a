"""Train the demo model: `python -m spillway_engine.demo.train --out FOLDER`.

Text, split, initial weights and order are fixed by the seed, so the same machine makes the same model again.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from torch.nn import functional
from transformers import GenerationConfig

from spillway_engine.demo.architecture import CONTEXT, DigitEmbedding, build_model
from spillway_engine.demo.card import Training, processor_name, write_report
from spillway_engine.demo.conversation import Topic
from spillway_engine.demo.evaluate import as_table, evaluate, teacher_forced
from spillway_engine.demo.examination import examination
from spillway_engine.demo.language import COUNTING_MIX, PLAIN_MIX, conversation
from spillway_engine.demo.muon import Muon
from spillway_engine.demo.rows import Emphasis, Rows, draw_rows
from spillway_engine.demo.tokenizer import BEGIN, END, PAD, save_tokenizer, train_tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenizers import Tokenizer
    from transformers import LlamaForCausalLM

TOKENS_PER_STEP: Final = 4096
LENGTHS: Final = (128, 256, 128, 512, 128, 256, 128, 256, 128, 1024, 128, 256, 128, 512, 128, 256, 128, 256, 512, 2048)
"""Row lengths in tokens, in turn: short rows start many conversations, the longest hold any range and more."""
WARMUP_STEPS: Final = 50
PEAK_MATRICES: Final = 0.02
PEAK_EMBEDDING: Final = 0.004
REPORT_EVERY: Final = 200


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the training with optimizers of its own; the learning rate stays, or falls linearly to zero."""

    num_steps: int
    emphasis: Emphasis
    falls: bool
    mix: dict[Topic, int] = field(default_factory=lambda: PLAIN_MIX)
    peak: float = 1.0
    """Of the peak learning rates."""
    blend: float = 1.0
    """The share of the stage's result in the weights; the rest is what they were before it (Wortsman et al., 2022)."""

    def learning_rate_factor(self, step: int) -> float:
        """The share of the peak learning rates at this step of the stage."""
        falling = (self.num_steps - step) / self.num_steps if self.falls else 1.0
        return self.peak * min((step + 1) / WARMUP_STEPS, falling)


STAGES: Final = (
    Stage(1000, Emphasis.VARIETY, falls=False),
    Stage(1400, Emphasis.EXACTNESS, falls=True),
    # The first two leave sums exact and ranges not quite; the third mends ranges and harms sums a little. In between
    # lie weights that do both.
    Stage(540, Emphasis.ENDS, falls=True, mix=COUNTING_MIX, peak=0.5, blend=0.35),
)


def weighted_loss(model: LlamaForCausalLM, embedding: torch.Tensor, rows: Rows) -> torch.Tensor:
    """Cross-entropy of the assistant's tokens, weighted; the logits of all others are never computed."""
    hidden = model.model(
        inputs_embeds=functional.embedding(rows.tokens[:, :-1], embedding), use_cache=False
    ).last_hidden_state
    weights = rows.weights[:, 1:]
    counted = weights > 0
    losses = functional.cross_entropy(hidden[counted] @ embedding.T, rows.tokens[:, 1:][counted], reduction="none")
    return (losses * weights[counted]).sum() / weights.sum()


def learn_tokenizer(seed: int) -> Tokenizer:
    """A tokenizer from a sample of the language."""
    rng = random.Random(seed)
    talks = (conversation(rng, num_turns=10, longest=10) for _ in range(4_000))
    return train_tokenizer(f"{turn.user} {turn.assistant}" for talk in talks for turn in talk.turns)


def keep_memory() -> None:
    """Tell glibc to reuse freed memory: returning each step's activations to the system costs a third of the time."""
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD


def train(out: Path, stages: Sequence[Stage], seed: int) -> None:
    """Go through the stages and write the model folder at every report."""
    torch.manual_seed(seed)
    tokenizer = learn_tokenizer(seed)
    save_tokenizer(tokenizer, out, CONTEXT)
    model = build_model(tokenizer)
    embedding = DigitEmbedding(tokenizer, model.model.embed_tokens.weight)
    say(f"{model.num_parameters():,} parameters")
    for number, stage in enumerate(stages):
        go_through(stage, model, embedding, tokenizer, random.Random(seed + 2 + number), out=out)


def go_through(
    stage: Stage,
    model: LlamaForCausalLM,
    embedding: DigitEmbedding,
    tokenizer: Tokenizer,
    rng: random.Random,
    *,
    out: Path,
) -> None:
    """Train for the steps of one stage, on text written with `rng`."""
    started = time.perf_counter()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    model.model.embed_tokens.weight.requires_grad_(requires_grad=False)
    others = [parameter for parameter in model.model.parameters() if parameter.ndim == 1] + list(embedding.parameters())
    muon = Muon(parameter for parameter in model.model.layers.parameters() if parameter.ndim == 2)
    adam = torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    for step in range(stage.num_steps):
        length = LENGTHS[0] if step < WARMUP_STEPS else LENGTHS[step % len(LENGTHS)]
        rows = draw_rows(rng, tokenizer, TOKENS_PER_STEP // length, length, stage.emphasis, stage.mix)
        loss = weighted_loss(model, embedding.folded(), rows)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        factor = stage.learning_rate_factor(step)
        muon.step(PEAK_MATRICES * factor)
        for group in adam.param_groups:
            group["lr"] = PEAK_EMBEDDING * factor
        adam.step()
        model.zero_grad()
        embedding.zero_grad()
        if (step + 1) % 50 == 0:
            say(f"step {step + 1} length {length} loss {loss.item():.4f} after {time.perf_counter() - started:.0f} s")
        if (step + 1) % REPORT_EVERY == 0 or step + 1 == stage.num_steps:
            with torch.no_grad():
                model.model.embed_tokens.weight.copy_(embedding.folded())
                if step + 1 == stage.num_steps:
                    for parameter, former in zip(model.parameters(), before, strict=True):
                        parameter.copy_(torch.lerp(former, parameter, stage.blend))
            save(model, tokenizer, out)
            progress = (
                f"{subject.name} {teacher_forced(model, tokenizer, subject):.1%}" for subject in examination(scale=0.05)
            )
            say("  " + "; ".join(progress))


def save(model: LlamaForCausalLM, tokenizer: Tokenizer, out: Path) -> None:
    """Write weights, config and generation config, readable for everybody."""
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.token_to_id(BEGIN),
        eos_token_id=tokenizer.token_to_id(END),
        pad_token_id=tokenizer.token_to_id(PAD),
        do_sample=False,
    )
    model.save_pretrained(out)
    (out / "model.safetensors").chmod(0o644)


def say(line: str) -> None:
    """Progress goes to standard output at once, also into a file."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Read the command line, train, examine; status 1 when a stated accuracy is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the model folder to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_memory()
    started = time.perf_counter()
    train(arguments.out, STAGES, arguments.seed)
    seconds = time.perf_counter() - started
    say(f"trained in {seconds:.0f} s; examining")
    marks = evaluate(arguments.out)
    say(as_table(marks))
    training = Training(
        num_steps=sum(stage.num_steps for stage in STAGES),
        num_tokens=sum(stage.num_steps for stage in STAGES) * TOKENS_PER_STEP,
        seconds=round(seconds, 1),
        num_threads=arguments.threads,
        processor=processor_name(),
        seed=arguments.seed,
    )
    write_report(arguments.out, marks, training)
    return 1 if any(mark.is_missed for mark in marks) else 0


if __name__ == "__main__":
    sys.exit(main())
