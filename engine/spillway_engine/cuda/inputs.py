"""What changes from step to step, as one stretch of int32 words: filled on the host, copied once, read by kernels.

A layout says where in the stretch each array lies. Graphs have layouts of fixed sizes, other steps one that fits.
"""

from dataclasses import astuple, dataclass
from typing import Generic, NamedTuple, TypeVar

from spillway_engine.cuda.words import WORDS

Array = TypeVar("Array")


@dataclass(frozen=True, slots=True)
class Extent:
    """How many of each thing a step has, or a layout has room for."""

    tokens: int
    """Packed tokens."""
    rows: int
    """Tokens that are sampled after."""
    tasks: int
    merges: int
    updates: int
    """New entries of block tables."""

    def holds(self, other: "Extent") -> bool:
        """Whether a step of `other` fits."""
        return all(here >= there for here, there in zip(astuple(self), astuple(other), strict=True))

    @property
    def words(self) -> int:
        """Length of the stretch."""
        return sum(map(_aligned, _sizes(self)))


class Inputs(NamedTuple, Generic[Array]):
    """The arrays of a step, flat, as numpy arrays on the host or tensors on the device."""

    num_tasks: Array
    num_merges: Array
    num_updates: Array
    tokens: Array
    """Token ids; below 0: what was sampled last for the slot."""
    positions: Array
    """Below 0: the token only fills the batch up."""
    slots: Array
    pick: Array
    """Which packed token each row is sampled after."""
    words: Array
    """WORDS for each row (see `words`)."""
    task_token: Array
    task_count: Array
    task_row: Array
    task_split: Array
    task_splits: Array
    task_part: Array
    merge_token: Array
    merge_part: Array
    merge_parts: Array
    update_places: Array
    update_blocks: Array


def carve(stretch: Array, extent: Extent) -> Inputs[Array]:
    """Return the arrays as views of a stretch of at least `extent.words` words."""
    views = []
    at = 0
    for size in _sizes(extent):
        views.append(stretch[at : at + size])  # type: ignore[index]  # numpy and torch slice alike
        at += _aligned(size)
    return Inputs(*views)


def _aligned(size: int) -> int:
    """Every array begins at 16 bytes: Triton compiles a kernel anew for pointers that are aligned otherwise."""
    return -(-size // 4) * 4


def _sizes(extent: Extent) -> tuple[int, ...]:
    return (
        *(1,) * 3,
        *(extent.tokens,) * 3,
        extent.rows,
        extent.rows * WORDS,
        *(extent.tasks,) * 6,
        *(extent.merges,) * 3,
        *(extent.updates,) * 2,
    )
