"""What bounds a step beside the settings: memory that ran out lately, continuations, and the wait for company."""

from spillway_engine.request import Sequence
from spillway_engine.scheduling.waiting import WaitingQueue
from spillway_engine.settings import SchedulerSettings

CLEAN_STEPS = 16
"""Steps that have to go well before a lowered limit is doubled again."""


class StepLimits:
    """How many sequences and tokens a step may hold: the settings', or fewer after a step did not fit into memory.

    Halved when a step fails and doubled after `CLEAN_STEPS` good ones, so that a device that is a little too small
    fails one step in seventeen rather than every second one.
    """

    def __init__(self, settings: SchedulerSettings) -> None:
        self._most_seqs = settings.max_num_seqs
        self._most_tokens = settings.max_num_batched_tokens
        self._clean_steps = 0
        self.num_seqs = self._most_seqs
        self.num_tokens = self._most_tokens
        """Never below `num_seqs`, or running sequences could starve."""

    @property
    def lowered(self) -> bool:
        """Whether memory ran out lately."""
        return self.num_seqs < self._most_seqs or self.num_tokens < self._most_tokens

    def lower(self, num_seqs: int, num_tokens: int) -> None:
        """Allow half of a step of this size."""
        self._clean_steps = 0
        self.num_seqs = max(1, num_seqs // 2)
        self.num_tokens = max(self.num_seqs, num_tokens // 2)

    def succeeded(self) -> None:
        """Count a step that fitted."""
        if not self.lowered:
            return
        self._clean_steps += 1
        if self._clean_steps >= CLEAN_STEPS:
            self._clean_steps = 0
            self.num_seqs = min(2 * self.num_seqs, self._most_seqs)
            self.num_tokens = min(2 * self.num_tokens, self._most_tokens)


class PrefillBudget:
    """A step's tokens for prefill, and how many of them continuations may take."""

    def __init__(self, num_tokens: int, *, fresh_wants_some: bool) -> None:
        self.left = num_tokens
        self.left_for_resumed = max(1, num_tokens // 2) if fresh_wants_some else num_tokens

    def take(self, sequence: Sequence) -> int:
        """Return how many tokens `sequence` computes in this step, 0 to all that is pending, and book them."""
        resumed = sequence.request.resumed
        count = min(sequence.num_pending, self.left, self.left_for_resumed if resumed else self.left)
        self.left -= count
        if resumed:
            self.left_for_resumed -= count
        return count


class BatchWait:
    """Lets a lone arrival wait for company while nothing runs: larger first batches, a later first token.

    Starts with the first `holds` that finds somebody waiting. Ends early when a step is full or a continuation waits.
    """

    def __init__(self, settings: SchedulerSettings) -> None:
        self._wait_ns = round(settings.batch_wait_s * 1e9)
        self._full_seqs = settings.max_num_seqs
        self._full_tokens = settings.max_num_batched_tokens
        self._until_ns: int | None = None
        self.wakeup_ns: int | None = None
        """When the present wait ends; None while nobody waits for company, or no longer does."""

    def holds(self, now_ns: int, num_running: int, waiting: WaitingQueue) -> bool:
        """Whether to plan nothing yet."""
        if not self._wait_ns or num_running or not len(waiting):
            self._until_ns = self.wakeup_ns = None
            return False
        if self._until_ns is None:
            self._until_ns = now_ns + self._wait_ns
        full = len(waiting) >= self._full_seqs or waiting.num_tokens >= self._full_tokens
        holds = now_ns < self._until_ns and not full and not waiting.has_resumed
        self.wakeup_ns = self._until_ns if holds else None
        return holds
