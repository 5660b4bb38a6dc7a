"""Placement: who holds a slot and blocks, and who has to wait for them.

::

    waiting ──admit──▶ running ──remove──▶ gone
       ▲                  │
       └────preempt───────┘        the least important running sequence, for a more important one

A decode takes a block from any less important running sequence; the head of the queue takes slot and blocks from less
important classes only, or two requests of one class would take turns at undoing each other's work.
"""

from collections.abc import Iterable

from spillway_engine.lifecycle import Event, Status, follow
from spillway_engine.memory.allocation import BlockAllocator
from spillway_engine.memory.blocks import IntegrityError
from spillway_engine.request import Sequence
from spillway_engine.scheduling.limits import StepLimits
from spillway_engine.scheduling.running import RunningSet
from spillway_engine.scheduling.waiting import Importance, WaitingQueue, importance
from spillway_engine.settings import SchedulerSettings
from spillway_wire.messages import Moment, MomentKind


class Placement:
    """Moves sequences between the queue and the running set, and their blocks with them."""

    def __init__(self, settings: SchedulerSettings) -> None:
        self._block_size = settings.block_size
        self.blocks = BlockAllocator(settings.num_blocks, settings.block_size, prefix_caching=settings.prefix_caching)
        self.limits = StepLimits(settings)
        self.waiting = WaitingQueue()
        self.running = RunningSet(settings.max_num_seqs)
        self.num_preemptions = 0
        self.barrier: Importance | None = None
        """Of the most important sequence preempted in this step: nothing at or behind it is admitted."""
        self._stuck_head: tuple[Sequence, int] | None = None
        """The head that did not fit, and how many blocks beyond headroom it found free."""
        self._now_ns = 0

    def begin_step(self, now_ns: int) -> None:
        """Note the time, and forget what was preempted in the step before."""
        self._now_ns = now_ns
        self.barrier = None

    def admit(self, head: Sequence) -> bool:
        """Give the head of the queue a slot and its blocks, if need be from less important classes."""
        if self.barrier is not None and importance(head) >= self.barrier:
            return False
        num_running = len(self.running)
        has_slot = num_running < self.limits.num_seqs
        spare = self.blocks.pool.num_free - num_running
        if has_slot and num_running and self._stuck_head is not None:
            stuck_head, spare_then = self._stuck_head
            if head is stuck_head and spare <= spare_then:
                return False  # nothing has become free: spare the search for its prefix
        # Headroom: each running sequence keeps one block to grow into, lest what joins now be preempted at once.
        placed = has_slot and self.blocks.place(head, headroom=num_running)
        if not placed and not self._displace_for(head):
            self._stuck_head = (head, spare) if has_slot else None
            return False
        self._stuck_head = None
        self.waiting.discard(head)
        found = min(head.num_computed, head.num_prompt)
        if head.status is Status.WAITING:
            head.cached_tokens = found
            head.moments.append(Moment(kind=MomentKind.SCHEDULED, at_ns=self._now_ns, value=found))
        else:
            head.moments.append(Moment(kind=MomentKind.RESUMED, at_ns=self._now_ns, value=found))
        head.status = follow(head.status, Event.SCHEDULE)
        self.running.join(head)
        return True

    def secure_block(self, sequence: Sequence) -> bool:
        """Make sure of a block for the next token, at the cost of less important sequences only."""
        if sequence.num_computed < len(sequence.block_ids) * self._block_size:
            return True
        while not self.blocks.grow(sequence):
            victim = self.running.ordered[-1]
            if victim is sequence:
                return False
            self.preempt(victim)
        return True

    def secure_ahead(self, decoding: Iterable[Sequence]) -> None:
        """Give each a block for the token after the next one, if it lacks it, as far as blocks are free."""
        for sequence in decoding:
            # preempted for somebody behind it: then it holds none
            if sequence.block_ids and sequence.num_computed + 1 >= len(sequence.block_ids) * self._block_size:
                self.blocks.grow(sequence)

    def preempt(self, victim: Sequence) -> None:
        """Take slot and blocks; what is known of it stays, and it waits at its old place to be computed again."""
        victim.status = follow(victim.status, Event.PREEMPT)
        self.running.leave(victim)
        self.blocks.release(victim)
        victim.moments.append(Moment(kind=MomentKind.PREEMPTED, at_ns=self._now_ns))
        self.waiting.push(victim)
        self.num_preemptions += 1
        self.barrier = importance(victim)  # within a step, victims come the least important first

    def remove(self, sequence: Sequence, *, spoiled: bool) -> None:
        """Let a sequence go, wherever it is, with all it holds. Changes nothing if it has ended already."""
        after = follow(sequence.status, Event.FINISH)
        if sequence.status is Status.RUNNING:
            self.running.leave(sequence)
            self.blocks.release(sequence, spoiled=spoiled)
        else:
            self.waiting.discard(sequence)
        self.waiting.release(sequence)
        sequence.status = after

    def check_integrity(self) -> None:
        """Raise `IntegrityError` if a block, a slot or a sequence is lost or counted twice."""
        running = self.running.ordered
        self.running.check_integrity()
        self.blocks.check_integrity(running)
        for sequence in running:
            known = sequence.num_computed + (sequence.num_pending if sequence in self.running.prefilling else 0)
            if sequence.status is not Status.RUNNING or len(sequence.block_ids) * self._block_size < known:
                raise IntegrityError(f"{sequence!r} runs without the blocks for {known} tokens")
        waiting = list(self.waiting)
        for sequence in waiting:
            if sequence.block_ids or sequence.slot is not None or sequence.num_computed:
                raise IntegrityError(f"{sequence!r} waits and holds something")
            if sequence.status not in {Status.WAITING, Status.PREEMPTED}:
                raise IntegrityError(f"{sequence!r} is in the queue")
        if len(set(waiting)) != len(waiting) or len(waiting) != len(self.waiting):
            raise IntegrityError("a sequence waits twice")
        if self.waiting.num_tokens != sum(len(sequence.tokens) for sequence in waiting):
            raise IntegrityError(f"{self.waiting.num_tokens} tokens are said to wait, which is wrong")

    def _displace_for(self, head: Sequence) -> bool:
        """Preempt less important classes until `head` has its slot and blocks; none of them if that is not enough."""
        ordered = self.running.ordered
        needed = self.blocks.num_needed(head)
        free = self.blocks.pool.num_free
        left = len(ordered)
        while left >= self.limits.num_seqs or needed + left > free:
            if left == 0 or ordered[left - 1].request.priority <= head.request.priority:
                return False
            left -= 1
            free += self.blocks.num_exclusive(ordered[left])
        for victim in reversed(ordered[left:]):
            self.preempt(victim)
        return self.blocks.place(head, headroom=left)
