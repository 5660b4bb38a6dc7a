"""What loading a model gives, whichever backend does it."""

from collections.abc import Callable
from dataclasses import dataclass

from spillway_engine.pace import StepTime
from spillway_engine.plan import Runner
from spillway_engine.settings import SchedulerSettings
from spillway_wire.messages import Exactness

Report = Callable[[str, float], None]
"""Told of progress while a model is loaded: the phase, and the share of it that is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A warm runner and what was found out about it."""

    runner: Runner
    limits: SchedulerSettings
    vocab_size: int
    exactness: Exactness
    warmup_s: float
    measured_step: StepTime
