"""A core at a desk: a runner that counts instead of computing, a ticking clock, a client that keeps what it hears."""

from collections.abc import Callable, Iterable
from typing import Any

from spillway_engine.core import EngineCore
from spillway_engine.plan import StepPlan, StepResult
from spillway_engine.reports import StepReport
from spillway_engine.settings import SchedulerSettings
from spillway_wire.messages import Delta, PositionLogprobs, Submit, TokenLogprob
from spillway_wire.sampling import SamplingParams

EOS = 0
STOP_TOKEN = 7
SECOND = 1_000_000_000


def logprobs_of(token: int) -> PositionLogprobs:
    return PositionLogprobs(chosen=TokenLogprob(token_id=token, logprob=-0.5, rank=1))


class CountingRunner:
    """Samples 1, 2, 3, … per output position; `script` may say something else, and `fault` is called first."""

    def __init__(self) -> None:
        self.plans: list[StepPlan] = []
        self.script: dict[int, int] = {}
        self.fault: Callable[[StepPlan], frozenset[int]] | None = None

    def execute(self, plan: StepPlan) -> StepResult:
        self.plans.append(plan)
        failed = frozenset[int]() if self.fault is None else self.fault(plan)
        tokens = [
            self.script.get(row.sequence.num_output, row.sequence.num_output + 1)
            if row.samples and index not in failed
            else None
            for index, row in enumerate(plan.rows)
        ]
        logprobs = {
            index: logprobs_of(token)
            for index, (row, token) in enumerate(zip(plan.rows, tokens, strict=True))
            if token is not None and row.sequence.params.logprobs is not None
        }
        prompt_logprobs = {
            index: tuple(
                logprobs_of(token)
                for token in row.sequence.request.prompt_token_ids[row.start + 1 : row.start + row.num_tokens + 1]
            )
            for index, row in enumerate(plan.rows)
            if row.sequence.params.prompt_logprobs is not None
        }
        return StepResult(tokens, failed, logprobs, prompt_logprobs)

    def close(self) -> None:
        pass


class Desk:
    """A core with a clock that each reading moves by one nanosecond, and a client that keeps what it is told."""

    def __init__(self, **changes: Any) -> None:
        defaults: dict[str, Any] = {
            "max_num_seqs": 4, "max_num_batched_tokens": 8, "max_model_len": 32, "block_size": 4, "num_blocks": 16,
        }  # fmt: skip
        self.runner = CountingRunner()
        self.now_ns = 0
        self.core = EngineCore(
            SchedulerSettings(**{**defaults, **changes}),
            self.runner,
            vocab_size=100,
            eos_token_ids=(EOS,),
            clock_ns=self.clock_ns,
        )
        self.deltas: list[tuple[str, Delta]] = []

    def clock_ns(self) -> int:
        self.now_ns += 1
        return self.now_ns

    def submit(self, request_id: str = "r", *, prompt: int = 4, client: str = "c", **rest: Any) -> None:
        fields = {"prompt_token_ids": list(range(10, 10 + prompt)), "params": SamplingParams(max_tokens=3), **rest}
        self.core.submit(client, Submit(request_id=request_id, **fields))

    def step(self) -> StepReport | None:
        report = self.core.step()
        if report is not None:
            self.deltas += report.deltas
        self.core.check_integrity()
        return report

    def run(self) -> list[Delta]:
        while self.core.has_work:
            assert self.step() is not None
        assert self.core.step() is None
        return [delta for _, delta in self.deltas]


def tokens_of(deltas: Iterable[Delta], choice: int = 0) -> list[int]:
    return [token for delta in deltas if delta.choice == choice for token in delta.token_ids]


def raise_once(runner: CountingRunner, error: Exception) -> None:
    def fault(_plan: StepPlan) -> frozenset[int]:
        runner.fault = None
        raise error

    runner.fault = fault
