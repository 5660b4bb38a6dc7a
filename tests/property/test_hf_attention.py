"""Tiled paged attention against plain attention over each whole sequence, and against itself in other company."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spillway_engine.hf.attention import PagedState, paged_attention
from spillway_engine.hf.packing import PackedStep
from spillway_engine.plan import Row
from spillway_engine.request import Request, Sequence
from spillway_wire.sampling import SamplingParams

_KV_HEADS, _GROUP, _KEY_DIM, _VALUE_DIM = 2, 3, 8, 4
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class _Case:
    """Sequences as (computed before, computed now), and what a model may ask of attention."""

    shares: list[tuple[int, int]]
    block_size: int
    window: int | None
    softcap: float | None
    sinks: bool
    seed: int


_cases = st.builds(
    _Case,
    shares=st.lists(st.tuples(st.integers(0, 150), st.integers(1, 20)), min_size=1, max_size=5),
    block_size=st.sampled_from([1, 4, 16, 24, 100]),
    window=st.none() | st.integers(1, 90),
    softcap=st.none() | st.just(3.0),
    sinks=st.booleans(),
    seed=st.integers(0, 1000),
)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Thousands of tiny products: a second thread would only wait."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class _Layer(torch.nn.Module):
    """Whoever calls attention."""


class _World:
    """Sequences with random keys, values and queries at every position, and blocks scattered over a cache."""

    def __init__(self, case: _Case) -> None:
        self.case = case
        self.generator = torch.Generator().manual_seed(case.seed)
        self.lengths = [before + now for before, now in case.shares]
        self.queries = [self._random(_KV_HEADS * _GROUP, length, _KEY_DIM) for length in self.lengths]
        self.keys = [self._random(_KV_HEADS, length, _KEY_DIM) for length in self.lengths]
        self.values = [self._random(_KV_HEADS, length, _VALUE_DIM) for length in self.lengths]
        self.extra: dict[str, Any] = {"softcap": case.softcap, "sliding_window": case.window, "scaling": 0.7}
        if case.sinks:
            self.extra["s_aux"] = self._random(_KV_HEADS * _GROUP)
        self.sequences = self._sequences()
        self.layer = _Layer()
        self.state = PagedState(self.layer)
        self._attend([self._row(0, 0, 1)])  # noted down
        self.state.allocate(self.num_blocks, case.block_size, _CPU)
        for cache in self.state.caches.values():  # garbage, but for the block that stands for none
            cache.keys[:-1] = 1e4
            cache.values[:-1] = -1e4

    def _random(self, *size: int) -> torch.Tensor:
        return 2 * torch.randn(*size, generator=self.generator)

    def _sequences(self) -> list[Sequence]:
        counts = [-(-length // self.case.block_size) for length in self.lengths]
        self.num_blocks = sum(counts)
        scattered = torch.split(torch.randperm(self.num_blocks, generator=self.generator), counts)
        sequences = []
        for index, blocks in enumerate(scattered):
            tokens = [1] * self.lengths[index]
            request = Request(key=("c", "r", 1), prompt_token_ids=tokens, params=SamplingParams(), arrival=index)
            sequences.append(Sequence(request, 0, max_output_tokens=1))
            sequences[-1].block_ids = blocks.tolist()
        return sequences

    def _row(self, index: int, start: int, count: int) -> tuple[int, Row]:
        return index, Row(self.sequences[index], start, count, samples=False)

    def _attend(self, rows: list[tuple[int, Row]]) -> torch.Tensor:
        def packed(whole: list[torch.Tensor]) -> torch.Tensor:
            parts = [whole[index][:, row.start : row.start + row.num_tokens] for index, row in rows]
            joined = torch.cat(parts, dim=1)
            return torch.nn.functional.pad(joined, (0, 0, 0, -joined.shape[1] % 8))[None]

        output, _ = paged_attention(
            self.layer, packed(self.queries), packed(self.keys), packed(self.values), None, **self.extra
        )
        return output[0]

    def run(self, shares: list[tuple[int, int, int]]) -> list[torch.Tensor]:
        """Attend for (sequence, start, count) in one step: one [count, heads, dim] each."""
        rows = [self._row(*share) for share in shares]
        self.state.step = PackedStep(
            [row for _, row in rows], block_size=self.case.block_size, null_block=self.num_blocks, device=_CPU
        )
        output = self._attend(rows)
        counts = [row.num_tokens for _, row in rows]
        return list(torch.split(output[: sum(counts)], counts))

    def reference(self, index: int) -> torch.Tensor:
        """Attend plainly over a whole sequence in float64: [length, heads, dim]."""
        length = self.lengths[index]
        keys = self.keys[index].repeat_interleave(_GROUP, 0).double()
        values = self.values[index].repeat_interleave(_GROUP, 0).double()
        scores = self.queries[index].double() @ keys.transpose(1, 2) * 0.7
        if self.case.softcap is not None:
            scores = torch.tanh(scores / self.case.softcap) * self.case.softcap
        distance = torch.arange(length)[:, None] - torch.arange(length)
        seen = (distance >= 0) & (distance < (self.case.window or length))
        scores = scores.masked_fill(~seen, float("-inf"))
        if self.case.sinks:
            sinks = self.extra["s_aux"].double().view(-1, 1, 1).expand(-1, length, 1)
            weights = torch.softmax(torch.cat([scores, sinks], dim=2), dim=2)[:, :, :-1]
        else:
            weights = torch.softmax(scores, dim=2)
        return (weights @ values).transpose(0, 1)


@settings(max_examples=60, deadline=None)
@given(_cases)
def test_paged_attention_is_attention(case: _Case) -> None:
    world = _World(case)
    before = [(index, 0, start) for index, (start, _) in enumerate(case.shares) if start]
    if before:
        world.run(before)
    found = world.run([(index, start, count) for index, (start, count) in enumerate(case.shares)])
    for index, (start, _) in enumerate(case.shares):
        torch.testing.assert_close(found[index].double(), world.reference(index)[start:], rtol=1e-4, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(_cases, st.integers(4, 30))
def test_neither_company_nor_cutting_changes_a_bit(case: _Case, piece: int) -> None:
    world = _World(case)
    together = world.run([(index, 0, length) for index, length in enumerate(world.lengths)])
    for index, length in enumerate(world.lengths):
        alone = [world.run([(index, start, min(piece, length - start))])[0] for start in range(0, length, piece)]
        assert torch.equal(torch.cat(alone), together[index])
