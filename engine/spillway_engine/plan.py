"""What one step does and what came of it: all that a runner needs, frozen, and nothing it has to know of scheduling."""

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import msgspec

from spillway_engine.request import Sequence
from spillway_wire.messages import PositionLogprobs


class Row(msgspec.Struct, frozen=True, gc=False):
    """One sequence's share of a step: `num_tokens` known tokens from position `start` on.

    All blocks up to position `start + num_tokens` are allocated. When the share ends at the sequence's last known
    token, the step samples the next one.
    """

    sequence: Sequence
    start: int
    num_tokens: int
    samples: bool


@dataclass(frozen=True, slots=True)
class StepPlan:
    """The rows of a step, decodes before prefill chunks."""

    step: int
    rows: tuple[Row, ...]
    num_tokens: int
    joined: tuple[Sequence, ...] = ()
    """Sequences that got their slot in this plan: a runner (re)builds what it keeps per slot."""
    scrub: tuple[int, ...] = ()
    """Blocks that may hold NaN or Inf from a failed request: the runner zeroes them before anything else."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a runner returns for a plan. Lists run parallel to the plan's rows."""

    token_ids: list[int | None]
    """The sampled token; None for rows that do not sample and for rows that failed."""
    failed: frozenset[int] = frozenset()
    """Indices of rows whose logits held NaN or Inf."""
    logprobs: dict[int, PositionLogprobs] = field(default_factory=dict)
    """By row index, for rows that asked for them."""
    prompt_logprobs: dict[int, tuple[PositionLogprobs, ...]] = field(default_factory=dict)
    """By row index: one entry for each position of the row whose next token is a prompt token."""


class Runner(Protocol):
    """Runs plans on a device: attention, cache writes and sampling lie behind this one seam."""

    def execute(self, plan: StepPlan) -> StepResult:
        """Compute the plan's rows. Raises `MemoryError` or `torch.OutOfMemoryError` if the step does not fit."""
        ...

    def close(self) -> None:
        """Stop threads and free memory. Idempotent."""
        ...


@runtime_checkable
class TellsFacts(Protocol):
    """A runner that can say more of itself and its device, for snapshots."""

    def facts(self) -> dict[str, Any]:
        """Return plain values."""
        ...
