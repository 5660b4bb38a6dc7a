"""The core of an engine: requests in, deltas out, one step at a time. The process and the offline engine drive it.

::

    submit ─▶ intake ─▶ registry, scheduler ──plan──▶ runner
                              ▲                         │
    deltas ◀─ delivery ◀─ settle ◀────────result────────┘

It has one caller and no thread of its own: `submit`, `abort` and `step` must not overlap. Whoever wants to see a plan
before it runs (a progress page, a fault) wraps the `Runner`.
"""

import time
from collections.abc import Callable

from spillway_engine.delivery import Addressed, Delivery
from spillway_engine.ending import finish_reason
from spillway_engine.errors import InvalidRequestError, RequestError, is_out_of_memory
from spillway_engine.intake import Intake
from spillway_engine.plan import Runner, StepPlan, StepResult
from spillway_engine.registry import Registry
from spillway_engine.reports import Counters, EngineSnapshot, StepReport, Totals
from spillway_engine.request import Sequence
from spillway_engine.scheduling.scheduler import Schedule, Scheduler
from spillway_engine.settings import SchedulerSettings
from spillway_wire.messages import Load, Moment, MomentKind, Submit
from spillway_wire.outcomes import FinishReason, Outcome


class EngineCore:
    """Validates, schedules, runs and settles. Every choice of every request it takes gets exactly one `Finish`."""

    def __init__(
        self,
        settings: SchedulerSettings,
        runner: Runner,
        *,
        vocab_size: int,
        eos_token_ids: tuple[int, ...],
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.settings = settings
        self._runner = runner
        self._clock_ns = clock_ns
        self._intake = Intake(settings=settings, vocab_size=vocab_size, eos_token_ids=frozenset(eos_token_ids))
        self._scheduler = Scheduler(settings)
        self._registry = Registry()
        self._delivery = Delivery()
        self._counters = Counters()
        self._unchecked = False
        """Whether anything happened since the books were last checked."""

    # ---- requests ----

    def submit(self, client_id: str, message: Submit) -> None:
        """Take a request; its deltas come with the reports of `step`.

        Raises `InvalidRequestError` or `RequestTooLargeError` for what can never succeed.
        """
        now_ns = self._clock_ns()
        try:
            if (client_id, message.request_id, message.attempt) in self._registry:
                raise InvalidRequestError(
                    f"request {message.request_id!r}, attempt {message.attempt}, is being served already; "
                    f"abort it first or count the attempt up"
                )
            sequences = self._intake.accept(client_id, message, arrival=self._registry.received + 1, now_ns=now_ns)
        except RequestError as error:
            self._registry.refused[error.outcome] += 1
            raise
        self._unchecked = True
        self._registry.open(sequences)
        self._counters.prompt_tokens += len(message.prompt_token_ids)
        queued = Moment(kind=MomentKind.QUEUED, at_ns=now_ns)
        for sequence in sequences:
            sequence.moments.append(queued)
        self._scheduler.add(sequences)
        for sequence in sequences:
            reason = finish_reason(sequence) if sequence.num_resumed else None
            if reason is not None:  # complete when the earlier attempt died; only word of its end was lost
                self._scheduler.end(sequence)
                self._registry.close(sequence, Outcome.COMPLETED, reason)
                self._delivery.add_end(sequence)

    def abort(self, client_id: str, request_id: str, attempt: int) -> bool:
        """Forget a request and free what it holds at once. Nothing more is said of it. False if it is unknown."""
        key = (client_id, request_id, attempt)
        if key not in self._registry:
            return False
        for sequence in self._registry.unfinished(key):
            self._forget(sequence, Outcome.CLIENT_GONE)
        self._delivery.drop(key)
        return True

    def end_choice(self, client_id: str, request_id: str, attempt: int, choice: int) -> bool:
        """End one choice of a request, of which its client has all it wants, and free what it holds at once.

        It counts as completed, and nothing more is said of it. False if it is unknown or has ended.
        """
        key = (client_id, request_id, attempt)
        found = key in self._registry and [s for s in self._registry.unfinished(key) if s.choice == choice]
        for sequence in found or ():
            self._scheduler.end(sequence)
            self._registry.close(sequence, Outcome.COMPLETED, FinishReason.STOP)
            self._delivery.forget(sequence)
            self._delivery.drop(key, choice)
        return bool(found)

    def abort_client(self, client_id: str, outcome: Outcome = Outcome.CLIENT_GONE) -> int:
        """Forget all requests of a client that went away or does not read; return how many there were."""
        keys = self._registry.live_keys(client_id)
        for key in keys:
            for sequence in self._registry.unfinished(key):
                self._forget(sequence, outcome)
            self._delivery.drop(key)
        return len(keys)

    def end_all(self, outcome: Outcome, message: str) -> list[Addressed]:
        """End everything that is live and return all that remains to be said; for a stop."""
        for key in self._registry.live_keys():
            for sequence in self._registry.unfinished(key):
                self._end(sequence, outcome, message)
        return self._delivery.take()

    # ---- steps ----

    def step(self) -> StepReport | None:
        """Run one step and say what came of it; None if there is nothing to do now (see `next_wakeup_ns`).

        What the runner raises, except that memory ran out, is passed on: nothing is settled then, and the same
        would be tried again. Raises `IntegrityError` when the engine is idle and its books do not add up.
        """
        started_ns = self._clock_ns()
        schedule = self._scheduler.schedule(started_ns)
        for sequence in schedule.expired:
            self._counters.expired += 1
            self._registry.close(sequence, Outcome.EXPIRED, message="the deadline passed while the request waited")
            self._delivery.add_end(sequence)
        plan = schedule.plan
        if plan is None:
            if len(self._delivery):
                return self._report(schedule, started_ns)
            self.check_if_idle()
            return None
        try:
            result = self._runner.execute(plan)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            num_preempted = self._shrink(plan, error)
            return self._report(schedule, started_ns, num_preempted=num_preempted, out_of_memory=True)
        self._scheduler.settle(plan, result)
        self._settle(plan, result, schedule.num_decodes, started_ns)
        return self._report(schedule, started_ns, num_tokens=plan.num_tokens)

    @property
    def has_work(self) -> bool:
        """Whether anything is queued, running or still to be reported."""
        return len(self._registry) > 0 or len(self._delivery) > 0

    @property
    def next_wakeup_ns(self) -> int | None:
        """When to call `step` again after it returned None, if nothing else happens before."""
        return self._scheduler.next_wakeup_ns

    def hold_back(self, num_blocks: int) -> None:
        """Keep blocks of the cache out of reach, as if it were exhausted; 0 ends it.

        While they are held, `step` may return None although `has_work` is true.
        """
        self._scheduler.blocks.pool.hold_back(num_blocks)

    def wrap_runner(self, wrap: Callable[[Runner], Runner]) -> None:
        """Put something around the runner that wants to see every plan before it runs. Before the first step."""
        self._runner = wrap(self._runner)

    # ---- what it says of itself ----

    def load(self) -> Load:
        """Return the engine's load now; its cost does not grow with what waits."""
        scheduler = self._scheduler
        return Load(
            running=scheduler.num_running,
            waiting=scheduler.num_waiting,
            free_blocks=scheduler.blocks.pool.num_free,
            waiting_prefill_tokens=scheduler.num_prefill_tokens,
        )

    def snapshot(self) -> EngineSnapshot:
        """Return counters and state, frozen."""
        scheduler, registry, counters = self._scheduler, self._registry, self._counters
        return EngineSnapshot(
            steps=scheduler.step,
            received=registry.received,
            live=len(registry),
            finished={str(outcome): count for outcome, count in registry.finished.items()},
            refused={str(outcome): count for outcome, count in registry.refused.items()},
            running=scheduler.num_running,
            waiting=scheduler.num_waiting,
            waiting_prefill_tokens=scheduler.num_prefill_tokens,
            prompt_tokens=counters.prompt_tokens,
            prefill_tokens=counters.prefill_tokens,
            output_tokens=counters.output_tokens,
            prefix_queries=scheduler.blocks.prefix_queries,
            prefix_hits=scheduler.blocks.prefix_hits,
            preemptions=scheduler.num_preemptions,
            expired=counters.expired,
            failed_logits=counters.failed_logits,
            out_of_memory=counters.out_of_memory,
            blocks=scheduler.blocks.pool.statistics(),
        )

    def totals(self) -> Totals:
        """Return what was counted since the start, at the cost of reading a few numbers; for every step."""
        scheduler, counters = self._scheduler, self._counters
        return Totals(
            preemptions=scheduler.num_preemptions,
            prefix_queries=scheduler.blocks.prefix_queries,
            prefix_hits=scheduler.blocks.prefix_hits,
            failed_logits=counters.failed_logits,
            out_of_memory=counters.out_of_memory,
        )

    def check_if_idle(self) -> None:
        """Check the books if nothing is live and anything happened since they were last checked.

        For whoever drives the core, at its leisure. Raises `IntegrityError` as `check_integrity` does.
        """
        if self._unchecked and not self.has_work:
            self.check_integrity()
            self._unchecked = False

    def check_integrity(self) -> None:
        """Raise `IntegrityError` if blocks, slots, sequences or requests are lost or counted twice."""
        self._scheduler.check_integrity()
        self._registry.check_integrity(self._scheduler.num_running + self._scheduler.num_waiting)
        self._delivery.check_integrity(self._registry)

    def __repr__(self) -> str:
        return f"<EngineCore live={len(self._registry)} {self._scheduler!r}>"

    # ---- settling ----

    def _settle(self, plan: StepPlan, result: StepResult, num_decodes: int, started_ns: int) -> None:
        """Turn a step's tokens into deltas, and end what is complete or failed."""
        now_ns = self._clock_ns()
        failed, logprobs = result.failed, result.logprobs
        num_sampled = 0
        if result.prompt_logprobs:
            self._delivery.collect_prompt_logprobs(plan, result)
        for index, (row, token) in enumerate(zip(plan.rows, result.token_ids, strict=True)):
            sequence = row.sequence
            if index >= num_decodes:
                sequence.moments.append(Moment(kind=MomentKind.PREFILL_CHUNK, at_ns=started_ns, value=row.num_tokens))
            if failed and index in failed:
                self._counters.failed_logits += 1
                self._end(sequence, Outcome.ENGINE_FAILED, "logits held NaN or Inf", spoiled=True)
            elif token is not None:
                num_sampled += 1
                reason = finish_reason(sequence)
                if reason is not None:
                    self._scheduler.end(sequence)
                    self._registry.close(sequence, Outcome.COMPLETED, reason)
                self._delivery.add_token(sequence, token, (logprobs[index],) if index in logprobs else (), now_ns)
        self._counters.output_tokens += num_sampled
        self._counters.prefill_tokens += plan.num_tokens - num_decodes

    def _shrink(self, plan: StepPlan, error: Exception) -> int:
        """Go on after a step that did not fit into memory; return how many sequences had to be preempted for it."""
        self._counters.out_of_memory += 1
        if len(plan.rows) > 1:
            return self._scheduler.back_off(plan, self._clock_ns())
        message = f"memory ran out although the request had the step to itself: {error}"
        self._end(plan.rows[0].sequence, Outcome.ENGINE_FAILED, message)
        return 0

    def _end(self, sequence: Sequence, outcome: Outcome, message: str, *, spoiled: bool = False) -> None:
        """End a sequence against its will, and tell its client."""
        self._scheduler.end(sequence, spoiled=spoiled)
        self._registry.close(sequence, outcome, message=message)
        self._delivery.add_end(sequence)

    def _forget(self, sequence: Sequence, outcome: Outcome) -> None:
        """End a sequence whose client does not want to hear of it."""
        self._scheduler.end(sequence)
        self._registry.close(sequence, outcome)
        self._delivery.forget(sequence)

    def _report(
        self,
        schedule: Schedule,
        started_ns: int,
        *,
        num_tokens: int = 0,
        num_preempted: int = 0,
        out_of_memory: bool = False,
    ) -> StepReport:
        return StepReport(
            step=self._scheduler.step,
            started_ns=started_ns,
            ended_ns=self._clock_ns(),
            num_tokens=num_tokens,
            num_decodes=schedule.num_decodes if num_tokens else 0,
            num_preempted=schedule.num_preempted + num_preempted,
            out_of_memory=out_of_memory,
            deltas=self._delivery.take(),
        )
