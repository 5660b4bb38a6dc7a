"""Very many requests through one engine process, to see that memory stays flat and nothing is left behind."""

import asyncio
import time
from typing import Any

import psutil

from spillway_engine.client.engine_client import EngineClient
from spillway_engine.settings import EngineSettings
from spillway_wire.sampling import SamplingParams

IN_FLIGHT = 256
SAMPLES = 20


async def soak(num_requests: int) -> dict[str, Any]:
    """Send `num_requests` short, differing requests of the demo model; return resident megabytes as they went by."""
    settings = EngineSettings(model="demo", kv_cache_bytes=16 << 20)
    async with await EngineClient.spawn(settings) as engine:
        assert engine.process is not None  # noqa: S101 (spawned)
        process = psutil.Process(engine.process.pid)
        numbers = iter(range(num_requests))
        resident: list[float] = []
        every = max(1, num_requests // SAMPLES)

        async def one_after_another() -> None:
            for number in numbers:
                if number % every == 0:
                    resident.append(process.memory_info().rss / 1e6)
                prompt = [4 + number % 1009, 4 + number // 1009 % 1009, 4 + number % 17]
                await engine.generate(prompt, SamplingParams(temperature=0.8, seed=number, max_tokens=1 + number % 3))

        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT):
                group.create_task(one_after_another())
        seconds = time.perf_counter() - started
        resident.append(process.memory_info().rss / 1e6)
        snapshot = await engine.snapshot()
    return {
        "requests": num_requests,
        "requests_per_s": num_requests / seconds,
        "resident_mb": resident,
        "growth_after_first_tenth_mb": resident[-1] - resident[SAMPLES // 10],
        "snapshot": snapshot,
    }
