"""Measuring whether a request's logits depend on what else is computed beside it.

The same sequences are computed again and again, cut and grouped differently, and each position's logits must come out
with the same bits every time. It works for any runner that can show logits: `forward` takes rows as a step has them
(whose sequences hold blocks already) and returns the logits of each row's last token, having written the cache.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from spillway_engine.plan import Row
from spillway_engine.request import Request
from spillway_engine.request import Sequence as TokenSequence
from spillway_engine.settings import SchedulerSettings
from spillway_wire.messages import Exactness
from spillway_wire.sampling import SamplingParams

Logits = npt.NDArray[np.float32]
Forward = Callable[[Sequence[Row]], Logits]
"""Rows to logits of each row's last token, [rows, vocab_size]."""

Step = list[tuple[int, int, int]]
"""Which sequence, from which position, how many tokens."""

_NUM_DECODES = 2
LENGTHS = (150, 9, 70, 33, 3, 16, 21, 41, 5, 64, 12)


def measure_exactness(
    forward: Forward, *, vocab_size: int, limits: SchedulerSettings, lengths_wanted: Sequence[int] = LENGTHS
) -> Exactness:
    """Compute a handful of sequences in several ways; `EXACT` if all logits are equal bit for bit.

    It fits into the cache and the step that `limits` allow, and leaves nonsense in the blocks it used. Where a step
    holds one token only there is nothing to compare, and nothing is promised.
    """
    lengths = _fitting_lengths(limits, lengths_wanted)
    if not lengths:
        return Exactness.LOGICAL
    sequences = _probe_sequences(lengths, vocab_size, limits.block_size)
    reference: dict[tuple[int, int], Logits] = {}
    for schedule in _schedules(lengths):
        for step in schedule:
            rows = [Row(sequences[index], start, count, samples=True) for index, start, count in step]
            for (index, start, count), logits in zip(step, forward(rows), strict=True):
                position = (index, start + count - 1)
                known = reference.setdefault(position, logits.copy())
                if not np.array_equal(known.view(np.int32), logits.view(np.int32)):
                    return Exactness.LOGICAL
    return Exactness.EXACT


def probe_sequence(tokens: list[int], first_block: int, block_size: int) -> TokenSequence:
    """Return a sequence that holds consecutive blocks for all of its tokens."""
    request = Request(key=("probe", "probe", 1), prompt_token_ids=tokens, params=SamplingParams(), arrival=0)
    sequence = TokenSequence(request, 0, max_output_tokens=1)
    sequence.block_ids = list(range(first_block, first_block - (-len(tokens) // block_size)))
    return sequence


def _fitting_lengths(limits: SchedulerSettings, lengths_wanted: Sequence[int]) -> list[int]:
    """As many sequences of as different lengths as fit; all are decoded in full, but for a lone one of two tokens."""
    lengths: list[int] = []
    tokens, blocks = limits.max_num_batched_tokens, limits.num_blocks
    for wanted in lengths_wanted:
        length = min(wanted, limits.max_model_len, tokens, blocks * limits.block_size)
        shortest = _NUM_DECODES + 1 if lengths else _NUM_DECODES
        if length < shortest or len(lengths) == limits.max_num_seqs:
            break
        lengths.append(length)
        tokens -= length
        blocks -= -(-length // limits.block_size)
    return lengths


def _probe_sequences(lengths: list[int], vocab_size: int, block_size: int) -> list[TokenSequence]:
    generator = np.random.default_rng(0)
    first_block = 0
    sequences = []
    for length in lengths:
        tokens = [int(token) for token in generator.integers(0, vocab_size, length)]
        sequences.append(probe_sequence(tokens, first_block, block_size))
        first_block += len(sequences[-1].block_ids)
    return sequences


def _schedules(lengths: list[int]) -> Iterator[list[Step]]:
    """Each cuts every sequence in its own way; positions that several of them sample are compared."""
    everyone = range(len(lengths))
    prompts = {index: max(lengths[index] - _NUM_DECODES, 1) for index in everyone}

    def decodes(index: int) -> Iterator[tuple[int, int, int]]:
        return ((index, position, 1) for position in range(prompts[index], lengths[index]))

    # alone: a whole prompt, then decodes
    yield [[row] for index in everyone for row in ((index, 0, prompts[index]), *decodes(index))]
    # together: all prompts in one step, then all decodes in one
    yield [[(i, 0, prompts[i]) for i in everyone], *(list(step) for step in zip(*map(decodes, everyone), strict=False))]
    # recomputed: what was decoded comes as part of the prompt, half of the company missing
    yield [[(i, 0, lengths[i]) for i in everyone if i % 2 == side] for side in (0, 1) if side < len(lengths)]
    # in pieces, each beside a piece of another's
    yield from ([list(step) for step in _side_by_side(prompts, size)] for size in (7, 24))


def _side_by_side(prompts: dict[int, int], size: int) -> Iterator[Step]:
    longest = max(prompts.values())
    for start in range(0, longest, size):
        yield [(i, start, min(size, prompt - start)) for i, prompt in prompts.items() if start < prompt]
