"""What batching, the step policy and the batch wait do to latency and throughput, on one model in one run."""

import asyncio
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from spillway_engine.bench.loadrun import closed_loop
from spillway_engine.bench.peers import PeerCase
from spillway_engine.settings import EngineSettings, StepPolicy

VARIANTS: dict[str, dict[str, Any]] = {
    "one request at a time": {"max_num_seqs": 1},
    "batched, decode first": {},
    "batched, prefill first": {"step_policy": StepPolicy.PREFILL_FIRST},
    "batched, decode first, 20 ms batch wait": {"batch_wait_s": 0.02},
}


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """One line of the table. Times in milliseconds."""

    variant: str
    in_flight: int
    tokens_per_s: float
    first_token_p50: float
    first_token_p95: float
    between_tokens_p50: float
    between_tokens_p99: float


def measure_policies(case: PeerCase) -> Iterator[dict[str, Any]]:
    """Yield a `PolicyRow`, as a mapping, for each variant."""
    for name, changes in VARIANTS.items():
        settings = EngineSettings(
            model=str(case.model_path), threads=case.threads, **{"max_num_seqs": 64, "prefix_caching": False, **changes}
        )
        run = asyncio.run(closed_loop(settings, case))
        yield asdict(
            PolicyRow(
                name,
                case.concurrency,
                run.tokens_per_s,
                run.first_token_ms(0.5),
                run.first_token_ms(0.95),
                run.gap_ms(0.5),
                run.gap_ms(0.99),
            )
        )
