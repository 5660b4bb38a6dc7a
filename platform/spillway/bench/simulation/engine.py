"""An engine on paper: slots, blocks, and steps that take `fixed + per_row · decodes + per_token · prefill tokens`.

Each step gives every decode one token and the rest of its token budget to prompts, in order of arrival, in chunks; a
prompt that is complete has its first token when the step ends. Who runs out of blocks preempts the youngest.
"""

from collections import deque
from dataclasses import dataclass, field

from spillway.admission.load.model_load import Pace
from spillway_wire.messages import Capacity, Load


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKind:
    """One speed and size of engines."""

    pace: Pace
    capacity: Capacity

    @classmethod
    def of(cls, speed: float = 1.0, *, slots: int = 32, blocks: int = 4096) -> "EngineKind":
        """Return an engine `speed` times as fast as one with steps of 20 to 60 ms."""
        pace = Pace(0.012 / speed, 0.0006 / speed, 0.00012 / speed)
        capacity = Capacity(
            max_num_seqs=slots, max_num_batched_tokens=512, max_model_len=4096, num_blocks=blocks, block_size=16
        )
        return cls(pace=pace, capacity=capacity)


@dataclass(slots=True)
class Job:
    """One sequence."""

    id: str
    gateway: int
    prompt_tokens: int
    output_tokens: int
    """How many it will have, which nobody knows before."""
    prefill_left: int = 0
    made: int = 0
    blocks: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What a step brought: (job, whether this was its last token), in order."""

    tokens: list[tuple[Job, bool]] = field(default_factory=list)


class SimEngine:
    """One incarnation."""

    def __init__(self, name: str, kind: EngineKind) -> None:
        self.name, self.kind = name, kind
        self.waiting: deque[Job] = deque()
        self.running: list[Job] = []
        self.free_blocks = kind.capacity.num_blocks
        self.received: dict[int, int] = {}
        """Submits by gateway."""
        self.busy = False
        self.alive = True
        self.num_preempted = 0
        self.num_decodes = self.num_prefill_tokens = 0
        self.step_s = 0.0
        """Of the last step."""
        self._chunks: list[tuple[Job, int]] = []
        self._decodes: list[Job] = []

    def submit(self, job: Job) -> None:
        """Take a sequence in."""
        job.prefill_left = job.prompt_tokens + job.made
        self.received[job.gateway] = self.received.get(job.gateway, 0) + 1
        self.waiting.append(job)

    def load(self) -> Load:
        """Return what it says of itself after a step."""
        left = sum(job.prefill_left for job in self.waiting) + sum(job.prefill_left for job in self.running)
        return Load(
            running=len(self.running),
            waiting=len(self.waiting),
            free_blocks=self.free_blocks,
            waiting_prefill_tokens=left,
        )

    def begin_step(self) -> float | None:
        """Plan a step and return how long it takes; None: there is nothing to do."""
        self._admit()
        if not self.running:
            return None
        self._decodes = [job for job in self.running if not job.prefill_left]
        for job in list(self._decodes):
            self._grow(job)
        self._decodes = [job for job in self._decodes if job.blocks]
        left = self.kind.capacity.max_num_batched_tokens - len(self._decodes)
        self._chunks = []
        for job in self.running:
            if job.prefill_left and left > 0:
                chunk = min(left, job.prefill_left)
                left -= chunk
                self._chunks.append((job, chunk))
        self.busy = True
        self.num_decodes, self.num_prefill_tokens = len(self._decodes), sum(chunk for _, chunk in self._chunks)
        self.step_s = self.kind.pace.step_s(self.num_decodes, self.num_prefill_tokens)
        return self.step_s

    def end_step(self) -> Report:
        """Book what the step computed."""
        self.busy = False
        report = Report()
        done = set()
        for job, chunk in self._chunks:
            job.prefill_left -= chunk
        for job in (*self._decodes, *(job for job, _ in self._chunks if not job.prefill_left)):
            job.made += 1
            last = job.made >= job.output_tokens
            report.tokens.append((job, last))
            if last:
                done.add(job.id)
                self.free_blocks += job.blocks
        if done:
            self.running = [job for job in self.running if job.id not in done]
        return report

    def _blocks_of(self, tokens: int) -> int:
        return -(-tokens // self.kind.capacity.block_size)

    def _admit(self) -> None:
        while self.waiting and len(self.running) < self.kind.capacity.max_num_seqs:
            job = self.waiting[0]
            need = self._blocks_of(job.prompt_tokens + job.made + 1)
            if need > self.free_blocks:
                return
            self.waiting.popleft()
            job.blocks = need
            self.free_blocks -= need
            self.running.append(job)

    def _grow(self, job: Job) -> None:
        """Get `job` the block for its next token, from the youngest if there is no other; that may be itself."""
        if not job.blocks or self._blocks_of(job.prompt_tokens + job.made + 1) <= job.blocks:
            return
        if not self.free_blocks:
            victim = self.running.pop()
            self.free_blocks += victim.blocks
            victim.blocks = 0
            victim.prefill_left = victim.prompt_tokens + victim.made
            self.waiting.appendleft(victim)
            self.num_preempted += 1
            if victim is job:
                return
        self.free_blocks -= 1
        job.blocks += 1
