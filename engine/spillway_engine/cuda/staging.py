"""From a step's rows to the words that kernels read; and which entries of the block tables are new."""

from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from spillway_engine.compiled import Array
from spillway_engine.cuda.inputs import Extent, Inputs
from spillway_engine.cuda.sampler import DeviceSampler
from spillway_engine.cuda.tiles import AttentionTiles
from spillway_engine.cuda.work import Tasks, plan_tasks
from spillway_engine.request import Sequence
from spillway_engine.settings import SchedulerSettings

FROM_DEVICE = -1
"""In place of a token id: what was sampled last for the slot."""


class Piece(NamedTuple):
    """A sequence's share of a launch: `num_tokens` from position `start` on."""

    sequence: Sequence
    start: int
    num_tokens: int
    samples: bool
    ahead: bool = False
    """The one token is on the device, and not known to the host yet."""


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """A launch as arrays, before it is known where they will lie."""

    extent: Extent
    tokens: Array
    positions: Array
    slots: Array
    pick: Array
    sampling_slots: Array
    output_positions: Array
    tasks: Tasks
    places: Array
    blocks: Array

    @property
    def only_decodes(self) -> bool:
        """Whether every token is sampled after, as in the graphs."""
        return self.extent.tokens == self.extent.rows


class Staging:
    """Packs launches. It remembers which blocks the device's tables hold already."""

    def __init__(
        self, limits: SchedulerSettings, tiles: AttentionTiles, group: int, max_parts: int, sampler: DeviceSampler
    ) -> None:
        self._spare = limits.max_num_seqs
        self._known_blocks = [0] * limits.max_num_seqs
        self._width = limits.max_blocks_per_seq
        self._tile_tokens = tiles.rows // group
        self._split = tiles.split
        self._max_parts = max_parts
        self._sampler = sampler

    def join(self, sequence: Sequence) -> None:
        """Forget what the sequence's slot held before."""
        assert sequence.slot is not None  # noqa: S101 - a planned sequence has one
        self._known_blocks[sequence.slot] = 0
        self._sampler.join(sequence)

    def forget(self) -> None:
        """Take no block for known any more: a launch that was to write them may not have run."""
        self._known_blocks = [0] * len(self._known_blocks)

    def pack(self, pieces: Seq[Piece]) -> Packed:
        """Arrange a launch. New blocks are taken for known from here on: the launch must be queued."""
        tokens: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        pick: list[int] = []
        sampling: list[tuple[int, int]] = []
        places: list[int] = []
        blocks: list[int] = []
        for sequence, start, count, samples, ahead in pieces:
            slot: int = sequence.slot  # type: ignore[assignment]  # a planned sequence has one
            held, known = sequence.block_ids, self._known_blocks[slot]
            if len(held) != known:
                places += range(slot * self._width + known, slot * self._width + min(len(held), self._width))
                blocks += held[known : self._width]
                self._known_blocks[slot] = len(held)
            if ahead:
                tokens.append(FROM_DEVICE)
            else:
                tokens += sequence.tokens[start : start + count]
            positions += range(start, start + count)
            slots += [slot] * count
            if samples:
                pick.append(len(tokens) - 1)
                sampling.append((slot, start + count - sequence.num_prompt))
        shares = [(piece.start, piece.num_tokens, piece.sequence.slot) for piece in pieces]
        ints = np.array(shares, np.int32).reshape(-1, 3)
        tasks = plan_tasks(*ints.T, tile_tokens=self._tile_tokens, split_keys=self._split, max_parts=self._max_parts)
        rows = np.array(sampling, np.int32).reshape(-1, 2)
        return Packed(
            extent=Extent(len(tokens), len(pick), len(tasks.token), len(tasks.merge_token), len(places)),
            tokens=np.array(tokens, np.int32),
            positions=np.array(positions, np.int32),
            slots=np.array(slots, np.int32),
            pick=np.array(pick, np.int32),
            sampling_slots=rows[:, 0],
            output_positions=rows[:, 1],
            tasks=tasks,
            places=np.array(places, np.int32),
            blocks=np.array(blocks, np.int32),
        )

    def write(self, packed: Packed, into: Inputs[Array]) -> None:
        """Fill the arrays of a layout that holds the launch; what is left of them does nothing."""
        tasks = packed.tasks
        into.num_tasks[0] = len(tasks.token)
        into.num_merges[0] = len(tasks.merge_token)
        into.num_updates[0] = len(packed.places)
        _put(into.tokens, packed.tokens, 0)
        _put(into.positions, packed.positions, -1)
        _put(into.slots, packed.slots, self._spare)
        _put(into.pick, packed.pick, 0)
        self._sampler.fill(into.words, packed.sampling_slots, packed.output_positions)
        for name in Tasks.__slots__:
            array = getattr(tasks, name)
            target = getattr(into, name if name.startswith("merge") else f"task_{name}")
            target[: len(array)] = array  # behind it nothing is read
        into.update_places[: len(packed.places)] = packed.places
        into.update_blocks[: len(packed.blocks)] = packed.blocks


def _put(target: Array, values: Array, filler: int) -> None:
    target[: len(values)] = values
    target[len(values) :] = filler
