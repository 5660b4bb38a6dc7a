"""What the core says of itself: one frozen report a step, one frozen snapshot when asked."""

from dataclasses import dataclass
from typing import NamedTuple

from spillway_engine.delivery import Addressed
from spillway_engine.memory.blocks import PoolStatistics


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """What a step did. Times in nanoseconds of the core's clock."""

    step: int
    """Of the plan that was run, or of the last one if none was."""
    started_ns: int
    ended_ns: int
    num_tokens: int
    """Computed in this step; 0 if nothing was, or if it did not fit into memory."""
    num_decodes: int
    num_preempted: int
    out_of_memory: bool
    """The step did not fit into memory; what was in it goes on in smaller steps."""
    deltas: list[Addressed]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSnapshot:
    """An engine's counters since its start, and its state now. A request with `n` choices counts once.

    `received = sum(finished.values()) + live`.
    """

    steps: int
    received: int
    live: int
    finished: dict[str, int]
    """Requests by outcome; a request's is that of its first choice that did not complete, if there is one."""
    refused: dict[str, int]
    """Requests that were never taken, by outcome."""
    running: int
    """Sequences."""
    waiting: int
    """Sequences, preempted ones included."""
    waiting_prefill_tokens: int
    prompt_tokens: int
    """Of the requests received."""
    prefill_tokens: int
    """Computed in prefill chunks: less than the prompts by what was found, more by what was computed again."""
    output_tokens: int
    prefix_queries: int
    """Tokens looked up in the prefix cache."""
    prefix_hits: int
    """Tokens found there."""
    preemptions: int
    expired: int
    """Sequences whose deadline passed while they waited."""
    failed_logits: int
    """Sequences that ended because their logits held NaN or Inf."""
    out_of_memory: int
    """Steps that did not fit into memory."""
    blocks: PoolStatistics


class Totals(NamedTuple):
    """The part of a snapshot that is cheap enough for every step; the fields are those of `EngineSnapshot`."""

    preemptions: int
    prefix_queries: int
    prefix_hits: int
    failed_logits: int
    out_of_memory: int


@dataclass(slots=True)
class Counters:
    """The core's own tallies, open to it alone; everybody else sees `EngineSnapshot`."""

    prompt_tokens: int = 0
    prefill_tokens: int = 0
    output_tokens: int = 0
    expired: int = 0
    failed_logits: int = 0
    out_of_memory: int = 0
