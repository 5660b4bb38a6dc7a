"""Sizes of tiles, splits and parts: fixed numbers, because the order of every sum hangs on them.

Changing one changes bits for everybody, and the results of two engines that are to agree must come from the same.
"""

from dataclasses import dataclass
from typing import Final

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionTiles:
    """How attention goes through queries and keys."""

    rows: int
    """Query rows of a task: the heads of a group for one or more tokens."""
    keys: int
    """Keys of a tile."""
    split: int
    """Keys of a split; a multiple of `keys`."""
    warps: int
    stages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductTiles:
    """The tile of a matrix product."""

    rows: int
    outputs: int
    depth: int
    warps: int
    stages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiles:
    """All of them, for one type of numbers and one shape of heads."""

    attention: AttentionTiles
    few: ProductTiles
    """Products of few rows, which read weights more than they compute."""
    many: ProductTiles


FILL: Final = 256
"""Programs that a product of few rows should have: about two for each multiprocessor of a large GPU."""
LEAST_DEPTH: Final = 256
"""Inputs of a part, at least."""
BAND: Final = 8
"""Tiles of rows that share their weights through the cache (`kernels.linear.multiply`)."""
MAX_HEAD_DIM: Final = 256


def choose_tiles(dtype: torch.dtype, *, head_dim: int, group: int) -> Tiles:
    """Return the tiles for weights of `dtype` and heads of `head_dim`, `group` of which share keys and values."""
    rows = max(32, power_of_two(group))
    narrow = head_dim <= 128
    if dtype is torch.float32:
        one = ProductTiles(rows=64, outputs=64, depth=32, warps=4, stages=2)
        attention = AttentionTiles(rows=rows, keys=32, split=256, warps=4, stages=2)
        return Tiles(attention=attention, few=one, many=one)
    return Tiles(
        attention=AttentionTiles(rows=rows, keys=64 if narrow else 32, split=256, warps=4, stages=3 if narrow else 2),
        few=ProductTiles(rows=64, outputs=64, depth=128, warps=4, stages=4),
        many=ProductTiles(rows=128, outputs=128, depth=64, warps=8, stages=4),
    )


def num_parts(outputs: int, inputs: int, tiles: ProductTiles) -> int:
    """Return in how many parts the inputs of a product are added up: by the weight's shape alone."""
    columns = -(-outputs // tiles.outputs)
    return max(1, min(-(-FILL // columns), inputs // LEAST_DEPTH))


def part_depth(inputs: int, parts: int, tiles: ProductTiles) -> int:
    """Return the inputs of a part: whole tiles, so that only the last part may be cut short."""
    each = -(-inputs // parts)
    return -(-each // tiles.depth) * tiles.depth


def power_of_two(size: int) -> int:
    """Return the least power of two that is at least `size`, and at least 1."""
    return 1 << max(size - 1, 0).bit_length()
