"""A step's rows as one packed row of tokens, and the tiles in which attention works through them.

Attention takes the queries of each sequence in tiles and its keys in chunks, all of one fixed shape::

    keys of one sequence    0        C        2C       3C        position
                            │ chunk 0│ chunk 1│ chunk 2│
    tile: up to Q queries   ├────────┼────────┼──▶     │         masked from each query's own position on

Chunks lie on a fixed grid of positions and are reduced in its order, and every product has the same shape whether a
tile holds one decode or eight tokens of a prompt. So a query's result depends neither on its neighbours nor on how its
prompt was cut, and a chunk that a query does not see changes nothing (exactly: it adds zeros).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import torch

from spillway_engine.plan import Row

TILE_QUERIES = 8
MIN_CHUNK_KEYS = 64
ROW_MULTIPLE = 8
"""Tokens of a step are padded to a multiple of this: products of fewer rows take other paths with other roundings."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Chunk:
    """One turn of the loop over keys: the first `num_tiles` tiles each read their next chunk of keys."""

    num_tiles: int
    blocks: torch.Tensor
    """[num_tiles * kv_heads * blocks per chunk]: rows of a cache seen as [blocks * kv_heads, block_size * head_dim]."""
    hidden: torch.Tensor | None
    """[num_tiles, 1, TILE_QUERIES, keys]: which keys a query does not see. None where all see all."""


@dataclass(frozen=True, slots=True)
class Tiles:
    """A step's queries in tiles, those with the most chunks first, so that each turn works on a leading part."""

    num_tiles: int
    tokens: torch.Tensor
    """[num_tiles * TILE_QUERIES]: which packed token each place holds; what empty places hold is not read."""
    places: torch.Tensor
    """[num_tokens]: the place of each packed token."""
    chunks: tuple[Chunk, ...]


class PackedStep:
    """All tensors of one step that do not depend on a layer, on the model's device."""

    def __init__(self, rows: Sequence[Row], *, block_size: int, null_block: int, device: torch.device) -> None:
        self._device = device
        self._block_size = block_size
        self._chunk_blocks = chunk_blocks(block_size)
        self._starts = np.array([row.start for row in rows], np.int64)
        self._counts = np.array([row.num_tokens for row in rows], np.int64)
        self._tables = _block_tables(rows, self._chunk_blocks, null_block)
        self._tiles: dict[tuple[int | None, int], Tiles] = {}
        self.num_tokens = int(self._counts.sum())
        self.padded_tokens = -(-self.num_tokens // ROW_MULTIPLE) * ROW_MULTIPLE
        tokens = np.zeros(self.padded_tokens, np.int64)
        tokens[: self.num_tokens] = np.concatenate(
            [row.sequence.tokens[row.start : row.start + row.num_tokens] for row in rows]
        )
        positions = np.zeros(self.padded_tokens, np.int64)
        positions[: self.num_tokens] = _ranges(self._starts, self._counts)
        self.input_ids = self._tensor(tokens)
        self.positions = self._tensor(positions)
        real = positions[: self.num_tokens]
        owner = np.repeat(np.arange(len(rows)), self._counts)
        self.write_blocks = self._tensor(self._tables[owner, real // block_size])
        """[num_tokens]: the block in which each token's keys and values belong, and the slot inside it."""
        self.write_slots = self._tensor(real % block_size)

    def tiles(self, window: int | None, kv_heads: int) -> Tiles:
        """Return the tiles for layers whose queries see `window` positions (None: all)."""
        key = (window, kv_heads)
        if key not in self._tiles:
            self._tiles[key] = self._make_tiles(window, kv_heads)
        return self._tiles[key]

    def _make_tiles(self, window: int | None, kv_heads: int) -> Tiles:
        keys = self._chunk_blocks * self._block_size
        per_row = -(-self._counts // TILE_QUERIES)
        owner = np.repeat(np.arange(len(per_row)), per_row)
        offset = _ranges(np.zeros_like(per_row), per_row) * TILE_QUERIES
        first_position = self._starts[owner] + offset
        count = np.minimum(self._counts[owner] - offset, TILE_QUERIES)
        first_chunk = np.zeros_like(first_position)
        if window is not None:
            first_chunk = np.maximum(first_position - window + 1, 0) // keys
        num_chunks = (first_position + count - 1) // keys + 1 - first_chunk

        order = np.argsort(-num_chunks, kind="stable")
        owner, first_position, count = owner[order], first_position[order], count[order]
        first_chunk, num_chunks = first_chunk[order], num_chunks[order]
        lane = np.arange(TILE_QUERIES)
        filled = lane < count[:, None]
        # an empty place repeats the tile's last query: whole chunks of a decode then hide nothing from anybody
        positions = first_position[:, None] + np.minimum(lane, count[:, None] - 1)
        first_token = np.cumsum(self._counts) - self._counts - self._starts
        tokens = first_token[owner][:, None] + positions
        places = np.empty(self.num_tokens, np.int64)
        places[tokens[filled]] = np.flatnonzero(filled)
        chunks = tuple(
            self._make_chunk(owner[:n], first_chunk[:n] + turn, positions[:n], window, kv_heads)
            for turn in range(int(num_chunks[0]))
            if (n := int(np.count_nonzero(num_chunks > turn)))
        )
        return Tiles(len(order), self._tensor(tokens.reshape(-1)), self._tensor(places), chunks)

    def _make_chunk(self, owner: Ints, chunk: Ints, positions: Ints, window: int | None, kv_heads: int) -> Chunk:
        columns = chunk[:, None] * self._chunk_blocks + np.arange(self._chunk_blocks)
        blocks = self._tables[owner[:, None], columns]
        flat = blocks[:, None, :] * kv_heads + np.arange(kv_heads)[:, None]
        keys = self._chunk_blocks * self._block_size
        key_positions = (chunk[:, None] * keys + np.arange(keys))[:, None, :]
        hidden = key_positions > positions[:, :, None]
        if window is not None:
            hidden |= key_positions <= positions[:, :, None] - window
        mask = torch.from_numpy(hidden[:, None]).to(self._device) if hidden.any() else None
        return Chunk(len(owner), self._tensor(flat.reshape(-1)), mask)

    def _tensor(self, array: Ints) -> torch.Tensor:
        return torch.from_numpy(array).to(self._device)


def chunk_blocks(block_size: int) -> int:
    """Blocks that make one chunk of keys."""
    return -(-MIN_CHUNK_KEYS // block_size)


def _block_tables(rows: Sequence[Row], per_chunk: int, null_block: int) -> Ints:
    longest = max(len(row.sequence.block_ids) for row in rows)
    tables = np.full((len(rows), -(-longest // per_chunk) * per_chunk), null_block, np.int64)
    for index, row in enumerate(rows):
        tables[index, : len(row.sequence.block_ids)] = row.sequence.block_ids
    return tables


def _ranges(starts: Ints, counts: Ints) -> Ints:
    """Concatenate start, start + 1, … of each length."""
    before = np.cumsum(counts) - counts
    return cast("Ints", np.arange(int(counts.sum())) + np.repeat(starts - before, counts))
