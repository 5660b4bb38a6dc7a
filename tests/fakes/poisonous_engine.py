"""A stand-in engine that a pill kills: `python poisonous_engine.py`, with the flags of `python -m spillway_engine`.

A request of exactly `PILL_TOKENS` output tokens ends the process in its first step, before any token of it is said.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Final

from spillway_engine.bench.stand_in import StandIn, load_stand_in
from spillway_engine.plan import Runner, StepPlan, StepResult
from spillway_engine.process.main import main
from spillway_engine.settings import EngineSettings

PILL_TOKENS: Final = 13


class Stomach:
    """Runs what it wraps, unless there is a pill aboard."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner

    def execute(self, plan: StepPlan) -> StepResult:
        if any(row.sequence.params.max_tokens == PILL_TOKENS for row in plan.rows):
            os.kill(os.getpid(), signal.SIGKILL)
        return self.runner.execute(plan)

    def close(self) -> None:
        self.runner.close()


def load(settings: EngineSettings, report: Callable[[str, float], None]) -> StandIn:
    loaded = load_stand_in(settings, report)
    loaded.core.wrap_runner(Stomach)
    return loaded


if __name__ == "__main__":
    sys.exit(main(load=load))
