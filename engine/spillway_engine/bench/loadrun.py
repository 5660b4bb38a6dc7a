"""Our own side of the benchmark: a closed loop of requests against an engine process, over its sockets."""

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from spillway_engine.bench.peers import PeerCase, PeerResult
from spillway_engine.client.engine_client import EngineClient
from spillway_engine.settings import EngineSettings
from spillway_wire.sampling import SamplingParams


@dataclass(slots=True)
class Timeline:
    """When a request was sent and when its tokens came, in seconds of the client's clock."""

    sent: float
    arrivals: list[float] = field(default_factory=list)

    @property
    def first_token_s(self) -> float:
        """Time to first token."""
        return self.arrivals[0] - self.sent

    @property
    def gaps_s(self) -> list[float]:
        """Times between tokens."""
        return [after - before for before, after in zip(self.arrivals, self.arrivals[1:], strict=False)]


@dataclass(frozen=True, slots=True)
class Run:
    """A measured closed loop."""

    seconds: float
    timelines: list[Timeline]
    version: str

    @property
    def output_tokens(self) -> int:
        """Tokens received."""
        return sum(len(timeline.arrivals) for timeline in self.timelines)

    @property
    def tokens_per_s(self) -> float:
        """Output tokens of all requests over the whole time."""
        return self.output_tokens / self.seconds

    def first_token_ms(self, share: float) -> float:
        """Return a quantile of the time to first token."""
        return 1e3 * quantile([timeline.first_token_s for timeline in self.timelines], share)

    def gap_ms(self, share: float) -> float:
        """Return a quantile of the time between tokens."""
        return 1e3 * quantile([gap for timeline in self.timelines for gap in timeline.gaps_s], share)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that `share` of all are not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def closed_loop(settings: EngineSettings, case: PeerCase) -> Run:
    """Start an engine process and keep `case.concurrency` requests in flight, after a warm-up of other prompts."""
    params = SamplingParams(temperature=0.0, max_tokens=case.max_tokens, ignore_eos=True)
    async with await EngineClient.spawn(settings) as engine:
        warm = [[token ^ 1 for token in prompt] for prompt in case.prompts[: case.concurrency]]
        await _drive(engine, warm, params, case.concurrency)
        started = time.perf_counter()
        timelines = await _drive(engine, case.prompts, params, case.concurrency)
        return Run(time.perf_counter() - started, timelines, engine.welcome.engine_version)


async def _drive(
    engine: EngineClient, prompts: Sequence[Sequence[int]], params: SamplingParams, concurrency: int
) -> list[Timeline]:
    waiting = iter(prompts)
    timelines: list[Timeline] = []

    async def one_after_another() -> None:
        for prompt in waiting:
            timeline = Timeline(time.perf_counter())
            timelines.append(timeline)
            async for delta in engine.submit(prompt, params):
                timeline.arrivals += [time.perf_counter()] * len(delta.token_ids)

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(one_after_another())
    return timelines


def measure_ours(case: PeerCase, **settings: object) -> PeerResult:
    """Measure Spillway as the peers are measured: its own process, and its channels in between."""
    chosen = EngineSettings(
        model=str(case.model_path),
        threads=case.threads,
        max_num_seqs=max(case.concurrency, 32),
        prefix_caching=False,
        **settings,  # type: ignore[arg-type]  # names are checked by the class itself
    )
    run = asyncio.run(closed_loop(chosen, case))
    return PeerResult(
        name="spillway",
        version=run.version,
        served=True,
        output_tokens=run.output_tokens,
        seconds=run.seconds,
        tokens_per_s=run.tokens_per_s,
        first_token_ms_p50=1e3 * statistics.median(timeline.first_token_s for timeline in run.timelines),
        note="process and sockets",
    )
