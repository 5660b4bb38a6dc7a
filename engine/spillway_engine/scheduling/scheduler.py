"""The scheduler: decides what the next step computes. State in, `StepPlan` out; no I/O, no clock, no tensors.

Sequences are ordered by importance: priority class, continuations before fresh work, arrival. Each step::

    1  what has expired while it waited ends
    2  running decodes, most important first, get the block they need; when none is free, the least important running
       sequence is preempted for it. A sequence never takes from a more important one: the last one sits the step out
    3  the token budget goes to decodes and to prefill chunks, in the order that the step policy names. Prefill goes
       by importance, to running prompts and to the head of the queue; a head that does not fit blocks what is
       behind it, so that small requests cannot starve a large one
    4  a head of a more important class than running sequences preempts those if it lacks a slot or blocks

Why everybody gets there: the most important running sequence can preempt all others, each fits into the pool alone
(`intake` refuses what does not), and what was preempted goes back to its old place in the queue. What is preempted in
a step, and whatever is less important than it, is not admitted in the same step.

Continuations may take half of a step's prefill tokens while fresh work wants some, all of them otherwise.

The choices of one request share their prompt: the others wait aside until the first one's prompt is in the cache.

A sequence that must run alone takes a slot and blocks like any other. Then steps alternate: one holds it and nothing
else, the next holds everybody but it. The others keep slots and blocks, so it cannot starve them, nor they it.
At most one such sequence is under way; others like it wait without blocking the queue.
"""

from collections.abc import Iterator
from collections.abc import Sequence as Seq
from dataclasses import dataclass

from spillway_engine.lifecycle import Event, Status, follow
from spillway_engine.memory.blocks import IntegrityError
from spillway_engine.plan import Row, StepPlan, StepResult
from spillway_engine.request import Sequence
from spillway_engine.scheduling.limits import BatchWait, PrefillBudget
from spillway_engine.scheduling.placement import Placement
from spillway_engine.scheduling.waiting import importance
from spillway_engine.settings import SchedulerSettings, StepPolicy


@dataclass(frozen=True, slots=True)
class Schedule:
    """What was decided for one step."""

    plan: StepPlan | None
    """None: there is nothing to compute now."""
    num_decodes: int
    """The first rows of the plan, of one token each; prefill chunks follow."""
    num_preempted: int
    expired: tuple[Sequence, ...]
    """Ended because their deadline passed while they waited; they hold nothing any more."""


class Scheduler:
    """Owns every sequence from `add` to `end`; between `schedule` and `settle` a runner computes the plan.

    A plan that could not be run is simply not settled: the next one asks for the same again.
    """

    def __init__(self, settings: SchedulerSettings) -> None:
        self.settings = settings
        self.step = 0
        self._placement = Placement(settings)
        self.blocks = self._placement.blocks
        self._limits = self._placement.limits
        self._waiting = self._placement.waiting
        self._running = self._placement.running
        self._batch_wait = BatchWait(settings)
        self._alone_next = False

    # ---- between steps ----

    def add(self, sequences: Seq[Sequence]) -> None:
        """Take over all choices of one request; they wait."""
        leader, *others = sequences
        self._waiting.push(leader)
        if others and self._shares_prompt(leader):
            self._waiting.set_aside(others, leader)
        else:
            for sequence in others:
                self._waiting.push(sequence)

    def end(self, sequence: Sequence, *, spoiled: bool = False) -> None:
        """Let a sequence go, wherever it is, and free what it holds at once. `spoiled` blocks may hold NaN.

        Raises `IllegalTransitionError` and changes nothing if it has ended already.
        """
        self._placement.remove(sequence, spoiled=spoiled)

    def back_off(self, plan: StepPlan, now_ns: int) -> int:
        """After `plan` did not fit into memory: preempt the least important half, and plan smaller steps for a while.

        Returns how many were preempted.
        """
        before = self._placement.num_preemptions
        self._placement.begin_step(now_ns)
        self._limits.lower(len(plan.rows), plan.num_tokens)
        while len(self._running) > self._limits.num_seqs:
            self._placement.preempt(self._running.ordered[-1])
        return self._placement.num_preemptions - before

    # ---- a step ----

    def schedule(self, now_ns: int) -> Schedule:
        """Decide the next step. Blocks and slots of its rows are taken; `settle` books what came of it."""
        self._placement.begin_step(now_ns)
        preempted_before = self._placement.num_preemptions
        expired = self._end_expired(now_ns)
        decodes, prefills = self._plan_alone() if self._alone_next else ([], [])
        if decodes or prefills:
            self._alone_next = False
        else:
            self._alone_next = True
            if not self._batch_wait.holds(now_ns, len(self._running), self._waiting):
                decodes, prefills = self._plan_shared()
            if not decodes and not prefills:
                decodes, prefills = self._plan_alone()
        plan = None
        if decodes or prefills:
            rows = (*decodes, *prefills)
            num_tokens = len(decodes) + sum(row.num_tokens for row in prefills)
            self.step += 1
            plan = StepPlan(self.step, rows, num_tokens, self._running.joined(rows), self.blocks.pool.to_scrub)
        return Schedule(plan, len(decodes), self._placement.num_preemptions - preempted_before, expired)

    def settle(self, plan: StepPlan, result: StepResult) -> None:
        """Book a plan that was run: what is computed, the sampled tokens, and full blocks for others to find.

        Rows that failed stay as they were; whoever settles ends them.
        """
        self.blocks.pool.scrubbed()
        self._limits.succeeded()
        self._running.seen(plan.joined)
        prefilling = self._running.prefilling
        failed = result.failed
        size = self.settings.block_size
        for index, (row, token) in enumerate(zip(plan.rows, result.token_ids, strict=True)):
            if failed and index in failed:
                continue
            sequence = row.sequence
            computed = sequence.num_computed = row.start + row.num_tokens
            if computed - sequence.num_cached_blocks * size >= size:
                self.blocks.register(sequence)
            if token is not None:
                sequence.tokens.append(token)
            elif row.samples:
                raise IntegrityError(f"the runner returned no token for {sequence!r}, which samples in this step")
            if prefilling and sequence in prefilling:
                if row.samples:
                    del prefilling[sequence]
                if computed >= sequence.num_prompt // size * size and self._waiting.leads(sequence):
                    self._waiting.release(sequence)

    # ---- who is where ----

    @property
    def num_running(self) -> int:
        """Sequences with a slot."""
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        """Sequences in the queue, preempted ones included."""
        return len(self._waiting)

    @property
    def num_preemptions(self) -> int:
        """Preemptions so far."""
        return self._placement.num_preemptions

    @property
    def num_prefill_tokens(self) -> int:
        """Known tokens that waiting and running sequences have to compute before they sample."""
        return self._waiting.num_tokens + sum(sequence.num_pending for sequence in self._running.prefilling)

    @property
    def next_wakeup_ns(self) -> int | None:
        """When time alone will change what `schedule` decides: the batch wait's end or the next deadline."""
        times = (self._batch_wait.wakeup_ns, self._waiting.next_deadline_ns)
        return min((time for time in times if time is not None), default=None)

    def check_integrity(self) -> None:
        """Raise `IntegrityError` if a block, a slot or a sequence is lost or counted twice."""
        self._placement.check_integrity()

    def __repr__(self) -> str:
        return (
            f"<Scheduler step={self.step} running={self.num_running} waiting={self.num_waiting} {self.blocks.pool!r}>"
        )

    # ---- the parts of a decision ----

    def _plan_shared(self) -> tuple[list[Row], list[Row]]:
        """Decodes and prefill chunks of everybody but the one that runs alone."""
        ready = self._ready_decodes()
        budget = self._limits.num_tokens
        if self.settings.step_policy is StepPolicy.DECODE_FIRST:
            decodes = [Row(s, s.num_computed, 1, True) for s in ready[:budget]]
            prefills = self._prefill_rows(budget - len(decodes))
        else:
            prefills = self._prefill_rows(budget)
            left = budget - sum(row.num_tokens for row in prefills)
            decodes = [Row(s, s.num_computed, 1, True) for s in ready[:left]]
        if self._placement.barrier is not None:  # a row may have been drafted for a sequence that was then preempted
            decodes = [row for row in decodes if row.sequence.status is Status.RUNNING]
            prefills = [row for row in prefills if row.sequence.status is Status.RUNNING]
        return decodes, prefills

    def _plan_alone(self) -> tuple[list[Row], list[Row]]:
        """A step for the one that runs alone, if there is one and it can go on."""
        sequence = self._running.alone
        if sequence is None:
            return [], []
        if sequence in self._running.prefilling:
            count = min(sequence.num_pending, self._limits.num_tokens)
            return [], [Row(sequence, sequence.num_computed, count, count == sequence.num_pending)]
        if self._placement.secure_block(sequence):
            return [Row(sequence, sequence.num_computed, 1, True)], []
        return [], []

    def _ready_decodes(self) -> list[Sequence]:
        """Decoding sequences of the shared batch that have the block they need, the most important first."""
        apart = self._running.prefilling
        if self._running.alone is not None:
            apart = {**apart, self._running.alone: None}
        size = self.settings.block_size
        ready = []
        for sequence in self._running.ordered:  # preemption shortens the list behind the sequence at hand
            if apart and sequence in apart:
                continue
            if sequence.num_computed < len(sequence.block_ids) * size or self._placement.secure_block(sequence):
                ready.append(sequence)
        if self.settings.runs_ahead:
            self._placement.secure_ahead(ready)
        return ready

    def _prefill_rows(self, num_tokens: int) -> list[Row]:
        """Chunks of at most `num_tokens` tokens together."""
        prompts = self._running.prompts() if self._running.prefilling else []
        if not prompts and not len(self._waiting):
            return []
        fresh_wants_some = self._waiting.has_fresh or not all(sequence.request.resumed for sequence in prompts)
        budget = PrefillBudget(num_tokens, fresh_wants_some=fresh_wants_some)
        rows = []
        for sequence in self._prefill_order(prompts, budget):
            pending = sequence.num_pending
            count = budget.take(sequence)
            if count:
                rows.append(Row(sequence, sequence.num_computed, count, count == pending))
        return rows

    def _prefill_order(self, prompts: list[Sequence], budget: PrefillBudget) -> Iterator[Sequence]:
        """Running prompts and admitted heads of the queue by importance, while tokens are left."""
        started = iter(prompts)
        prompt = next(started, None)
        stuck = False
        while budget.left > 0:
            head = None
            if not stuck:
                head = self._waiting.head(resumed=budget.left_for_resumed > 0, alone=self._running.alone is None)
            if head is not None and (prompt is None or importance(head) < importance(prompt)):
                stuck = not self._placement.admit(head)
                if not stuck and not head.request.alone:
                    yield head
            elif prompt is None:
                return
            else:
                yield prompt
                prompt = next(started, None)

    def _end_expired(self, now_ns: int) -> tuple[Sequence, ...]:
        deadline = self._waiting.next_deadline_ns
        if deadline is None or deadline > now_ns:
            return ()
        expired = tuple(self._waiting.expired(now_ns))
        for sequence in expired:
            sequence.status = follow(sequence.status, Event.FINISH)
        return expired

    def _shares_prompt(self, leader: Sequence) -> bool:
        """Whether other choices of the same request would find the leader's prompt in the cache."""
        return (
            self.settings.prefix_caching
            and leader.num_prompt >= self.settings.block_size
            and leader.params.prompt_logprobs is None
        )
