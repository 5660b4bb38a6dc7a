"""The router: which engine a request goes to. Pure: a snapshot in, a choice out.

Candidates are engines that are ready. Each that may be sent to gets a score, the lowest wins. The score is the work, in
tokens, that lies between the request and its first token there, and what it then has to share the engine with::

    own prompt tokens that the engine does not have in its cache          affinity is worth just what it saves
  + prompt tokens that the engine has still to compute for others         exact, pushed by the engine each step
  + SHARE_TOKENS for each sequence that runs or waits there               a step gets slower with every row
  + SLOT_TOKENS for each sequence that has to end before this one starts  no slot is free
  + a block's tokens for each block short                                 somebody would be preempted

So an idle engine is chosen over a busy one unless the busy one's cache saves more than its queue costs. Equal scores
go to the engine that was chosen longest ago.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from spillway.pool.capacity import Estimate
from spillway_wire.messages import Capacity

SHARE_TOKENS = 8
SLOT_TOKENS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One engine as the router sees it."""

    engine_id: str
    credits: int
    capacity: Capacity
    estimate: Estimate
    matched_tokens: int = 0
    """Of this request's prompt, probably in its cache."""
    last_chosen: int = 0
    """Rises with every choice; 0: never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a request takes."""

    num_tokens: int
    """Prompt, and outputs so far."""
    num_sequences: int
    fresh: bool = True
    """Continuations need no credit."""


def choose(candidates: Iterable[Candidate], need: Need) -> Candidate | None:
    """Return the best engine for `need`, None if none may be sent to now."""
    able = [c for c in candidates if c.credits > 0 or not need.fresh]
    if len(able) < 2:
        return able[0] if able else None
    return min(able, key=lambda c: (score(c, need), c.last_chosen, c.engine_id))


def score(candidate: Candidate, need: Need) -> int:
    """Return the work between the request and its first token on this engine; see the module."""
    estimate, capacity = candidate.estimate, candidate.capacity
    own = max(1, need.num_tokens - candidate.matched_tokens)  # the last token of a prompt is always computed
    slots_short = max(0, estimate.sequences + need.num_sequences - capacity.max_num_seqs)
    blocks_short = max(0, -(-own // capacity.block_size) - estimate.free_blocks)
    return (
        own
        + estimate.prefill_tokens
        + SHARE_TOKENS * estimate.sequences
        + SLOT_TOKENS * slots_short
        + capacity.block_size * blocks_short
    )
