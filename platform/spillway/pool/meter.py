"""What one incarnation of an engine is measured by: every step that it takes, whoever it was for."""

from spillway.admission.load.limit import AdaptiveLimit
from spillway.admission.load.model_load import Pace
from spillway.admission.load.pace import PaceFit
from spillway_wire.messages import Capacity, Moment, MomentKind, StepOutput


class EngineMeter:
    """Fits its pace and moves its limit. A successor begins with what its predecessor had learned."""

    def __init__(self, capacity: Capacity, before: "EngineMeter | None" = None) -> None:
        self.capacity = capacity
        self.last_step = 0
        """Number of the last step that counted; a step comes again in a second frame where one was too small."""
        self._fit = PaceFit(None if before is None else before.pace)
        learned = None if before is None or before.last_step == 0 else before.limit
        self._limit = AdaptiveLimit(capacity.max_num_seqs, learned)

    @property
    def pace(self) -> Pace | None:
        """How long its steps take; None until there were enough."""
        return self._fit.pace

    @property
    def limit(self) -> float:
        """Sequences that it may hold now."""
        return self._limit.value

    @property
    def longest_step_s(self) -> float:
        """How long a step takes that is full of prompt tokens; 0 while nothing is known."""
        pace = self.pace
        return 0.0 if pace is None else pace.step_s(0, self.capacity.max_num_batched_tokens)

    def expect(self, objective_s: float | None) -> None:
        """Note that work with this time per token as its objective is about to be sent."""
        self._limit.expect(objective_s)

    def hear(self, output: StepOutput, *, objective_s: float | None, demand: bool) -> None:
        """Take in a step: once, however many frames tell of it.

        `objective_s`: the strictest among what this gateway has there; `demand`: whether more would go there now.
        """
        if output.step <= self.last_step:
            return
        self.last_step = output.step
        duration_s = (output.ended_ns - output.started_ns) / 1e9
        self._fit.observe(duration_s, output.decode_rows, output.prefill_tokens)
        if any(_tells_of_preemption(delta.moments) for delta in output.deltas if delta.moments):
            self._limit.note_preemption()
        self._limit.observe(
            output.ended_ns / 1e9,
            duration_s,
            output.decode_rows,
            output.prefill_tokens,
            in_flight=output.load.running + output.load.waiting,
            objective_s=objective_s,
            demand=demand,
        )


def _tells_of_preemption(moments: tuple[Moment, ...]) -> bool:
    return any(moment.kind is MomentKind.PREEMPTED for moment in moments)
