"""Schedulers to try rules on: short names for sequences, and steps whose runner always samples token 1."""

from typing import Any

from spillway_engine.plan import StepPlan, StepResult
from spillway_engine.request import Request, Sequence
from spillway_engine.scheduling.scheduler import Schedule, Scheduler
from spillway_engine.settings import SchedulerSettings
from spillway_wire.sampling import SamplingParams

SECOND = 1_000_000_000


class Bench:
    """A scheduler with short names for its sequences; each step samples token 1."""

    def __init__(self, **changes: Any) -> None:
        defaults: dict[str, Any] = {
            "max_num_seqs": 8, "max_num_batched_tokens": 16, "max_model_len": 256, "block_size": 4, "num_blocks": 64,
        }  # fmt: skip
        self.scheduler = Scheduler(SchedulerSettings(**{**defaults, **changes}))
        self.names: dict[Sequence, str] = {}

    def add(
        self, name: str, length: int, *, priority: int = 0, resumed: int = 0, alone: bool = False,
        deadline_s: float | None = None, choices: int = 1,
    ) -> list[Sequence]:  # fmt: skip
        number = len(self.names) + 1
        request = Request(
            key=("client", name, 1),
            prompt_token_ids=[number * 1000 + position for position in range(length)],
            params=SamplingParams(),
            arrival=number,
            priority=priority,
            deadline_ns=None if deadline_s is None else round(deadline_s * SECOND),
            alone=alone,
            resumed=resumed > 0,
        )
        sequences = [Sequence(request, c, max_output_tokens=99, resumed_tokens=[1] * resumed) for c in range(choices)]
        for sequence in sequences:
            self.names[sequence] = name if choices == 1 else f"{name}{sequence.choice}"
        self.scheduler.add(sequences)
        return sequences

    def schedule(self, now_s: float = 0.0) -> Schedule:
        return self.scheduler.schedule(round(now_s * SECOND))

    def step(self, now_s: float = 0.0) -> list[tuple[str, int]]:
        """Plan and settle one step; return its rows as (name, tokens)."""
        plan = self.schedule(now_s).plan
        if plan is None:
            return []
        self.settle(plan)
        self.scheduler.check_integrity()
        return [(self.names[row.sequence], row.num_tokens) for row in plan.rows]

    def settle(self, plan: StepPlan) -> None:
        self.scheduler.settle(plan, StepResult([1 if row.samples else None for row in plan.rows]))


def scheduler_of(num_blocks: int, *, max_num_seqs: int = 8, tokens: int = 64, prefix_caching: bool = True) -> Scheduler:
    return Scheduler(
        SchedulerSettings(
            max_num_seqs=max_num_seqs, max_num_batched_tokens=tokens, max_model_len=256, block_size=4,
            num_blocks=num_blocks, prefix_caching=prefix_caching,
        )
    )  # fmt: skip


def sequences_of(
    arrival: int, prompt: list[int], *, choices: int = 1, priority: int = 0, salt: str = "",
    prompt_logprobs: int | None = None, resumed: tuple[int, ...] = (),
) -> list[Sequence]:  # fmt: skip
    request = Request(
        key=("client", str(arrival), 1), prompt_token_ids=prompt, arrival=arrival, priority=priority, cache_salt=salt,
        params=SamplingParams(prompt_logprobs=prompt_logprobs), resumed=bool(resumed),
    )  # fmt: skip
    return [Sequence(request, choice, max_output_tokens=99, resumed_tokens=resumed) for choice in range(choices)]


def sequence_of(arrival: int, prompt: list[int], **rest: Any) -> Sequence:
    return sequences_of(arrival, prompt, **rest)[0]


def step(scheduler: Scheduler) -> StepPlan:
    plan = scheduler.schedule(0).plan
    assert plan is not None
    scheduler.settle(plan, StepResult([1 if row.samples else None for row in plan.rows]))
    scheduler.check_integrity()
    return plan


def rows(plan: StepPlan) -> list[tuple[Sequence, int, int]]:
    return [(row.sequence, row.start, row.num_tokens) for row in plan.rows]


def distinct(number: int, length: int) -> list[int]:
    return [number * 100 + position for position in range(length)]
