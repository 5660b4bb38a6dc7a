"""How a step's attention is shared out: queries in tiles, the keys of decodes in splits. Pure; numbers in, arrays out.

Which task does what changes no bit of any result (`kernels.attention`), so this may look at the whole batch.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Tasks:
    """Tasks of `attend`, then merges of `combine`; all int32, one entry for each task or merge."""

    token: Ints
    """First packed token."""
    count: Ints
    row: Ints
    """Row of the block tables."""
    split: Ints
    """First split of the keys."""
    splits: Ints
    part: Ints
    """Record of a partial result, or -1."""
    merge_token: Ints
    merge_part: Ints
    """First record."""
    merge_parts: Ints


def plan_tasks(starts: Ints, counts: Ints, rows: Ints, *, tile_tokens: int, split_keys: int, max_parts: int) -> Tasks:
    """Share out queries `starts[i]` to `starts[i] + counts[i] - 1` of sequences, which stand packed one after another.

    A lone query over several splits gets a task for each while records last, the longest first; what is left goes
    through all of its splits in one task. Long tasks come first, so that none ends long after the others.
    """
    num_tiles = -(-counts // tile_tokens)
    owner = np.repeat(np.arange(len(counts), dtype=np.int32), num_tiles)
    offset = (_ranges(num_tiles) * tile_tokens).astype(np.int32)
    first_token = (np.cumsum(counts) - counts).astype(np.int32)
    token = first_token[owner] + offset
    count = np.minimum(counts[owner] - offset, tile_tokens).astype(np.int32)
    last_position = starts[owner] + offset + count - 1
    splits = (last_position // split_keys + 1).astype(np.int32)

    lone = np.flatnonzero((counts[owner] == 1) & (splits > 1))
    lone = lone[np.argsort(-splits[lone], kind="stable")]
    used = np.cumsum(splits[lone])
    cut = lone[used <= max_parts]
    whole = np.ones(len(token), np.bool_)
    whole[cut] = False
    whole_ids = np.flatnonzero(whole)
    whole_ids = whole_ids[np.argsort(-splits[whole_ids], kind="stable")]
    first_part = (np.cumsum(splits[cut]) - splits[cut]).astype(np.int32)
    part_of = np.repeat(cut, splits[cut])
    number = _ranges(splits[cut]).astype(np.int32)

    task = np.concatenate([whole_ids, part_of])
    return Tasks(
        token=token[task],
        count=count[task],
        row=rows[owner[task]],
        split=np.concatenate([np.zeros(len(whole_ids), np.int32), number]),
        splits=np.concatenate([splits[whole_ids], np.ones(len(part_of), np.int32)]),
        part=np.concatenate([np.full(len(whole_ids), -1, np.int32), np.repeat(first_part, splits[cut]) + number]),
        merge_token=token[cut],
        merge_part=first_part,
        merge_parts=splits[cut],
    )


def _ranges(lengths: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Concatenate 0, 1, … of each length."""
    ends = np.cumsum(lengths)
    found: npt.NDArray[np.int64] = np.arange(int(lengths.sum())) - np.repeat(ends - lengths, lengths)
    return found
