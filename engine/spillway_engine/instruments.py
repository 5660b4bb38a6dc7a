"""What an engine counts of its steps, in a page of shared memory that outlives it (`spillway_wire.series`).

About two microseconds a step. Tokens, preemptions and prefix hits are counted on the progress page, which the
supervisor reads; here are the distributions.
"""

from typing import Protocol

from spillway_engine.plan import Runner, StepPlan, StepResult
from spillway_wire import names
from spillway_wire.series import SeriesPage


class Stepped(Protocol):
    """What a step says of itself when it is over."""

    @property
    def started_ns(self) -> int:
        """CLOCK_MONOTONIC at its start."""

    @property
    def ended_ns(self) -> int:
        """CLOCK_MONOTONIC at its end."""

    @property
    def num_tokens(self) -> int:
        """Tokens computed; 0 if nothing was."""

    @property
    def num_decodes(self) -> int:
        """Those among them that were the one token of a decoding sequence."""


class Instruments:
    """Of one engine."""

    def __init__(self, page: SeriesPage, model: str) -> None:
        self._duration = page.histograms(names.STEP_DURATION).of(model)
        self._sequences = page.histograms(names.STEP_SEQUENCES).of(model)
        self._prefill = page.histograms(names.STEP_PREFILL_TOKENS).of(model)
        self._decode = page.histograms(names.STEP_DECODE_TOKENS).of(model)
        tokens = page.counters(names.COMPUTED_TOKENS)
        self._prefilled, self._decoded = tokens.of(model, "prefill"), tokens.of(model, "decode")
        self._num_sequences = 0

    def watch(self, runner: Runner) -> Runner:
        """Put around a runner what sees the size of every batch."""
        return _BatchWatch(runner, self)

    def boarded(self, num_sequences: int) -> None:
        """Note how many sequences the step has that is about to run."""
        self._num_sequences = num_sequences

    def stepped(self, step: Stepped) -> None:
        """Count a step that is over; one that computed nothing is none."""
        if not step.num_tokens:
            return
        num_prefilled = step.num_tokens - step.num_decodes
        self._duration.observe((step.ended_ns - step.started_ns) / 1e9)
        self._sequences.observe(self._num_sequences)
        self._prefill.observe(num_prefilled)
        self._decode.observe(step.num_decodes)
        self._prefilled.add(num_prefilled)
        self._decoded.add(step.num_decodes)


class _BatchWatch:
    """A runner that notes how many sequences a plan has."""

    def __init__(self, inner: Runner, instruments: Instruments) -> None:
        self._inner, self._instruments = inner, instruments

    def execute(self, plan: StepPlan) -> StepResult:
        self._instruments.boarded(len(plan.rows))
        return self._inner.execute(plan)

    def close(self) -> None:
        self._inner.close()
