"""Which model is asked: its folder, its name, and the work that suits it."""

import asyncio
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spillway.bench.client import post
from spillway.bench.overload.targets import Platform
from spillway.bench.overload.work import COUNTS, CountingWork, TokenWork, Work
from spillway.bench.streams import Count
from spillway.errors import UsageError

DEMO: Final = "demo"
SHAPES: Final = ("small", "tiny")
"""The engine benchmark's, made on demand."""
COUNTS_EACH: Final = 12


@dataclass(frozen=True, slots=True)
class Model:
    """A model to serve."""

    name: str
    source: str
    """A folder, or `demo`."""

    @property
    def is_demo(self) -> bool:
        """Whether it is the one that counts."""
        return self.source == DEMO


def find_model(given: str) -> Model:
    """Return `demo`, one of `SHAPES`, or a Hugging Face folder. Raises `UsageError`."""
    if given == DEMO:
        return Model(DEMO, DEMO)
    if given in SHAPES:
        return Model(given, str(_made(given)))
    folder = Path(given)
    if not (folder / "config.json").is_file() or not (folder / "tokenizer.json").is_file():
        raise UsageError(f"--model {given}: no model is there; give demo, {', '.join(SHAPES)} or a Hugging Face folder")
    return Model(folder.resolve().name, str(folder.resolve()))


def _made(shape: str) -> Path:
    """Have the engine benchmark make it; in a process of its own, as that loads torch."""
    code = f"from spillway_engine.bench.models import ensure_model; print(ensure_model({shape!r}))"
    made = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    if made.returncode:
        raise UsageError(f"the model {shape} could not be made: {(made.stderr.splitlines() or ['?'])[-1][:300]}")
    return Path(made.stdout.split()[-1])


def work_of(model: Model) -> Work:
    """Return what to ask of a model that is not the demo model."""
    return TokenWork.of(Path(model.source), model.name)


def work_for(model: Model, platform: Platform, seed: int) -> Work:
    """Return what to ask. The demo model is asked first which ranges it counts right."""
    if not model.is_demo:
        return work_of(model)
    return asyncio.run(_counting(platform, seed))


async def _counting(platform: Platform, seed: int) -> CountingWork:
    randomness = random.Random(seed)
    connection = await platform.served.connect()
    counts: dict[int, list[Count]] = {length: [] for length in COUNTS}
    try:
        for length, right in counts.items():
            while len(right) < COUNTS_EACH:
                count = Count.draw(randomness, length)
                reply = await connection.exchange(post("/v1/chat/completions", count.fields()))
                if reply.status != 200:
                    raise UsageError(f"{count.prompt!r} was answered with {reply.status}: {reply.body.decode()[:300]}")
                if reply.json()["choices"][0]["message"]["content"].strip() == count.answer:
                    right.append(count)
    finally:
        connection.close()
    return CountingWork(counts)
