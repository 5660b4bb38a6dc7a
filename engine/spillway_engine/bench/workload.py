"""The benchmark's requests: random token ids, so that no two share a prefix, the same for everybody."""

import random
from pathlib import Path

from spillway_engine.bench.peers import PeerCase

PROMPT_TOKENS = 128
OUTPUT_TOKENS = 64
LEAST_REQUESTS = 4
SEED = 20_25


def make_case(model: Path, vocab_size: int, concurrency: int, threads: int, *, rounds: int) -> PeerCase:
    """Return `rounds` requests for each one in flight, and never fewer than four."""
    source = random.Random(SEED)
    num_requests = concurrency * max(rounds, -(-LEAST_REQUESTS // concurrency))
    return PeerCase(
        model_path=model,
        concurrency=concurrency,
        prompts=[source.choices(range(vocab_size), k=PROMPT_TOKENS) for _ in range(num_requests)],
        max_tokens=OUTPUT_TOKENS,
        threads=threads,
    )
