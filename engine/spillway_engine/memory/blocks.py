"""The block pool: which blocks of the key-value cache are in use, by how many, and which to take next.

It counts; it knows neither tokens nor tensors. A block is in exactly one of three places::

    in use      references > 0          one or more sequences name it in their block tables
    blank       references = 0          nothing worth keeping; taken first, last in first out (warm in the caches)
    cached      references = 0          holds a prefix that can still be found; evicted when no blank one is left,
                                        the least recently freed first

A cached block that is found again goes back into use (`share`). Whoever frees a sequence's blocks frees the tail first,
so that the head of a prefix, which more requests have in common, survives longest.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from spillway_engine.errors import EngineError
from spillway_engine.request import Sequence


class BlocksExhaustedError(EngineError):
    """More blocks were asked for than are free. The caller has to ask `num_free` first: this is a defect."""


class IntegrityError(EngineError):
    """The books of the engine do not add up: blocks, slots or requests have leaked or are counted twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStatistics:
    """The pool at one moment, in blocks. `total = used + free`; `held` and `cached` are parts of `free`."""

    total: int
    used: int
    free: int
    """Referenced by nobody; with the cached ones and those held back."""
    cached: int
    """Free, and still findable as a prefix."""
    held: int
    """Free, but held back from allocation."""
    dirty: int
    """To be zeroed before their next use."""


def _ignore(_block: int) -> None:
    """Nobody wants to know of evictions."""


class BlockPool:
    """`num_blocks` blocks of `block_size` tokens with reference counts; every operation on a block is O(1).

    `on_evict` is told of each block whose content can no longer be found from now on.
    """

    def __init__(self, num_blocks: int, block_size: int, *, on_evict: Callable[[int], None] = _ignore) -> None:
        self.num_blocks = num_blocks
        self.block_size = block_size
        self._on_evict = on_evict
        self._references = [0] * num_blocks
        self._findable = bytearray(num_blocks)
        self._blank = list(range(num_blocks - 1, -1, -1))
        self._cached: OrderedDict[int, None] = OrderedDict()
        self._dirty: set[int] = set()
        self._to_scrub: list[int] = []
        self._held = 0

    @property
    def num_free(self) -> int:
        """How many blocks can be allocated now."""
        return max(0, len(self._blank) + len(self._cached) - self._held)

    @property
    def to_scrub(self) -> tuple[int, ...]:
        """Blocks handed out since the last `scrubbed()` that have to be zeroed before they are written."""
        return tuple(self._to_scrub)

    def references(self, block: int) -> int:
        """How many sequences name `block`."""
        return self._references[block]

    def allocate(self, count: int) -> list[int]:
        """Hand out `count` blocks with one reference each, or raise `BlocksExhaustedError` and change nothing."""
        if count > self.num_free:
            raise BlocksExhaustedError(f"{count} blocks wanted, {self.num_free} free; ask num_free first")
        blocks = []
        for _ in range(count):
            if self._blank:
                block = self._blank.pop()
            else:
                block, _ = self._cached.popitem(last=False)
                self._forget(block)
            if self._dirty and block in self._dirty:
                self._dirty.discard(block)
                self._to_scrub.append(block)
            self._references[block] = 1
            blocks.append(block)
        return blocks

    def share(self, block: int) -> None:
        """Add a reference to a block that was found: one in use, or a cached one, which is revived."""
        if self._references[block] == 0:
            del self._cached[block]
        self._references[block] += 1

    def free(self, blocks: Iterable[int]) -> None:
        """Drop one reference to each of `blocks`. What nobody names any more is free, in this order."""
        for block in blocks:
            self._references[block] -= 1
            if self._references[block] == 0:
                if self._findable[block]:
                    self._cached[block] = None
                else:
                    self._blank.append(block)

    def publish(self, block: int) -> None:
        """Note that `block` can be found as a prefix from now on, also after it was freed."""
        self._findable[block] = 1

    def spoil(self, blocks: Iterable[int]) -> None:
        """Note that `blocks`, all in use, may hold NaN: never to be found again, and zeroed before their next use.

        Others who share them keep them; if the content is bad, they fail by themselves.
        """
        for block in blocks:
            self._dirty.add(block)
            if self._findable[block]:
                self._forget(block)

    def scrubbed(self) -> None:
        """Note that a step was run which zeroed all of `to_scrub`."""
        self._to_scrub.clear()

    def hold_back(self, count: int) -> None:
        """Keep `count` blocks out of reach (a fault that exhausts the cache). Replaces the last count; 0 ends it.

        When fewer are free, those that are freed next are held too.
        """
        self._held = min(max(0, count), self.num_blocks)

    def statistics(self) -> PoolStatistics:
        """Describe the pool now."""
        free = len(self._blank) + len(self._cached)
        return PoolStatistics(
            total=self.num_blocks,
            used=self.num_blocks - free,
            free=free,
            cached=len(self._cached),
            held=min(self._held, free),
            dirty=len(self._dirty),
        )

    def check_integrity(self, sequences: Iterable[Sequence]) -> None:
        """Raise `IntegrityError` unless every block is accounted for by the block tables of `sequences`."""
        named: Counter[int] = Counter()
        for sequence in sequences:
            if len(set(sequence.block_ids)) != len(sequence.block_ids):
                raise IntegrityError(f"{sequence!r} names a block twice: {sequence.block_ids}")
            named.update(sequence.block_ids)
        for block, count in enumerate(self._references):
            if count != named.get(block, 0):
                raise IntegrityError(f"block {block} has {count} references; {named.get(block, 0)} sequences name it")
        free = [*self._blank, *self._cached]
        if (
            len(set(free)) != len(free)
            or len(free) + len(named) != self.num_blocks
            or not named.keys().isdisjoint(free)
        ):
            raise IntegrityError(f"{len(free)} free and {len(named)} used blocks do not make up {self.num_blocks}")
        if any(self._findable[block] for block in self._blank) or not all(self._findable[b] for b in self._cached):
            raise IntegrityError("a blank block can be found as a prefix, or a cached one cannot")
        if any(self._findable[block] for block in self._dirty):
            raise IntegrityError("a block to be zeroed can still be found as a prefix")

    def findable_blocks(self) -> set[int]:
        """Blocks that can be found as a prefix, in use or not."""
        return {block for block, findable in enumerate(self._findable) if findable}

    def _forget(self, block: int) -> None:
        self._findable[block] = 0
        self._on_evict(block)

    def __repr__(self) -> str:
        now = self.statistics()
        return f"<BlockPool {now.used}/{now.total} used, {now.cached} cached, {now.held} held, {now.dirty} dirty>"
