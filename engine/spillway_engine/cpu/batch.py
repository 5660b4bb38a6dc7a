"""A step's plan as the arrays that the program reads: filled in place, for its threads know their addresses."""

from collections.abc import Sequence as Seq

import numpy as np

from spillway_engine.compiled import Array
from spillway_engine.cpu.program import LOGIT_ROWS, SAMPLED_ROWS, SKIP_BODY, TASKS, TOKENS, Step
from spillway_engine.plan import Row
from spillway_engine.request import Sequence
from spillway_engine.settings import SchedulerSettings


class Batch:
    """Owns the step arrays. The block table stays from step to step; only what is new in a row is written."""

    def __init__(self, limits: SchedulerSettings, task_tokens: int) -> None:
        tokens, slots = limits.max_num_batched_tokens, limits.max_num_seqs
        self.step = Step(
            counts=np.zeros(8, np.int64),
            tokens=np.zeros(tokens, np.int32),
            positions=np.zeros(tokens, np.int32),
            token_slots=np.zeros(tokens, np.int32),
            task_first=np.zeros(tokens, np.int32),
            task_length=np.zeros(tokens, np.int32),
            logit_rows=np.zeros(slots, np.int32),
            block_table=np.zeros(slots * limits.max_blocks_per_seq, np.int32),
        )
        self._table = self.step.block_table.reshape(slots, limits.max_blocks_per_seq)
        self._known_blocks = [0] * slots
        self._task_tokens = task_tokens

    def join(self, sequence: Sequence) -> None:
        """Forget what the sequence's slot held before."""
        if sequence.slot is not None:
            self._known_blocks[sequence.slot] = 0

    def fill(self, rows: Seq[Row]) -> tuple[list[int], list[int], list[int]]:
        """Write a step's rows; return, for those that sample, their index, slot and output position."""
        tokens: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        first: list[int] = []
        length: list[int] = []
        ends: list[int] = []
        sampling: tuple[list[int], list[int], list[int]] = ([], [], [])
        for index, row in enumerate(rows):
            sequence, start, count = row.sequence, row.start, row.num_tokens
            slot: int = sequence.slot  # type: ignore[assignment]  # a planned sequence has one
            blocks = sequence.block_ids
            if len(blocks) != self._known_blocks[slot]:
                known = self._known_blocks[slot]
                self._table[slot, known : len(blocks)] = blocks[known:]
                self._known_blocks[slot] = len(blocks)
            at = len(tokens)
            if count == 1:
                tokens.append(sequence.tokens[start])
                positions.append(start)
                slots.append(slot)
                first.append(at)
                length.append(1)
            else:
                tokens += sequence.tokens[start : start + count]
                positions += range(start, start + count)
                slots += [slot] * count
                pieces = range(0, count, self._task_tokens)
                first += [at + piece for piece in pieces]
                length += [min(self._task_tokens, count - piece) for piece in pieces]
            if row.samples:
                ends.append(at + count - 1)
                sampling[0].append(index)
                sampling[1].append(slot)
                sampling[2].append(start + count - sequence.num_prompt)
        step = self.step
        step.tokens[: len(tokens)] = tokens
        step.positions[: len(tokens)] = positions
        step.token_slots[: len(tokens)] = slots
        step.task_first[: len(first)] = first
        step.task_length[: len(first)] = length
        step.logit_rows[: len(ends)] = ends
        counts = step.counts
        counts[TOKENS], counts[TASKS], counts[LOGIT_ROWS] = len(tokens), len(first), len(ends)
        counts[SAMPLED_ROWS], counts[SKIP_BODY] = len(ends), 0
        return sampling

    def ask_logits(self, packed: Array) -> None:
        """Prepare a run of the head alone, for tokens of the step that has just run."""
        counts = self.step.counts
        self.step.logit_rows[: len(packed)] = packed
        counts[LOGIT_ROWS], counts[SAMPLED_ROWS], counts[SKIP_BODY] = len(packed), 0, 1
