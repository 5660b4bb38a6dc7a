"""Paged attention, interpreted: against plain attention in float64, and against itself shared out otherwise."""

from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from spillway_engine.cuda.kernels.attention import attend, combine
from spillway_engine.cuda.linear import precision
from spillway_engine.cuda.tiles import AttentionTiles, power_of_two
from spillway_engine.cuda.work import plan_tasks

pytestmark = pytest.mark.usefixtures("cuda_on_cpu")

BLOCK_SIZE, NUM_BLOCKS, WIDTH = 16, 40, 12
TILES = AttentionTiles(rows=16, keys=16, split=32, warps=1, stages=1)
SHARES = ((75, 1), (0, 5), (33, 2), (0, 1), (40, 17))
"""Positions that are in the cache already, and queries now: decodes over several splits, a prompt, chunks."""


@dataclass(frozen=True)
class Case:
    dtype: torch.dtype = torch.float32
    head_dim: int = 16
    kv_heads: int = 1
    group: int = 2
    window: int = 1 << 30
    softcap: float = 0.0
    cache: torch.dtype | None = None
    scales: tuple[float, float] = (1.0, 1.0)


CASES = {
    "float32, grouped": Case(kv_heads=2, group=3),
    "float16, head of 80": Case(torch.float16, head_dim=80),
    "bfloat16, head of 64": Case(torch.bfloat16, head_dim=64),
    "head of 256": Case(torch.float16, head_dim=256, group=1),
    "sliding window": Case(window=20),
    "soft cap": Case(softcap=2.0),
    "float8 cache": Case(torch.float16, head_dim=32, cache=torch.float8_e4m3fn, scales=(0.5, 2.0)),
}


class World:
    """Sequences with random numbers at every position, and a cache full of NaN where nobody has written."""

    def __init__(self, case: Case) -> None:
        self.case = case
        torch.manual_seed(3)
        self.lengths = [before + now for before, now in SHARES]
        heads = case.kv_heads * case.group
        self.queries = [self._random(length, heads) for length in self.lengths]
        self.keys, self.values = ([self._random(length, case.kv_heads) for length in self.lengths] for _ in range(2))
        self.tables = torch.randperm(NUM_BLOCKS)[: WIDTH * 3].reshape(3, WIDTH)
        self.tables = torch.stack([torch.randperm(NUM_BLOCKS) for _ in SHARES])[:, :WIDTH].int()
        held = torch.split(torch.randperm(NUM_BLOCKS), [-(-length // BLOCK_SIZE) for length in self.lengths] + [
            NUM_BLOCKS - sum(-(-length // BLOCK_SIZE) for length in self.lengths)
        ])  # fmt: skip
        for index in range(len(SHARES)):
            self.tables[index, : len(held[index])] = held[index].int()
        self.caches = [
            self._paged(tensors, scale) for tensors, scale in zip((self.keys, self.values), case.scales, strict=True)
        ]

    def _random(self, length: int, heads: int) -> torch.Tensor:
        return (torch.randn(length, heads, self.case.head_dim) * 1.5).to(self.case.dtype)

    def _paged(self, tensors: list[torch.Tensor], scale: float) -> torch.Tensor:
        size = (NUM_BLOCKS, self.case.kv_heads, BLOCK_SIZE, self.case.head_dim)
        cache = torch.full(size, float("nan"), dtype=self.case.dtype)
        for index, tensor in enumerate(tensors):
            for position, row in enumerate(tensor):
                cache[self.tables[index, position // BLOCK_SIZE], :, position % BLOCK_SIZE] = row / scale
        if self.case.cache is None:
            return cache
        stored = cache.to(self.case.cache)
        for index, tensor in enumerate(tensors):  # the reference is given what the cache can hold
            for position in range(len(tensor)):
                kept = stored[self.tables[index, position // BLOCK_SIZE], :, position % BLOCK_SIZE]
                tensor[position] = kept.to(tensor.dtype) * scale
        return stored

    def run(self, shares: list[tuple[int, int, int]], max_parts: int) -> list[torch.Tensor]:
        """Attend for (sequence, start, count), and return [count, heads, dim] of each."""
        case, tiles = self.case, TILES
        heads, dim = case.kv_heads * case.group, case.head_dim
        rows, starts, counts = np.array(shares, np.int32).T
        tasks = plan_tasks(
            starts, counts, rows, tile_tokens=tiles.rows // case.group, split_keys=tiles.split, max_parts=max_parts
        )
        queries = torch.cat([self.queries[i][start : start + count] for i, start, count in shares])
        positions = torch.cat([torch.arange(start, start + count) for _, start, count in shares]).int()
        out = torch.full_like(queries, float("nan"))
        parts = torch.full((max_parts + 1, heads, dim), float("nan"))
        highest, total = torch.empty(max_parts + 1, heads), torch.empty(max_parts + 1, heads)
        arrays: dict[str, Any] = {
            name: torch.from_numpy(np.ascontiguousarray(getattr(tasks, name))) for name in tasks.__slots__
        }
        shape = {"HEAD_DIM": dim, "DIM": max(16, power_of_two(dim)), "KV_HEADS": case.kv_heads, "GROUP": case.group}
        keys, values = self.caches
        attend[(2,)](
            out, queries, keys, values, self.tables, positions, arrays["token"], arrays["count"], arrays["row"],
            arrays["split"], arrays["splits"], arrays["part"], torch.tensor([len(tasks.token)], dtype=torch.int32),
            parts, highest, total, dim**-0.5, case.softcap, *case.scales, case.window, heads * dim, heads * dim, WIDTH,
            keys.stride(0), keys.stride(1), BLOCK_SIZE=BLOCK_SIZE, **shape, ROWS=tiles.rows, TILE=tiles.keys,
            SPLIT=tiles.split, SOFTCAP=case.softcap > 0, PRECISION=precision(case.dtype),
        )  # fmt: skip
        merges = torch.tensor([len(tasks.merge_token)], dtype=torch.int32)
        combine[(len(tasks.merge_token) + 1, case.kv_heads)](
            out, parts, highest, total, arrays["merge_token"], arrays["merge_part"], arrays["merge_parts"], merges,
            heads * dim, **shape, HEADS=power_of_two(case.group),
        )  # fmt: skip
        return list(torch.split(out, counts.tolist()))

    def reference(self, index: int) -> torch.Tensor:
        """Attend plainly over a whole sequence in float64."""
        case, length = self.case, self.lengths[index]
        keys = self.keys[index].double().repeat_interleave(case.group, 1)
        values = self.values[index].double().repeat_interleave(case.group, 1)
        scores = torch.einsum("qhd,khd->hqk", self.queries[index].double(), keys) * case.head_dim**-0.5
        if case.softcap:
            scores = torch.tanh(scores / case.softcap) * case.softcap
        distance = torch.arange(length)[:, None] - torch.arange(length)
        scores = scores.masked_fill((distance < 0) | (distance >= case.window), float("-inf"))
        return torch.einsum("hqk,khd->qhd", torch.softmax(scores, 2), values)


TOLERANCE = {torch.float32: 1e-6, torch.float16: 2e-3, torch.bfloat16: 1.2e-2}


@pytest.mark.parametrize("name", CASES)
def test_paged_attention_is_attention(name: str) -> None:
    world = World(CASES[name])
    found = world.run([(index, start, count) for index, (start, count) in enumerate(SHARES)], max_parts=8)
    for index, (start, _) in enumerate(SHARES):
        expected = world.reference(index)[start:]
        error = (found[index].double() - expected).norm() / expected.norm()
        assert error < TOLERANCE[world.case.dtype], index


@pytest.mark.parametrize("name", ["float32, grouped", "sliding window"])
def test_a_querys_bits_depend_neither_on_splits_nor_on_chunks_nor_on_company(name: str) -> None:
    world = World(replace(CASES[name], kv_heads=1, group=2))
    together = world.run([(index, start, count) for index, (start, count) in enumerate(SHARES)], max_parts=8)
    (whole,) = world.run([(0, 75, 1)], max_parts=0)
    assert torch.equal(together[0], whole)  # one task through all splits, or a task for each
    as_prompt = world.run([(0, 70, 6)], max_parts=8)[0][-1:]
    assert torch.equal(together[0], as_prompt)  # as the end of a chunk, or as a decode
    pieces = [world.run([(4, start, count)], max_parts=8)[0] for start, count in ((40, 1), (41, 9), (50, 7))]
    assert torch.equal(torch.cat(pieces), together[4])


def test_a_graph_may_hold_more_programs_and_merges_than_there_is_work(cuda_on_cpu: ModuleType) -> None:
    del cuda_on_cpu
    world = World(Case())
    (found,) = world.run([(3, 0, 1)], max_parts=8)
    assert torch.allclose(found.double(), world.reference(3), atol=1e-6)
