"""How long a step takes on this machine, measured once, before anybody waits for one.

Whoever watches an engine judges a step by what such steps took before (see `process.progress`). For the first one there
would be nothing to go by, and a large model's first chunk takes as long as another's hang.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

from spillway_engine.exactness import probe_sequence
from spillway_engine.plan import Row, Runner, StepPlan
from spillway_engine.settings import SchedulerSettings

_NUM_TOKENS = 64
"""Enough that the weights' reading is shared; larger steps are estimated in proportion, which is on the safe side."""


class StepTime(NamedTuple):
    """A step of `num_tokens` took `took_ns` nanoseconds."""

    num_tokens: int
    took_ns: int


def time_step(
    runner: Runner, *, vocab_size: int, limits: SchedulerSettings, clock_ns: Callable[[], int] = time.perf_counter_ns
) -> StepTime:
    """Run a small chunk of a prompt, and sample, as any step does; return how long it took.

    One step goes before it: what only a whole step uses may have to be compiled. Blocks and slot hold nonsense then.
    """
    room = min(limits.max_num_batched_tokens, limits.max_model_len - 1, limits.num_blocks * limits.block_size)
    num_tokens = min(room, _NUM_TOKENS)
    sequence = probe_sequence([index % vocab_size for index in range(num_tokens)], 0, limits.block_size)
    sequence.slot = 0
    plan = StepPlan(0, (Row(sequence, 0, num_tokens, samples=True),), num_tokens, joined=(sequence,))
    runner.execute(plan)
    started_ns = clock_ns()
    runner.execute(plan)
    return StepTime(num_tokens, clock_ns() - started_ns)
