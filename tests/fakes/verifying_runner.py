"""A model that cannot be fooled: it computes nothing, and checks everything it is asked.

Its next token is a hash of all tokens so far, and for every row it looks up each earlier position in the cache that the
block table names: there must lie the right token at the right position, written by somebody who had the right to.
Wrong sharing, early reuse, stale or unscrubbed blocks fail at once.
"""

from collections.abc import Iterator
from collections.abc import Sequence as Seq

from spillway_engine.core import EngineCore
from spillway_engine.plan import Row, StepPlan, StepResult
from spillway_engine.request import Sequence
from spillway_engine.scheduling.waiting import importance
from spillway_engine.settings import SchedulerSettings
from spillway_wire.messages import PositionLogprobs, Submit, TokenLogprob
from spillway_wire.outcomes import FinishReason

VOCAB = 11
EOS = 0
NAN = (-1, -1)


def next_token(tokens: Seq[int], seed: int, choice: int) -> int:
    return hash((*tokens, seed, choice)) % VOCAB


def undisturbed(message: Submit, choice: int, context: int, cache: int) -> tuple[list[int], FinishReason]:
    """What a choice's output is when nothing else happens: the oracle, which shares no code with the engine."""
    prompt, params = message.prompt_token_ids, message.params
    most = min(params.max_tokens or context, context - len(prompt), cache - len(prompt) + 1)
    output: list[int] = []
    while len(output) < most:
        output.append(next_token([*prompt, *output], params.seed, choice))
        if (output[-1] == EOS and not params.ignore_eos) or output[-1] in params.stop_token_ids:
            return output, FinishReason.STOP
    return output, FinishReason.LENGTH


class InjectedError(Exception):
    """A fault of the device that is none of the engine's business."""


class VerifyingRunner:
    def __init__(self, limits: SchedulerSettings) -> None:
        self.limits = limits
        self.cache: dict[tuple[int, int], tuple[int, int]] = {}
        self.slots: dict[int, Sequence] = {}
        self.core: EngineCore
        self.raises: Exception | None = None
        self.fails_row: int | None = None
        self.rows_seen = 0
        self.struck: set[tuple[str, str, int]] = set()
        """Requests that were given NaN, or had a step to themselves when memory ran out."""

    def execute(self, plan: StepPlan) -> StepResult:
        self.check_plan(plan)
        self.rows_seen += len(plan.rows)
        for block in plan.scrub:
            for offset in range(self.limits.block_size):
                self.cache.pop((block, offset), None)
        for sequence in plan.joined:
            assert sequence.slot is not None
            self.slots[sequence.slot] = sequence
        if self.raises is not None:
            error, self.raises = self.raises, None
            if len(plan.rows) == 1:
                self.struck.add(plan.rows[0].sequence.request.key)
            raise error
        failing = None if self.fails_row is None else self.fails_row % len(plan.rows)
        self.fails_row = None
        tokens: list[int | None] = []
        prompt_logprobs = {}
        for index, row in enumerate(plan.rows):
            self.check_cache(row)
            self.write(row, nan=index == failing)
            sequence = row.sequence
            if index == failing:
                self.struck.add(sequence.request.key)
            samples = row.samples and index != failing
            tokens.append(next_token(sequence.tokens, sequence.params.seed, sequence.choice) if samples else None)
            if sequence.params.prompt_logprobs is not None:
                ahead = sequence.tokens[row.start + 1 : min(row.start + row.num_tokens + 1, sequence.num_prompt)]
                prompt_logprobs[index] = tuple(logprob_of(token) for token in ahead)
        failed = frozenset(() if failing is None else (failing,))
        return StepResult(tokens, failed=failed, prompt_logprobs=prompt_logprobs)

    def close(self) -> None:
        pass

    def check_plan(self, plan: StepPlan) -> None:
        assert plan.rows
        sequences = [row.sequence for row in plan.rows]
        assert len(set(sequences)) == len(sequences) <= self.limits.max_num_seqs
        assert plan.num_tokens == sum(row.num_tokens for row in plan.rows) <= self.limits.max_num_batched_tokens
        assert set(plan.joined) <= set(sequences)
        if any(sequence.request.alone for sequence in sequences):
            assert len(sequences) == 1
        barrier = self.core._scheduler._placement.barrier
        if barrier is not None:  # nobody was preempted for somebody less important
            assert all(importance(s) < barrier for s in self.core._scheduler._running.ordered)
        for row in plan.rows:
            sequence, end = row.sequence, row.start + row.num_tokens
            assert row.num_tokens >= 1
            assert row.start == sequence.num_computed
            assert end <= len(sequence.tokens)
            assert row.samples == (end == len(sequence.tokens))
            assert len(sequence.block_ids) * self.limits.block_size >= end
            written = {block for block, _ in places(row, self.limits.block_size)}
            for other in self.core._scheduler._running.ordered:
                assert other is sequence or written.isdisjoint(other.block_ids), "a shared block is written"

    def check_cache(self, row: Row) -> None:
        sequence, size = row.sequence, self.limits.block_size
        assert sequence.slot is not None
        assert self.slots[sequence.slot] is sequence, "the runner was not told whose slot this is"
        for position in range(row.start):
            place = (sequence.block_ids[position // size], position % size)
            assert self.cache[place] == (sequence.tokens[position], position)
        for block in sequence.block_ids:  # kernels read whole blocks, and 0 * NaN is NaN
            assert all(self.cache.get((block, offset)) != NAN for offset in range(size)), f"NaN in block {block}"

    def write(self, row: Row, *, nan: bool) -> None:
        for position, place in enumerate(places(row, self.limits.block_size), row.start):
            self.cache[place] = NAN if nan else (row.sequence.tokens[position], position)


def places(row: Row, size: int) -> Iterator[tuple[int, int]]:
    for position in range(row.start, row.start + row.num_tokens):
        yield row.sequence.block_ids[position // size], position % size


def logprob_of(token: int) -> PositionLogprobs:
    return PositionLogprobs(chosen=TokenLogprob(token_id=token, logprob=-1.0, rank=1))
