"""Virtual time: engines, gateways and clients on one heap of events. A minute takes a second or two."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from random import Random

from spillway.admission.contract import Band
from spillway.admission.load.limit import AdaptiveLimit
from spillway.bench.simulation.engine import EngineKind, Job, SimEngine
from spillway.bench.simulation.gateway import SimGateway
from spillway.bench.simulation.traffic import Request, Source, arrivals
from spillway.pool.contract import Refused
from spillway.settings import Settings

SAMPLE_S = 0.1
IMPATIENT_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Everything that a run depends on."""

    sources: Sequence[Source]
    duration_s: float
    engines: Sequence[EngineKind] = (EngineKind.of(),)
    gateways: int = 1
    shared_limits: bool = False
    """Whether gateways agree on the limit of an engine; else each learns one of its own."""
    outages: Sequence[tuple[int, float, float]] = ()
    """(engine, from, until)."""
    seed: int = 1
    settings: Settings = field(default_factory=Settings)
    drain_s: float = 60.0
    """How long what was admitted may go on after the last arrival."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The first gateway at one moment."""

    at: float
    waiting: int
    in_flight: int
    oldest_s: float
    level: int
    pressure: float
    factor: float


@dataclass(slots=True)
class Run:
    """How it went."""

    scenario: Scenario
    requests: list[Request] = field(default_factory=list)
    refusals: list[tuple[float, Request, Refused]] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    gateways: list[SimGateway] = field(default_factory=list)
    engines: list[SimEngine] = field(default_factory=list)


class World:
    """Plays a scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.now = 0.0
        self._random = Random(scenario.seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._requests: dict[str, Request] = {}
        self._home: dict[str, SimGateway] = {}
        self._limits: dict[int, AdaptiveLimit] = {}
        """By the identity of engines, which the run keeps alive."""
        self._lost: list[SimEngine] = []
        tightest_s = min(source.objective.tpot_s for source in scenario.sources)
        self.run_ = Run(scenario)
        self.gateways = [
            SimGateway(number, scenario.settings, random=self._random, tpot_s=tightest_s, send=self._send)
            for number in range(scenario.gateways)
        ]
        self.engines = [SimEngine(f"e{number}", kind) for number, kind in enumerate(scenario.engines)]

    def _limit_of(self, engine: SimEngine) -> AdaptiveLimit:
        # All gateways tell a shared one of each step: it learns ratios, and a step told thrice is the same ratio.
        limit = AdaptiveLimit(engine.kind.capacity.max_num_seqs)
        return self._limits.setdefault(id(engine), limit) if self.scenario.shared_limits else limit

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Have something happen."""
        heappush(self._events, (when, next(self._order), action))

    def run(self) -> Run:
        """Play it to its end."""
        scenario = self.scenario
        for gateway in self.gateways:
            gateway.door.set_gateways(scenario.gateways)
            for engine in self.engines:
                gateway.connect(engine, self._limit_of(engine))
        for request in arrivals(scenario.sources, scenario.duration_s, self._random):
            self.run_.requests.append(request)
            self._requests[request.id] = request
            self.at(request.at, lambda request=request: self._ask(request))  # type: ignore[misc]
        for number, start_s, until_s in scenario.outages:
            self.at(start_s, lambda number=number: self._lose(number))  # type: ignore[misc]
            self.at(until_s, lambda number=number: self._restore(number))  # type: ignore[misc]
        for tick in range(int(scenario.duration_s / SAMPLE_S)):
            self.at(tick * SAMPLE_S, self._sample)
        while self._events and self._events[0][0] <= scenario.duration_s + scenario.drain_s:
            self.now, _, action = heappop(self._events)
            action()
        self.run_.gateways, self.run_.engines = self.gateways, self.engines
        return self.run_

    def _ask(self, request: Request) -> None:
        gateway = self._random.choice(self.gateways)
        refused = gateway.ask(request, self.now)
        if refused is None:
            self._home[request.id] = gateway
            return
        self.run_.refusals.append((self.now, request, refused))
        if request.tries >= request.source.tries or refused.should_retry is False:
            return
        wait_s = refused.retry_after_s if request.source.obeys else IMPATIENT_S
        if wait_s is not None:
            self.at(self.now + wait_s, lambda: self._ask(request))

    def _send(self, engine: SimEngine, job: Job) -> None:
        engine.submit(job)
        self._step(engine)

    def _step(self, engine: SimEngine) -> None:
        if engine.busy or not engine.alive:
            return
        step_s = engine.begin_step()
        if step_s is not None:
            self.at(self.now + step_s, lambda: self._stepped(engine))

    def _stepped(self, engine: SimEngine) -> None:
        if not engine.alive:
            return
        for job, last in engine.end_step().tokens:
            request = self._requests[job.id]
            self._home[job.id].token(request, self.now, last=last)
        for gateway in self.gateways:
            gateway.hear(engine, self.now)
        for gateway in self._random.sample(self.gateways, len(self.gateways)):
            gateway.dispatch(self.now)
        self._step(engine)

    def _lose(self, number: int) -> None:
        engine = self.engines[number]
        engine.alive = False
        self._lost.append(engine)
        for gateway in self.gateways:
            gateway.disconnect(engine, self.now)

    def _restore(self, number: int) -> None:
        engine = self.engines[number] = SimEngine(f"e{number}", self.scenario.engines[number])
        for gateway in self.gateways:
            gateway.connect(engine, self._limit_of(engine))
            gateway.dispatch(self.now)

    def _sample(self) -> None:
        gateway = self.gateways[0]
        door = gateway.door.model("model")
        door.brownout.advance(self.now)
        oldest = gateway.line.oldest()
        self.run_.samples.append(
            Sample(
                self.now,
                len(gateway.line),
                sum(len(engine.running) for engine in self.engines if engine.alive),
                0.0 if oldest is None else self.now - oldest.queued_at,
                door.brownout.level,
                door.brownout.pressure,
                door.calibrations.bands[Band.DEFAULT].factor,
            )
        )


def limit_for(kind: EngineKind, tpot_s: float) -> float:
    """Return how many sequences keep a step within nine tenths of `tpot_s`, with a typical share of prefill."""
    rows = 1
    while rows < kind.capacity.max_num_seqs and kind.pace.step_s(rows + 1, 128) <= 0.9 * tpot_s:
        rows += 1
    return float(rows)


def simulate(scenario: Scenario) -> Run:
    """Play a scenario."""
    return World(scenario).run()
