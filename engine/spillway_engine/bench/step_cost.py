"""What a step costs outside the model: scheduling, filling arrays, sampling, settling, encoding the frame.

The compiled program runs model and sampler in one go, so the sampler is timed by itself on logits of the same shape.
"""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from spillway_engine.cpu.runner import CpuRunner
from spillway_engine.sampling.sampler import CpuSampler
from spillway_engine.settings import EngineSettings
from spillway_engine.startup import LoadedEngine, load_engine
from spillway_wire.codec import FrameEncoder
from spillway_wire.messages import Delta, StepOutput, Submit
from spillway_wire.sampling import SamplingParams

BATCH = 32
STEPS = 60
VOCABULARY = 49_152


def measure_step_cost(model: Path) -> Iterator[dict[str, Any]]:
    """Yield microseconds by part for greedy and sampled batches of 32, with 10 and with 10,000 requests waiting."""
    for kind, params in (
        ("greedy", SamplingParams(temperature=0.0, ignore_eos=True)),
        ("temperature 0.8, top_p 0.95", SamplingParams(temperature=0.8, top_p=0.95, seed=7, ignore_eos=True)),
    ):
        for waiting in (10, 10_000):
            engine = load_engine(EngineSettings(model=str(model), max_num_seqs=BATCH, prefix_caching=False, threads=1))
            try:
                yield {"rows": kind, "waiting": waiting, **_measure(engine, params, waiting)}
            finally:
                engine.runner.close()


def _measure(engine: LoadedEngine, params: SamplingParams, waiting: int) -> dict[str, float]:
    core, runner = engine.core, engine.runner
    assert isinstance(runner, CpuRunner)  # noqa: S101 (the bench's models are of the Llama family)
    for index in range(BATCH + waiting):
        core.submit("bench", Submit(request_id=str(index), prompt_token_ids=[index % 999 + 1] * 8, params=params))
    while core.load().running < BATCH or core.load().waiting_prefill_tokens > 8 * waiting:
        core.step()
    encoder = FrameEncoder()
    outside, send = [], []
    for sequence in range(STEPS):
        computed_before, started = runner.compute_ns, time.perf_counter_ns()
        report = core.step()
        outside.append(time.perf_counter_ns() - started - (runner.compute_ns - computed_before))
        started = time.perf_counter_ns()
        deltas: tuple[Delta, ...] = tuple(delta for _, delta in report.deltas) if report else ()
        encoder.encode(
            StepOutput(sequence=sequence, step=sequence, started_ns=0, ended_ns=0, load=core.load(), deltas=deltas)
        )
        send.append(time.perf_counter_ns() - started)
    core.abort_client("bench")
    parts = {
        "schedule, fill, settle": statistics.median(outside) / 1e3,
        "encode": statistics.median(send) / 1e3,
        "sample": _sampling_us(params),
    }
    return {**parts, "total": sum(parts.values())}


def _sampling_us(params: SamplingParams) -> float:
    """Return the median time of sampling 32 rows with one thread; logits as peaked as a trained model's."""
    from spillway_engine.request import Request, Sequence  # noqa: PLC0415 - only here

    sampler = CpuSampler(BATCH, VOCABULARY)
    for slot in range(BATCH):
        request = Request(key=("bench", str(slot), 1), prompt_token_ids=[1], params=params, arrival=slot)
        sequence = Sequence(request, 0, max_output_tokens=10)
        sequence.slot = slot
        sampler.join(sequence)
    generator = np.random.default_rng(0)
    logits = (generator.standard_normal((BATCH, VOCABULARY)) * 4).astype(np.float32)
    times = []
    for position in range(9):
        sampler.prepare(list(range(BATCH)), [position] * BATCH)
        started = time.perf_counter_ns()
        sampler.sample_rows(logits, 0, BATCH)
        times.append(time.perf_counter_ns() - started)
        sampler.finish(BATCH)
    return statistics.median(times) / 1e3
