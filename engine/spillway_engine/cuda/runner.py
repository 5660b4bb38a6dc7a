"""Runs step plans on a GPU: the `Runner` of the Llama family there.

A plan is one launch, or two: what was queued ahead for it, and the rest (see `ahead`). The host waits once a step, for
the copy of the sampled tokens.
"""

from collections.abc import Iterator
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from spillway_engine.compiled import Array
from spillway_engine.cuda.ahead import Expected, expect, match, next_pieces
from spillway_engine.cuda.device import Device, Event, Graph, Host
from spillway_engine.cuda.failure import translated
from spillway_engine.cuda.graphs import choose_size, graph_extent, graph_sizes
from spillway_engine.cuda.inputs import Extent, Inputs, carve
from spillway_engine.cuda.landing import Landing
from spillway_engine.cuda.linear import Product
from spillway_engine.cuda.nvml import GpuFacts
from spillway_engine.cuda.program import Program
from spillway_engine.cuda.ring import Ring
from spillway_engine.cuda.sampler import DeviceSampler, idle_words
from spillway_engine.cuda.staging import Packed, Piece, Staging
from spillway_engine.plan import Row, StepPlan, StepResult
from spillway_engine.prepared import Report
from spillway_engine.settings import SchedulerSettings
from spillway_wire.messages import PositionLogprobs

RECORDING = "warming up: recording graphs"
_DEPTH = 3
"""Launches whose inputs or results may be under way at once: one that runs, one queued ahead, one in the making."""


class _Recorded(NamedTuple):
    """A graph, the memory that it reads its inputs from, and the host's side of that."""

    graph: Graph
    extent: Extent
    memory: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class _Flight:
    """A launch that is queued."""

    landing: Landing
    event: Event


class CudaRunner:
    """Owns the program's inputs, graphs and host memory. Its device does all else."""

    def __init__(
        self,
        device: Device,
        program: Program,
        limits: SchedulerSettings,
        *,
        eos_token_ids: Seq[int],
        facts: GpuFacts | None = None,
    ) -> None:
        self._device, self._program, self._limits, self._gpu = device, program, limits, facts
        self._max_parts = program.buffers.part_output.shape[0]
        sampler = DeviceSampler(device, program.choosing, limits.max_num_seqs, program.shape.vocab_size, eos_token_ids)
        self._staging = Staging(limits, program.tiles, program.shape.group_size, self._max_parts, sampler)
        largest = _largest(limits, self._max_parts)
        self._memory = torch.zeros(largest.words, dtype=torch.int32, device=device.torch_device)
        self._host: Ring[Host] = Ring(device, [device.pinned((largest.words,), np.int32) for _ in range(_DEPTH)])
        self._landings = Ring(device, [Landing.on(device, limits.max_num_seqs) for _ in range(_DEPTH)])
        self._prompt_landing = Landing.on(device, limits.max_num_seqs)
        self._graphs: dict[int, _Recorded] = {}
        self._sizes: tuple[int, ...] = ()
        self._expected: tuple[Expected, ...] = ()
        self._ahead: _Flight | None = None
        self.num_graph_launches = 0
        self.num_eager_decodes = 0
        """Launches of decodes alone that no graph held."""
        self.num_eager_launches = 0
        """Launches with prompts in them, which are not recorded."""
        self.num_rows_ahead = 0
        self.num_rows_thrown_away = 0
        """Rows that were computed ahead for nothing."""

    # ---- getting ready ----

    def record(self, report: Report, sizes: Seq[int] | None = None) -> None:
        """Record a graph for each batch size, the largest first: the others then fit into the memory that it took."""
        wanted = graph_sizes(self._limits.max_num_seqs) if sizes is None else tuple(sizes)
        splits = -(-self._limits.max_model_len // self._program.tiles.split)
        for done, size in enumerate(sorted(wanted, reverse=True)):
            report(RECORDING, done / len(wanted))
            extent = graph_extent(size, max_splits=splits, max_parts=self._max_parts)
            memory = torch.zeros(extent.words, dtype=torch.int32, device=self._device.torch_device)
            host = self._host.take()
            self._staging.write(self._staging.pack(()), carve(host, extent))
            self._device.copy_in(memory, host[: extent.words])
            self._host.lend()
            inputs = carve(memory, extent)
            graph = self._device.record(lambda inputs=inputs, extent=extent: self._program.run(inputs, extent))  # type: ignore[misc]
            self._graphs[size] = _Recorded(graph, extent, memory)
        self._sizes = tuple(sorted(self._graphs))

    # ---- steps ----

    def execute(self, plan: StepPlan) -> StepResult:
        """Compute a plan's rows (see `Runner`). Raises `DeviceError` for what the device does not recover from."""
        try:
            with translated():
                return self._execute(plan)
        except BaseException:
            # what of it the device has seen is not known: nothing may build on it
            self._ahead, self._expected = None, ()
            self._staging.forget()
            raise

    def _execute(self, plan: StepPlan) -> StepResult:
        ahead, expected = self._ahead, self._expected
        self._ahead, self._expected = None, ()
        for block in plan.scrub:
            self._device.queue(lambda block=block: self._program.cache.scrub(block))  # type: ignore[misc]
        for sequence in plan.joined:
            self._staging.join(sequence)
        matched = match(plan.rows, plan.joined, expected)
        self.num_rows_thrown_away += len(expected) - len(matched)
        rest = [index for index in range(len(plan.rows)) if index not in matched]
        later: _Flight | None = None
        prompt_logprobs: dict[int, tuple[PositionLogprobs, ...]] = {}
        if rest:
            rows = [plan.rows[index] for index in rest]
            later, left = self._launch([Piece(*_fields(row)) for row in rows])
            prompt_logprobs = self._ask_prompts(rows, rest, left)
        self._run_ahead(plan.rows)
        tokens: list[int | None] = [None] * len(plan.rows)
        failed: set[int] = set()
        logprobs: dict[int, PositionLogprobs] = {}

        def land(flight: _Flight, index: int, row: int) -> None:
            token = tokens[index] = flight.landing.token(row)
            wanted = plan.rows[index].sequence.params.logprobs
            if token is None:
                failed.add(index)
            elif wanted is not None and (entry := flight.landing.logprobs(row, wanted)) is not None:
                logprobs[index] = entry

        if matched and ahead is not None:
            ahead.event.wait()
            for index, row in matched.items():
                land(ahead, index, row)
        if later is not None:
            later.event.wait()
            for row, index in enumerate(index for index in rest if plan.rows[index].samples):
                land(later, index, row)
        return StepResult(tokens, frozenset(failed), logprobs, prompt_logprobs)

    def logits(self, rows: Seq[Row]) -> Array:
        """Compute rows and return the logits of each one's last token, [rows, vocab_size]. For measurements.

        The rows' sequences take the first slots.
        """
        with translated():
            for slot, row in enumerate(rows):
                row.sequence.slot = slot
                self._staging.join(row.sequence)
            self._queue(
                self._staging.pack([Piece(row.sequence, row.start, row.num_tokens, samples=True) for row in rows])
            )
            self._device.synchronize()
            found: Array = self._program.choosing.logits[: len(rows)].cpu().numpy()
            return found

    def replay(self, size: int) -> None:
        """Queue a graph once more with the inputs that it had last. For measurements: what it computes is thrown away.

        Raises KeyError for a size that was not recorded.
        """
        self._device.queue(self._graphs[size].graph.replay)

    def close(self) -> None:
        """Let graphs and memory go. Idempotent; asks nothing of a device that may have failed."""
        self._graphs.clear()
        self._ahead, self._expected = None, ()

    def facts(self) -> dict[str, Any]:
        """Return how often steps ran in which way, and what the driver says of the GPU."""
        return {
            "gpu": {} if self._gpu is None else self._gpu.read(),
            "graphs": list(self._sizes),
            "graph_launches": self.num_graph_launches,
            "eager_decodes": self.num_eager_decodes,
            "eager_launches": self.num_eager_launches,
            "rows_ahead": self.num_rows_ahead,
            "rows_thrown_away": self.num_rows_thrown_away,
        }

    # ---- launches ----

    def _launch(self, pieces: Seq[Piece]) -> tuple[_Flight, list[Product]]:
        """Queue pieces with the copy of what they sample; what `_queue` returns comes with it."""
        packed = self._staging.pack(pieces)
        left = self._queue(packed)
        landing = self._landings.take()
        logprobs = any(piece.samples and piece.sequence.params.logprobs is not None for piece in pieces)
        landing.fetch(self._device, self._program.choosing, packed.extent.rows, tokens=True, logprobs=logprobs)
        return _Flight(landing, self._landings.lend()), left

    def _run_ahead(self, rows: Seq[Row]) -> None:
        if not self._limits.runs_ahead:
            return
        pieces = next_pieces(rows, self._limits.block_size)
        if pieces:
            self._ahead, _ = self._launch(pieces)
            self._expected = expect(pieces)
            self.num_rows_ahead += len(pieces)

    def _queue(self, packed: Packed) -> list[Product]:
        """Queue a launch on a graph that holds it, or as it is.

        Returns a list that will hold what `Program.forward` leaves, once that has run; a graph shows nothing of it.
        """
        size = choose_size(self._sizes, packed.extent.tokens) if packed.only_decodes else None
        recorded = None if size is None else self._graphs[size]
        if recorded is not None and recorded.extent.holds(packed.extent):
            self._send(packed, recorded.extent, recorded.memory)
            self._device.queue(recorded.graph.replay)
            self.num_graph_launches += 1
            return []
        if packed.only_decodes:
            self.num_eager_decodes += 1
        else:
            self.num_eager_launches += 1
        inputs = self._send(packed, packed.extent, self._memory)
        left: list[Product] = []

        def run() -> None:
            residue = self._program.forward(inputs, packed.extent)
            left.append(residue)
            self._program.finish(inputs, packed.extent, residue)

        self._device.queue(run)
        return left

    def _send(self, packed: Packed, extent: Extent, memory: torch.Tensor) -> Inputs[torch.Tensor]:
        host = self._host.take()
        self._staging.write(packed, carve(host, extent))
        self._device.copy_in(memory[: extent.words], host[: extent.words])
        self._host.lend()
        return carve(memory, extent)

    def _ask_prompts(
        self, rows: Seq[Row], indices: Seq[int], left: list[Product]
    ) -> dict[int, tuple[PositionLogprobs, ...]]:
        """Run the head once more over prompt positions whose logprobs are wanted, as many at a time as slots.

        The host waits for each: who asks for these does not mind.
        """
        found = {}
        packed = 0
        for index, row in zip(indices, rows, strict=True):
            sequence = row.sequence
            wanted = sequence.params.prompt_logprobs if sequence.wants_prompt_logprobs else None
            following = sequence.tokens[row.start + 1 : min(row.start + row.num_tokens + 1, sequence.num_prompt)]
            if wanted is not None and following:
                entries: list[PositionLogprobs] = []
                for start in range(0, len(following), self._limits.max_num_seqs):
                    chosen = following[start : start + self._limits.max_num_seqs]
                    entries += self._ask(packed + start, chosen, wanted, left)
                found[index] = tuple(entries)
            packed += row.num_tokens
        return found

    def _ask(self, first: int, chosen: list[int], wanted: int, left: list[Product]) -> Iterator[PositionLogprobs]:
        count = len(chosen)
        extent = Extent(count, count, 0, 0, 0)
        host = self._host.take()
        staged = carve(host, extent)
        staged.tokens[:] = chosen
        staged.pick[:] = np.arange(first, first + count)
        idle_words(staged.words.reshape(count, -1), self._limits.max_num_seqs, wanted)
        self._device.copy_in(self._memory[: extent.words], host[: extent.words])
        self._host.lend()
        inputs = carve(self._memory, extent)

        def run() -> None:
            self._program.head(inputs.pick, count, left[0])
            self._program.choosing.logprobs(inputs.words, inputs.tokens, count)

        self._device.queue(run)
        landing = self._prompt_landing
        landing.fetch(self._device, self._program.choosing, count, tokens=False, logprobs=True)
        self._device.mark().wait()
        for row in range(count):
            entry = landing.logprobs(row, wanted)
            if entry is not None:
                yield entry


def _fields(row: Row) -> tuple[Any, int, int, bool]:
    return row.sequence, row.start, row.num_tokens, row.samples


def _largest(limits: SchedulerSettings, max_parts: int) -> Extent:
    """Return the room that any launch fits into."""
    tokens, slots = limits.max_num_batched_tokens, limits.max_num_seqs
    return Extent(tokens, slots, tokens + max_parts, slots, slots * limits.max_blocks_per_seq)
