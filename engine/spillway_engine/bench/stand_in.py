"""An engine without a model: `python -m spillway_engine.bench.stand_in`, with the flags of `python -m spillway_engine`.

Process, channels, scheduler, cache book-keeping, faults and drain are the real ones; only the runner is not: it knows
every token beforehand, computes nothing, and so is ready at once and as fast as its step loop. What it shows is
therefore the cost, and the exactness, of everything around a model.

A model folder gives it vocabulary, end-of-sequence tokens and context; no weights are read. Token i of a choice is
`token_at(prompt, choice, i)`, whatever the batch, the parameters or the attempt; an answer ends at `max_tokens`.
`SPILLWAY_STAND_IN_STEP_S` makes each step take that long.
"""

import os
import sys
import time
import zlib
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from spillway_engine.core import EngineCore
from spillway_engine.plan import Row, StepPlan, StepResult
from spillway_engine.process.main import main
from spillway_engine.settings import EngineSettings, SchedulerSettings, served_name
from spillway_text.fields import Fields
from spillway_text.folders import resolve_model
from spillway_text.text import read_eos_token_ids
from spillway_wire.messages import Capacity, Exactness, PositionLogprobs, TokenLogprob

STEP_VARIABLE: Final = "SPILLWAY_STAND_IN_STEP_S"
NUM_BLOCKS: Final = 16_384


def token_at(prompt_token_ids: Sequence[int], choice: int, position: int, *, vocab_size: int) -> int:
    """Return a token of an answer: it counts, from a number that the prompt gives, in the vocabulary's last third.

    There a vocabulary has whole words, and no special tokens; in the demo model's it has the numbers 0 to 1023.
    """
    start = zlib.crc32(array("I", prompt_token_ids)) + 7 * choice
    low = vocab_size * 2 // 3
    return low + (start + position) % (vocab_size - low)


class KnowingRunner:
    """Samples what `token_at` says, at the pace it is given."""

    def __init__(self, vocab_size: int, step_s: float, sleep: Callable[[float], None] = time.sleep) -> None:
        self._vocab_size = vocab_size
        self._low = vocab_size * 2 // 3
        self._step_s = step_s
        self._sleep = sleep
        self._first: dict[int | None, int] = {}
        """By slot, the first token's distance from `low`; a sequence keeps its slot from step to step."""

    def execute(self, plan: StepPlan) -> StepResult:
        """Say the next token of every row that samples."""
        if self._step_s:
            self._sleep(self._step_s)
        for sequence in plan.joined:
            first = token_at(sequence.request.prompt_token_ids, sequence.choice, 0, vocab_size=self._vocab_size)
            self._first[sequence.slot] = first - self._low
        span = self._vocab_size - self._low
        tokens: list[int | None] = [
            self._low + (self._first[row.sequence.slot] + row.sequence.num_output) % span if row.samples else None
            for row in plan.rows
        ]
        result = StepResult(tokens)
        for index, (row, token) in enumerate(zip(plan.rows, tokens, strict=True)):
            params = row.sequence.params
            if token is not None and params.logprobs is not None:
                result.logprobs[index] = self._logprobs(token, params.logprobs)
            if params.prompt_logprobs is not None and row.sequence.wants_prompt_logprobs:
                result.prompt_logprobs[index] = self._of_prompt(row, params.prompt_logprobs)
        return result

    def _of_prompt(self, row: Row, num_top: int) -> tuple[PositionLogprobs, ...]:
        known = row.sequence.request.prompt_token_ids[row.start + 1 : row.start + row.num_tokens + 1]
        return tuple(self._logprobs(token, num_top) for token in known)

    def _logprobs(self, token: int, num_top: int) -> PositionLogprobs:
        """Say that each further candidate is half as likely as the one before; the chosen one is the first."""
        top = tuple(
            TokenLogprob(token_id=(token + place) % self._vocab_size, logprob=-0.7 * (place + 1), rank=place + 1)
            for place in range(num_top)
        )
        return PositionLogprobs(chosen=TokenLogprob(token_id=token, logprob=-0.7, rank=1), top=top)

    def close(self) -> None:
        """Nothing to free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """See `spillway_engine.process.core_contract.Loaded`."""

    core: EngineCore
    runner: KnowingRunner
    name: str
    vocab_size: int
    eos_token_ids: tuple[int, ...]
    exactness: Exactness
    capacity: Capacity
    warmup_s: float
    measured_step: None = None


def load_stand_in(settings: EngineSettings, report: Callable[[str, float], None]) -> StandIn:
    """Make a stand-in for the model of `settings`. Raises `ModelError` if there is no such folder."""
    report("weights", 0.0)
    path = resolve_model(settings.model)
    config = Fields.of_file(path / "config.json")
    vocab_size = config.positive("vocab_size")
    eos_token_ids = read_eos_token_ids(path)
    limits = SchedulerSettings(
        max_num_seqs=settings.max_num_seqs,
        max_num_batched_tokens=settings.max_num_batched_tokens or 8192,
        max_model_len=settings.max_model_len or config.positive("max_position_embeddings", 2048),
        block_size=settings.block_size,
        num_blocks=NUM_BLOCKS,
        prefix_caching=settings.prefix_caching,
        step_policy=settings.step_policy,
        batch_wait_s=settings.batch_wait_s,
    )
    runner = KnowingRunner(vocab_size, float(os.environ.get(STEP_VARIABLE, "0")))
    report("warm-up", 1.0)
    return StandIn(
        core=EngineCore(limits, runner, vocab_size=vocab_size, eos_token_ids=eos_token_ids),
        runner=runner,
        name=served_name(settings, path),
        vocab_size=vocab_size,
        eos_token_ids=eos_token_ids,
        exactness=Exactness.EXACT,
        capacity=Capacity(
            max_num_seqs=limits.max_num_seqs,
            max_num_batched_tokens=limits.max_num_batched_tokens,
            max_model_len=limits.max_model_len,
            num_blocks=limits.num_blocks,
            block_size=limits.block_size,
        ),
        warmup_s=0.0,
    )


if __name__ == "__main__":
    sys.exit(main(load=load_stand_in))
