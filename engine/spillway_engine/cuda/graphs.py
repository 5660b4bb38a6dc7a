"""Which batch sizes are recorded as graphs, and which graph a launch runs on. Sizes in; no device."""

from bisect import bisect_left
from collections.abc import Sequence

from spillway_engine.cuda.inputs import Extent

_SMALL = (1, 2, 4)
_STRIDE = 8
_UPDATES_EACH = 4
"""New blocks for each sequence of a batch: one is usual, a launch with more runs without a graph."""


def graph_sizes(max_num_seqs: int) -> tuple[int, ...]:
    """Return the batch sizes to record: a batch is filled up to the next one, by less than a stride."""
    sizes = {*_SMALL, *range(_STRIDE, max_num_seqs + 1, _STRIDE), max_num_seqs}
    return tuple(sorted(size for size in sizes if size <= max_num_seqs))


def graph_extent(size: int, *, max_splits: int, max_parts: int) -> Extent:
    """Return the room of a graph for `size` decodes, whose keys may be in up to `max_splits` splits."""
    tasks = min(size * max_splits, size + max_parts)
    return Extent(size, size, tasks, size, _UPDATES_EACH * size)


def choose_size(sizes: Sequence[int], tokens: int) -> int | None:
    """Return the smallest size that holds so many tokens, or None."""
    at = bisect_left(sizes, tokens)
    return sizes[at] if at < len(sizes) else None
