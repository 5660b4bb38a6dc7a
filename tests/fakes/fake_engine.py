"""An engine core without a model, for tests of the process around it: every token is known beforehand.

Position i of a request's output is `(sum of the prompt + choice + i) % VOCAB_SIZE`, whatever the batch. Run as a script
it is an engine process: `python fake_engine.py --model fake --address unix:…`.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from spillway_engine.errors import InvalidRequestError
from spillway_engine.plan import Row, Runner, StepPlan, StepResult
from spillway_engine.process.core_contract import Core
from spillway_engine.process.main import main
from spillway_engine.reports import Totals
from spillway_engine.request import Request, Sequence
from spillway_engine.settings import EngineSettings
from spillway_wire.messages import Capacity, Delta, Exactness, Finish, Load, Submit, Usage
from spillway_wire.outcomes import FinishReason, Outcome

VOCAB_SIZE = 1000
CAPACITY = Capacity(max_num_seqs=256, max_num_batched_tokens=2048, max_model_len=2048, num_blocks=8, block_size=16)


def token_at(prompt_token_ids: list[int], position: int, choice: int = 0) -> int:
    return (sum(prompt_token_ids) + choice + position) % VOCAB_SIZE


def expected(prompt_token_ids: list[int], num_tokens: int, choice: int = 0) -> list[int]:
    return [token_at(prompt_token_ids, position, choice) for position in range(num_tokens)]


class FakeRunner:
    """Knows every next token, and can be told to do something first."""

    def __init__(self) -> None:
        self.closed = False

    def execute(self, plan: StepPlan) -> StepResult:
        return StepResult(
            [
                token_at(list(row.sequence.request.prompt_token_ids), row.sequence.num_output, row.sequence.choice)
                for row in plan.rows
            ]
        )

    def close(self) -> None:
        self.closed = True


@dataclass(frozen=True)
class FakeReport:
    step: int
    started_ns: int
    ended_ns: int
    num_tokens: int
    num_decodes: int
    deltas: list[tuple[str, Delta]]


@dataclass(frozen=True)
class FakeSnapshot:
    step: int
    open_requests: list[str]


@dataclass
class FakeCore:
    """All sequences take part in every step and get `tokens_per_step` tokens, of which the runner gives the first."""

    tokens_per_step: int = 1
    runner: Runner = field(default_factory=FakeRunner)
    sequences: list[Sequence] = field(default_factory=list)
    num_steps: int = 0
    next_wakeup_ns: int | None = None
    counted: Totals = field(default_factory=lambda: Totals(0, 0, 0, 0, 0))
    held: int = 0
    ended_as: list[Outcome] = field(default_factory=list)

    @property
    def has_work(self) -> bool:
        return bool(self.sequences)

    def submit(self, client_id: str, message: Submit) -> None:
        if not message.prompt_token_ids:
            raise InvalidRequestError("prompt_token_ids is empty")
        request = Request(
            key=(client_id, message.request_id, message.attempt),
            prompt_token_ids=message.prompt_token_ids,
            params=message.params,
            arrival=self.num_steps,
        )
        for choice in message.choices:
            self.sequences.append(
                Sequence(
                    request,
                    choice.index,
                    max_output_tokens=message.params.max_tokens or sys.maxsize,
                    resumed_tokens=choice.output_token_ids,
                )
            )

    def abort(self, client_id: str, request_id: str, attempt: int) -> bool:
        return self._remove(lambda s: s.request.key == (client_id, request_id, attempt)) > 0

    def end_choice(self, client_id: str, request_id: str, attempt: int, choice: int) -> bool:
        key = (client_id, request_id, attempt)
        return self._remove(lambda s: s.request.key == key and s.choice == choice) > 0

    def abort_client(self, client_id: str, outcome: Outcome) -> int:
        self.ended_as.append(outcome)
        return self._remove(lambda s: s.request.key[0] == client_id)

    def _remove(self, leaves: Callable[[Sequence], bool]) -> int:
        before = len(self.sequences)
        self.sequences = [sequence for sequence in self.sequences if not leaves(sequence)]
        return before - len(self.sequences)

    def end_all(self, outcome: Outcome, message: str) -> list[tuple[str, Delta]]:
        ended = [(s.request.key[0], self._delta(s, [], outcome, message)) for s in self.sequences]
        self.sequences = []
        return ended

    def step(self) -> FakeReport | None:
        if not self.sequences or self.held == CAPACITY.num_blocks:
            return None
        self.num_steps += 1
        rows = tuple(Row(sequence, len(sequence.tokens) - 1, 1, samples=True) for sequence in self.sequences)
        result = self.runner.execute(StepPlan(self.num_steps, rows, len(rows)))
        deltas = []
        for index, row in enumerate(rows):
            deltas.append((row.sequence.request.key[0], self._advance(row.sequence, result.token_ids[index])))
        self.sequences = [sequence for sequence in self.sequences if sequence.finish is None]
        started_ns = self.num_steps * 10
        return FakeReport(self.num_steps, started_ns, started_ns + 5, len(rows), len(rows), deltas)

    def _advance(self, sequence: Sequence, first: int | None) -> Delta:
        if first is None:
            return self._delta(sequence, [], Outcome.ENGINE_FAILED, "logits were NaN")
        prompt = list(sequence.request.prompt_token_ids)
        room = sequence.max_output_tokens - sequence.num_output
        more = range(sequence.num_output + 1, sequence.num_output + min(room, self.tokens_per_step))
        tokens = [first, *(token_at(prompt, position, sequence.choice) for position in more)]
        over = len(tokens) == room
        return self._delta(sequence, tokens, Outcome.COMPLETED if over else None, "")

    def _delta(self, sequence: Sequence, tokens: list[int], outcome: Outcome | None, message: str) -> Delta:
        position = sequence.num_output
        sequence.tokens.extend(tokens)
        if outcome is not None:
            usage = Usage(prompt_tokens=sequence.num_prompt, cached_tokens=0, output_tokens=sequence.num_output)
            reason = FinishReason.LENGTH if outcome is Outcome.COMPLETED else None
            sequence.finish = Finish(outcome=outcome, reason=reason, usage=usage, message=message)
        _, request_id, attempt = sequence.request.key
        return Delta(
            request_id=request_id,
            attempt=attempt,
            choice=sequence.choice,
            position=position,
            token_ids=tuple(tokens),
            finish=sequence.finish,
        )

    def load(self) -> Load:
        return Load(running=len(self.sequences), waiting=0, free_blocks=8, waiting_prefill_tokens=0)

    def snapshot(self) -> FakeSnapshot:
        return FakeSnapshot(self.num_steps, [sequence.request.key[1] for sequence in self.sequences])

    def totals(self) -> Totals:
        return self.counted

    def check_if_idle(self) -> None:
        pass

    def wrap_runner(self, wrap: Callable[[Runner], Runner]) -> None:
        self.runner = wrap(self.runner)

    def hold_back(self, num_blocks: int) -> None:
        self.held = num_blocks


@dataclass
class FakeLoaded:
    core: Core = field(default_factory=FakeCore)
    runner: FakeRunner = field(default_factory=FakeRunner)
    name: str = "fake"
    vocab_size: int = VOCAB_SIZE
    eos_token_ids: tuple[int, ...] = (0,)
    exactness: Exactness = Exactness.EXACT
    capacity: Capacity = CAPACITY
    warmup_s: float = 0.5
    measured_step: tuple[int, int] | None = None


def load(_settings: EngineSettings, report: Callable[[str, float], None]) -> FakeLoaded:
    report("weights", 0.5)
    return FakeLoaded()


if __name__ == "__main__":
    sys.exit(main(load=load))
