"""Runs step plans through a transformers model: packs the rows, runs the model, samples on the CPU."""

from collections.abc import Sequence as Seq
from typing import cast

import numpy as np
import numpy.typing as npt
import torch

from spillway_engine.hf.model import PagedModel
from spillway_engine.hf.packing import ROW_MULTIPLE, PackedStep
from spillway_engine.plan import Row, StepPlan, StepResult
from spillway_engine.sampling.sampler import CpuSampler
from spillway_engine.settings import SchedulerSettings
from spillway_wire.messages import PositionLogprobs

Logits = npt.NDArray[np.float32]


class HfRunner:
    """The `Runner` of models that have no native decoder.

    It owns the model's cache, of exactly `model.cache_bytes(num_blocks, block_size)` bytes.
    """

    def __init__(self, model: PagedModel, limits: SchedulerSettings, *, eos_token_ids: Seq[int] = ()) -> None:
        self._model = model
        self._block_size = limits.block_size
        self._null_block = limits.num_blocks
        self._sampler = CpuSampler(limits.max_num_seqs, model.vocab_size, eos_token_ids)
        model.state.allocate(limits.num_blocks, limits.block_size, model.device)

    def execute(self, plan: StepPlan) -> StepResult:
        """Compute a plan's rows (see `Runner`)."""
        self._scrub(plan.scrub)
        for sequence in plan.joined:
            self._sampler.join(sequence)
        sampling = [index for index, row in enumerate(plan.rows) if row.samples]
        asked = {index: following for index, row in enumerate(plan.rows) if (following := _prompt_targets(row))}
        ends = np.cumsum([row.num_tokens for row in plan.rows])
        starts = ends - [row.num_tokens for row in plan.rows]
        wanted = [int(ends[index]) - 1 for index in sampling]
        for index, following in asked.items():
            wanted.extend(range(starts[index], starts[index] + len(following)))
        logits = self._compute(plan.rows, wanted)
        tokens, failed, logprobs = self._sample(plan.rows, sampling, logits)
        return StepResult(tokens, failed, logprobs, self._prompt_logprobs(plan.rows, asked, logits[len(sampling) :]))

    def logits(self, rows: Seq[Row]) -> Logits:
        """Compute rows and return the logits of each one's last token, [rows, vocab_size]. Nothing is sampled."""
        ends = np.cumsum([row.num_tokens for row in rows])
        return self._compute(rows, [int(end) - 1 for end in ends])

    def close(self) -> None:
        """Free the cache. Idempotent."""
        self._model.state.caches = {}

    def _scrub(self, blocks: Seq[int]) -> None:
        if blocks:
            which = torch.tensor(blocks, device=self._model.device)
            for cache in self._model.state.caches.values():
                cache.zero(which)

    def _compute(self, rows: Seq[Row], wanted: list[int]) -> Logits:
        """Run the rows and return the logits of the `wanted` packed tokens, padded as every product is."""
        with torch.inference_mode():
            step = PackedStep(rows, block_size=self._block_size, null_block=self._null_block, device=self._model.device)
            padded = wanted + [0] * max(-len(wanted) % ROW_MULTIPLE, 0 if wanted else ROW_MULTIPLE)
            logits = self._model.logits(step, torch.tensor(padded, device=self._model.device))
            return cast("Logits", np.ascontiguousarray(logits[: len(wanted)].cpu().numpy()))

    def _sample(
        self, rows: Seq[Row], sampling: list[int], logits: Logits
    ) -> tuple[list[int | None], frozenset[int], dict[int, PositionLogprobs]]:
        sequences = [rows[index].sequence for index in sampling]
        slots = [sequence.slot for sequence in sequences if sequence.slot is not None]
        self._sampler.prepare(slots, [sequence.num_output for sequence in sequences])
        self._sampler.sample_rows(logits, 0, len(sampling))
        sampled, failed = self._sampler.finish(len(sampling))
        tokens: list[int | None] = [None] * len(rows)
        logprobs = {}
        for at, (index, token) in enumerate(zip(sampling, sampled, strict=True)):
            tokens[index] = token
            num_top = rows[index].sequence.params.logprobs
            if token is not None and num_top is not None:
                entry = self._sampler.logprobs(logits[at], token, num_top)
                if entry is not None:
                    logprobs[index] = entry
        return tokens, frozenset(sampling[at] for at in failed), logprobs

    def _prompt_logprobs(
        self, rows: Seq[Row], asked: dict[int, list[int]], logits: Logits
    ) -> dict[int, tuple[PositionLogprobs, ...]]:
        found = {}
        at = 0
        for index, following in asked.items():
            num_top = rows[index].sequence.params.prompt_logprobs or 0
            entries = [
                self._sampler.logprobs(row, token, num_top)
                for row, token in zip(logits[at : at + len(following)], following, strict=True)
            ]
            at += len(following)
            found[index] = tuple(entry for entry in entries if entry is not None)
        return found


def _prompt_targets(row: Row) -> list[int]:
    """Return the prompt tokens that follow the row's positions, if their log-probabilities are wanted."""
    sequence = row.sequence
    if not sequence.wants_prompt_logprobs:
        return []
    return sequence.tokens[row.start + 1 : min(row.start + row.num_tokens + 1, sequence.num_prompt)]
