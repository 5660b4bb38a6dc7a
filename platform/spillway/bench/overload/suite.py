"""A whole run: which targets are started with what, in which order, and all that was found.

::

    platform as it comes ─▶ its pace with 32 in flight ─▶ the objective between tokens     (unless it is given)
    platform with that objective ─▶ capacity ─▶ levels ─▶ step ─▶ priorities, retries
    platform with two tenants ─▶ fairness            platform with a short queue ─▶ burst
    vLLM ─▶ the same arrivals            vLLM with each bound of its queue at twice ─▶ the best one ─▶ the same arrivals
"""

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from spillway.admission.contract import Objective
from spillway.admission.identity.keys import declaration, new_key
from spillway.bench.figures import print_table
from spillway.bench.overload import aims, drills
from spillway.bench.overload.capacity import Capacity
from spillway.bench.overload.configuration import Configuration
from spillway.bench.overload.levels import Level
from spillway.bench.overload.measuring import STEP, Bench, StepFound
from spillway.bench.overload.models import Model, work_for, work_of
from spillway.bench.overload.peer import interpreter, vllm
from spillway.bench.overload.promises import Promise
from spillway.bench.overload.reporting import print_levels
from spillway.bench.overload.targets import Target, platform
from spillway.bench.overload.work import NOBODY, Sender, Work, with_key
from spillway.bench.served import StartFailedError
from spillway.errors import SpillwayError
from spillway.settings import Settings

PACE_TIMES: Final = 2.0
"""The objective between tokens, of what the median request has with 32 in flight."""
TUNED_AT: Final = 2.0
TUNING_S: Final = 20.0
SHIPPED: Final = Settings().tiers["gold"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """What to run; times in seconds."""

    model: Model
    seconds: float
    levels: tuple[float, ...]
    has_step: bool
    drills: tuple[str, ...]
    capacity: float | None
    ttft_s: float
    tpot_s: float | None
    seed: int
    generators: int
    queue: int
    flags: tuple[str, ...]
    peers: tuple[str, ...]
    peer_python: Path | None
    peer_queues: tuple[int, ...]


@dataclass(slots=True)
class TargetFound:
    """What the levels and the step showed of one target."""

    name: str
    levels: dict[float, Level] = field(default_factory=dict)
    step: StepFound | None = None

    @property
    def peak(self) -> float:
        """The highest goodput of its levels."""
        return max((level.goodput for level in self.levels.values()), default=0.0)

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        step = None if self.step is None else asdict(self.step) | {"after": self.step.after.as_dict()}
        return {
            "name": self.name,
            "levels": {f"{times:g}": level.as_dict() for times, level in self.levels.items()},
            "step": step,
        }


@dataclass(slots=True)
class SuiteFound:
    """All that a run found."""

    objective: Objective
    capacity: Capacity
    peak: float = 0.0
    targets: list[TargetFound] = field(default_factory=list)
    drilled: dict[str, drills.Found] = field(default_factory=dict)
    promises: list[Promise] = field(default_factory=list)
    unavailable: str | None = None
    """Why a peer gave no figures."""

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        return {
            "objective": msgspec.structs.asdict(self.objective),
            "capacity": asdict(self.capacity),
            "peak": self.peak,
            "targets": [target.as_dict() for target in self.targets],
            "drills": {
                name: {"rows": list(found.rows), "levels": [level.as_dict() for level in found.levels]}
                for name, found in self.drilled.items()
            },
            "unavailable": self.unavailable,
            "promises": [promise.as_dict() for promise in self.promises],
        }


def run(suite: Suite) -> SuiteFound:
    """Run it all. Raises `SpillwayError` where the platform does not start or nothing goes through."""
    try:
        return _Running(suite).run()
    except (StartFailedError, TimeoutError) as error:
        lines = str(error).splitlines()
        raise SpillwayError("; ".join(lines[:1] + lines[1:][-1:])) from error  # how it was started, and its last word


class _Running:
    def __init__(self, suite: Suite) -> None:
        self._suite = suite
        self._objective = Objective(ttft_s=suite.ttft_s, tpot_s=suite.tpot_s or SHIPPED.tpot_s)
        self._work: Work | None = None

    def run(self) -> SuiteFound:
        suite = self._suite
        if suite.tpot_s is None and not suite.model.is_demo:
            with self._bench(Configuration(objective=self._objective, bulk_ttft_s=SHIPPED.bulk_ttft_s)) as bench:
                tpot_s = math.ceil(100 * PACE_TIMES * bench.tpot_p50_s()) / 100  # full hundredths: a figure to quote
            self._objective = Objective(ttft_s=suite.ttft_s, tpot_s=tpot_s)
        _say(
            f"good: first token within {self._objective.ttft_s:g} s, "
            f"later ones {1e3 * self._objective.tpot_s:g} ms each on average"
        )
        with self._bench(self._configuration()) as bench:
            found = self._main(bench)
        for drill in ("fairness", "burst"):
            if drill in suite.drills:
                self._alone(drill, found)
        if suite.peers:
            try:
                self._peer(found)
            except (SpillwayError, TimeoutError) as error:  # what was found of the platform stays
                found.unavailable = str(error)
                _say(found.unavailable)
        return found

    # ---- the platform ----

    def _main(self, bench: Bench) -> SuiteFound:
        suite = self._suite
        probe_s = max(8.0, suite.seconds / 4)
        capacity = Capacity(suite.capacity) if suite.capacity else bench.capacity(probe_s)
        found = SuiteFound(self._objective, capacity)
        print_table("Capacity", [{"requests/s": capacity.rate, "closed loop, answers/s": capacity.closed_loop or "-"}])
        target = self._loaded(bench, capacity.rate)
        found.peak = max(target.peak, capacity.peak if capacity.probes else 0.0) or capacity.rate
        if target.levels:
            found.targets.append(target)
            found.promises += aims.level_promises(target.levels, found.peak)
        if target.step is not None:
            found.promises += aims.step_promises(target.step, found.peak)
        self._print(target, found.peak)
        if "priorities" in suite.drills:
            self._keep("priorities", drills.priorities(bench, capacity.rate, suite.seconds), found)
        if "retries" in suite.drills:
            self._keep("retries", drills.retries(bench, capacity.rate, suite.seconds), found)
        return found

    def _alone(self, drill: str, found: SuiteFound) -> None:
        """Run a drill that needs a platform with another configuration."""
        if drill == "burst":
            with self._bench(self._configuration(max_queued_requests=self._suite.queue)) as bench:
                self._keep(drill, drills.burst(bench, self._suite.queue), found)
            return
        keys = {name: new_key(os.urandom) for name in drills.TENANTS}
        tenants = {name: (declaration(key),) for name, key in keys.items()}
        with self._bench(self._configuration(tenants=tenants), key=keys[drills.TENANTS[0]]) as bench:
            self._keep(drill, drills.fairness(bench, keys, found.capacity.rate, self._suite.seconds), found)

    def _keep(self, name: str, drill: drills.Found, found: SuiteFound) -> None:
        if drill.rows:
            print_table(name.capitalize(), drill.rows)
        if drill.levels:
            print_levels(name.capitalize(), drill.levels, found.peak or None)
        found.drilled[name] = drill
        found.promises += drill.promises

    def _configuration(self, **more: Any) -> Configuration:
        return Configuration(objective=self._objective, bulk_ttft_s=SHIPPED.bulk_ttft_s, **more)

    @contextmanager
    def _bench(self, configuration: Configuration, key: str | None = None) -> Iterator[Bench]:
        """Start the platform and warm it up."""
        suite = self._suite
        with platform(suite.model.source, suite.model.name, configuration, suite.flags) as started:
            if self._work is None:  # the first platform knows no tenants: it answers anybody
                self._work = work_for(suite.model, started, suite.seed)
            bench = self._of(started, self._work, NOBODY if key is None else with_key("", key))
            bench.warm()
            yield bench

    def _of(self, target: Target, work: Work, sender: Sender = NOBODY) -> Bench:
        return Bench(
            target=target,
            work=work,
            sender=sender,
            objective=self._objective,
            bulk_ttft_s=SHIPPED.bulk_ttft_s,
            seed=self._suite.seed,
            generators=self._suite.generators,
        )

    # ---- any target ----

    def _loaded(self, bench: Bench, capacity: float) -> TargetFound:
        """Put a target under all levels, and the step."""
        found = TargetFound(bench.target.name)
        for times in self._suite.levels:
            found.levels[times] = bench.level(f"{times:g}x", times * capacity, self._suite.seconds)
        if self._suite.has_step:
            found.step = bench.step(capacity, self._suite.seconds)
        return found

    def _print(self, found: TargetFound, peak: float) -> None:
        levels = [*found.levels.values(), *([found.step.after] if found.step is not None else [])]
        if levels:
            print_levels(f"{found.name}, {self._suite.seconds:g} s each", levels, peak)
        if found.step is not None:
            row = {"from": f"{STEP[0]:g}x", "to": f"{STEP[1]:g}x", "settled after, s": _or_never(found.step.settled_s)}
            print_table("Step", [{**row, "without allowance for chance": _or_never(found.step.strictly_s)}])

    # ---- a peer ----

    def _peer(self, found: SuiteFound) -> None:
        suite = self._suite
        python, folder = interpreter(suite.peer_python), Path(suite.model.source)
        goodput: dict[int, float] = {}
        for queued in (None, *suite.peer_queues):
            with vllm(python, folder, suite.model.name, queued) as started:
                bench = self._of(started, work_of(suite.model))
                bench.warm()
                if queued is None:
                    self._peer_levels(bench, found)
                else:
                    level = bench.level(f"tuning at {TUNED_AT:g}x", TUNED_AT * found.capacity.rate, TUNING_S)
                    goodput[queued] = level.goodput
        best = max(goodput, key=lambda queued: goodput[queued])
        with vllm(python, folder, suite.model.name, best) as started:
            bench = self._of(started, work_of(suite.model))
            bench.warm()
            self._peer_levels(bench, found)

    def _peer_levels(self, bench: Bench, found: SuiteFound) -> None:
        target = self._loaded(bench, found.capacity.rate)
        found.targets.append(target)
        self._print(target, found.peak)


def _or_never(seconds: float | None) -> float | str:
    return "never" if seconds is None else seconds


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
