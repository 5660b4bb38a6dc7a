"""Block pool, scheduler and core together, driven by everything that can happen to them (see `verifying_runner`)."""

from dataclasses import dataclass, field
from types import ModuleType

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from spillway_engine.core import EngineCore
from spillway_engine.errors import RequestTooLargeError
from spillway_engine.reports import StepReport
from spillway_engine.settings import SchedulerSettings, StepPolicy
from spillway_wire.messages import Choice, Delta, Finish, Submit
from spillway_wire.outcomes import FinishReason, Outcome
from spillway_wire.sampling import SamplingParams

SECOND = 1_000_000_000


@dataclass
class Expected:
    """What a client knows of a choice of its request."""

    message: Submit
    output: list[int]
    reason: FinishReason
    got: list[int]
    resumed: int
    deadline_ns: int | None
    finish: Finish | None = None
    prompt_logprobs: list[int] = field(default_factory=list)


POLICIES = st.sampled_from(list(StepPolicy))


class EngineMachine(RuleBasedStateMachine):
    verifying: ModuleType
    """The runner's module."""

    @initialize(
        policy=POLICIES,
        num_blocks=st.integers(4, 20),
        max_num_seqs=st.integers(1, 5),
        tokens=st.integers(5, 24),
        caching=st.booleans(),
        wait=st.sampled_from([0.0, 0.0, 2.0]),
        ahead=st.booleans(),
    )
    def start(  # noqa: PLR0917 - hypothesis names them all
        self,
        policy: StepPolicy,
        num_blocks: int,
        max_num_seqs: int,
        tokens: int,
        caching: bool,
        wait: float,
        ahead: bool,
    ) -> None:
        self.limits = SchedulerSettings(
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=tokens,
            max_model_len=40,
            block_size=4,
            num_blocks=num_blocks,
            prefix_caching=caching,
            step_policy=policy,
            batch_wait_s=wait,
            runs_ahead=ahead,
        )
        self.now_ns = 0
        self.runner = self.verifying.VerifyingRunner(self.limits)
        self.core = EngineCore(
            self.limits,
            self.runner,
            vocab_size=self.verifying.VOCAB,
            eos_token_ids=(self.verifying.EOS,),
            clock_ns=lambda: self.now_ns,
        )
        self.runner.core = self.core
        self.choices: dict[tuple[str, str, int, int], Expected] = {}
        self.num_submitted = 0
        self.num_held = 0

    # ---- what clients do ----

    @rule(
        client=st.sampled_from("ab"),
        pattern=st.integers(1, 2),
        length=st.integers(1, 38),
        max_tokens=st.none() | st.integers(1, 30),
        indices=st.sampled_from([(0,), (0,), (0,), (0, 1), (2, 0, 1)]),
        priority=st.integers(0, 2),
        seed=st.integers(0, 3),
        ignore_eos=st.booleans(),
        timeout_s=st.none() | st.none() | st.integers(0, 20).map(float),
        alone=st.sampled_from([False, False, False, True]),
        salt=st.sampled_from(["", "", "tenant"]),
        prompt_logprobs=st.sampled_from([None, None, None, 0]),
        num_resumed=st.integers(-6, 12),
    )
    def submit(  # noqa: PLR0917 - hypothesis names them all
        self, client: str, pattern: int, length: int, max_tokens: int | None, indices: tuple[int, ...], priority: int,
        seed: int, ignore_eos: bool, timeout_s: float | None, alone: bool, salt: str, prompt_logprobs: int | None,
        num_resumed: int,
    ) -> None:  # fmt: skip
        self.num_submitted += 1
        message = Submit(
            request_id=str(self.num_submitted),
            prompt_token_ids=[pattern + number // 8 for number in range(length)],
            params=SamplingParams(
                max_tokens=max_tokens, seed=seed, ignore_eos=ignore_eos, prompt_logprobs=prompt_logprobs
            ),
            priority=priority,
            timeout_s=timeout_s,
            alone=alone,
            cache_salt=salt,
        )
        cache = self.limits.num_blocks * self.limits.block_size
        wanted = min(max_tokens or 1, self.limits.max_model_len - length)
        if length + wanted - 1 > cache:
            with pytest.raises(RequestTooLargeError):
                self.core.submit(client, message)
            return
        parts = []
        for index in indices:
            output, reason = self.verifying.undisturbed(message, index, self.limits.max_model_len, cache)
            known = output[: max(0, num_resumed)]
            deadline_ns = None if timeout_s is None else self.now_ns + round(timeout_s * SECOND)
            self.choices[client, message.request_id, 1, index] = Expected(
                message, output, reason, list(known), len(known), deadline_ns
            )
            parts.append(Choice(index=index, output_token_ids=tuple(known)))
        self.core.submit(client, msgspec.structs.replace(message, choices=tuple(parts)))

    @precondition(lambda self: self.live())
    @rule(data=st.data())
    def abort(self, data: st.DataObject) -> None:
        client, request, attempt, _ = data.draw(st.sampled_from(self.live()))
        if (client, request, attempt) in self.core._registry:  # else it has ended, and only has to be told of it
            assert self.core.abort(client, request, attempt)
            self.forget({(client, request, attempt)})
        assert not self.core.abort(client, request, attempt)

    @rule(client=st.sampled_from("ab"))
    def lose_client(self, client: str) -> None:
        gone = {key[:3] for key in self.live() if key[0] == client and key[:3] in self.core._registry}
        assert self.core.abort_client(client) == len(gone)
        self.forget(gone)

    # ---- what the world does ----

    @rule(times=st.integers(1, 6))
    def step(self, times: int) -> None:
        for _ in range(times):
            self.take_step()

    @rule(seconds=st.integers(1, 8))
    def wait(self, seconds: int) -> None:
        self.now_ns += seconds * SECOND

    @rule()
    def run_out_of_memory(self) -> None:
        self.runner.raises = MemoryError("injected")

    @rule(row=st.integers(0, 9))
    def give_nan(self, row: int) -> None:
        self.runner.fails_row = row

    @rule()
    def raise_in_a_step(self) -> None:
        self.runner.raises = self.verifying.InjectedError()

    @rule(count=st.integers(0, 6))
    def hold_back(self, count: int) -> None:
        self.num_held = count
        self.core.hold_back(count)

    # ---- what has to be true ----

    @invariant()
    def the_books_are_right(self) -> None:
        self.core.check_integrity()
        load = self.core.load()
        snapshot = self.core.snapshot()
        assert load.running <= self.limits.max_num_seqs
        assert load.free_blocks == max(0, snapshot.blocks.free - self.num_held)
        running = self.core._scheduler._running
        prompts = sum(s.num_pending for s in running.ordered if s in running.prefilling)
        assert load.waiting_prefill_tokens == prompts + sum(len(s.tokens) for s in self.core._scheduler._waiting)
        assert snapshot.prefix_hits <= snapshot.prefix_queries

    def teardown(self) -> None:
        if not hasattr(self, "core"):
            return
        self.core.hold_back(0)
        self.num_held = 0
        self.runner.raises = self.runner.fails_row = None
        most = 100 + 80 * len(self.live())
        steps = 0
        while self.core.has_work:
            if self.take_step() is None:
                self.now_ns += SECOND  # the batch wait
            steps += 1
            assert steps <= most, f"no end after {steps} steps: {self.core!r}"
        assert not self.live()
        assert self.core.step() is None
        blocks = self.core.snapshot().blocks
        assert (blocks.used, blocks.free, blocks.held) == (0, self.limits.num_blocks, 0)

    # ---- helpers ----

    def live(self) -> list[tuple[str, str, int, int]]:
        return [key for key, choice in self.choices.items() if choice.finish is None]

    def forget(self, gone: set[tuple[str, str, int]]) -> None:
        self.choices = {key: choice for key, choice in self.choices.items() if key[:3] not in gone}

    def take_step(self) -> StepReport | None:
        rows_before = self.runner.rows_seen
        try:
            report = self.core.step()
        except self.verifying.InjectedError:  # nothing was settled: the next step tries again
            return self.take_step()
        if report is not None:
            assert report.num_tokens or report.deltas or report.out_of_memory
            assert report.num_decodes <= self.runner.rows_seen - rows_before
            for client, delta in report.deltas:
                self.receive(client, delta)
        return report

    def receive(self, client: str, delta: Delta) -> None:
        choice = self.choices[client, delta.request_id, delta.attempt, delta.choice]
        assert choice.finish is None, "something is said of a choice after its end"
        assert delta.position == len(choice.got)
        first = len(choice.got) == choice.resumed and delta.token_ids
        choice.got += delta.token_ids
        assert choice.got == choice.output[: len(choice.got)]
        assert list(delta.moments) == sorted(delta.moments, key=lambda moment: moment.at_ns)
        wants = choice.message.params.prompt_logprobs is not None and first and not choice.resumed
        prompt = choice.message.prompt_token_ids[1:] if wants else []
        assert [logprobs.chosen.token_id for logprobs in delta.prompt_logprobs] == prompt
        if delta.finish is not None:
            choice.finish = delta.finish
            self.check_finish((client, delta.request_id, delta.attempt), choice, delta.finish)

    def check_finish(self, key: tuple[str, str, int], choice: Expected, finish: Finish) -> None:
        assert finish.usage.prompt_tokens == len(choice.message.prompt_token_ids)
        assert finish.usage.output_tokens == len(choice.got)
        assert 0 <= finish.usage.cached_tokens < finish.usage.prompt_tokens or choice.resumed
        if finish.outcome is Outcome.COMPLETED:
            assert (choice.got, finish.reason) == (choice.output, choice.reason)
            return
        assert finish.reason is None
        if finish.outcome is Outcome.EXPIRED:
            assert choice.deadline_ns is not None
            assert choice.deadline_ns <= self.now_ns
        else:
            assert finish.outcome is Outcome.ENGINE_FAILED
            assert key in self.runner.struck


def test_whatever_happens_every_choice_ends_once_and_with_its_own_tokens(verifying_runner: ModuleType) -> None:
    class Machine(EngineMachine):
        verifying = verifying_runner

    run_state_machine_as_test(Machine, settings=settings(max_examples=150, stateful_step_count=40, deadline=None))
