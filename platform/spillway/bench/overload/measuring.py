"""One target under load: warmed up, calibrated, searched for its capacity, and put under levels and steps."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from spillway.admission.contract import Objective
from spillway.bench.figures import quantile
from spillway.bench.overload.capacity import Capacity, Probe, find_capacity, ramp
from spillway.bench.overload.firing import fire
from spillway.bench.overload.judging import Fate
from spillway.bench.overload.levels import Level, level_of
from spillway.bench.overload.plan import Plan, Record, Run
from spillway.bench.overload.schedule import Phase, arrivals
from spillway.bench.overload.settling import good_tokens, settled_after_s
from spillway.bench.overload.targets import Target
from spillway.bench.overload.work import NOBODY, OUTPUT_TOKENS, Sender, Work

BATCH: Final = 32
"""Clients of the closed loop that a pace is measured with."""
RAMP_S: Final = 6.0
WARM_S: Final = 2.0
STEP: Final = (0.5, 4.0)
"""Times the capacity, before and after the step."""
BULK: Final = "bulk"
"""Group of those who wait for the first token as long as the bulk band may."""


@dataclass(frozen=True, slots=True)
class StepFound:
    """What a step showed."""

    after: Level
    settled_s: float | None
    strictly_s: float | None
    """Without an allowance for chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A target, what it is asked, and what is good."""

    target: Target
    work: Work
    objective: Objective
    bulk_ttft_s: float
    seed: int
    generators: int = 1
    sender: Sender = NOBODY
    """Who asks where nobody else is said to."""

    @property
    def patience_s(self) -> float:
        """How long after the last arrival answers are waited for: by then none can become good any more."""
        return 2 * self.objective.ttft_s + 2 * self.objective.tpot_s * max(OUTPUT_TOKENS)

    def objective_of(self, record: Record) -> Objective:
        """Return what counts for a request."""
        if record.group != BULK:
            return self.objective
        return Objective(ttft_s=self.bulk_ttft_s, tpot_s=self.objective.tpot_s)

    def seed_of(self, name: str) -> str:
        """Return the seed of a run: the same for every target."""
        return f"{self.seed}, {name}"

    # ---- asking ----

    def closed(self, name: str, clients: int, seconds: float) -> Run:
        """Keep so many clients busy for so long."""
        schedule = [(0.0, self.sender)] * max(512, clients * 8)
        shots = self.work.shots(schedule, self.seed_of(name))
        host, port = self.target.address
        plan = Plan(host=host, port=port, shots=shots, patience_s=60.0, in_flight=clients, closed_s=seconds)
        return self._fire(plan)

    def open(
        self, name: str, due: Sequence[tuple[float, Sender]], *, retries: int = 0, patience_s: float | None = None
    ) -> Run:
        """Send requests when they are due."""
        host, port = self.target.address
        patience_s = self.patience_s if patience_s is None else patience_s
        shots = self.work.shots(due, self.seed_of(name))
        return self._fire(Plan(host=host, port=port, shots=shots, patience_s=patience_s, retries=retries))

    def _fire(self, plan: Plan) -> Run:
        run = fire(plan, self.generators)
        self.target.wait_until_idle()
        return run

    # ---- measuring ----

    def warm(self) -> None:
        """Have everything computed, compiled and connected once."""
        self.closed("warm", 8, WARM_S)

    def tpot_p50_s(self) -> float:
        """Return the mean time between tokens with 32 in flight, of the median request."""
        run = self.closed("pace", BATCH, RAMP_S)
        return quantile([record.tpot_s for record in run.records if record.is_done], 0.5)

    def capacity(self, probe_s: float) -> Capacity:
        """Find it; each probe of a rate takes `probe_s`."""

        def answers_per_s(clients: int) -> float:
            run = self.closed(f"ramp {clients}", clients, RAMP_S)
            done = sum(record.is_done for record in run.records) / run.seconds
            _say(f"closed loop, {clients} clients: {done:.2f} answers/s")
            return done

        def probe(rate: float) -> Probe:
            level = self.level(f"{rate:.2f}/s", rate, probe_s)
            _say(f"open loop, {rate:.2f} requests/s: {level.good_share:.1%} good")
            return Probe(rate, level.good_share, level.goodput)

        return find_capacity(ramp(answers_per_s), probe)

    def level(self, name: str, rate: float, seconds: float) -> Level:
        """Hold a rate for so long."""
        due = [(at, self.sender) for at in arrivals([Phase(rate, seconds)], self.seed_of(name))]
        level = level_of(name, self.open(name, due), self.objective_of, seconds)
        _say(describe(level))
        return level

    def step(self, capacity: float, seconds: float) -> StepFound:
        """Ask half of what it can do, and at once four times as much."""
        phases = [Phase(times * capacity, seconds) for times in STEP]
        run = self.open("step", [(at, self.sender) for at in arrivals(phases, self.seed_of("step"))])
        after = Run(
            [record for record in run.records if record.due_s >= seconds], run.seconds, run.cpu_share, run.scheduling
        )
        level = level_of(f"step to {STEP[1]:g}x", after, self.objective_of, seconds)
        _say(describe(level))
        tokens = good_tokens(run, self.objective_of, seconds)
        return StepFound(level, settled_after_s(tokens, seconds), settled_after_s(tokens, seconds, strict=True))


def describe(level: Level) -> str:
    """Return a line about a level, for those who wait."""
    fates = ", ".join(f"{count} {fate}" for fate, count in level.fates.items() if count and fate != Fate.GOOD)
    return f"{level.name}: {level.offered:.2f}/s asked, {level.goodput:.2f}/s good; {fates or 'all good'}"


def _say(line: str) -> None:
    sys.stderr.write(f"  {line}\n")
    sys.stderr.flush()
