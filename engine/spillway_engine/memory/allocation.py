"""Blocks for sequences: joins the pool's counts with the prefix index, and keeps a sequence's block table right.

Who owns what of a sequence's blocks, from the first::

    block_ids   ├── hits ──┼── computed, full ──┼── partly computed or empty ──┤
    references  shared     own, findable by     own, private
                           others (or private
                           beside an equal one)
    index       known      known                unknown
                ├───── num_cached_blocks ───────┤

All blocks of what is known of a sequence are taken when it is placed, and one at a time as it decodes, so only a decode
can find the pool empty.
"""

from spillway_engine.memory.blocks import BlockPool, IntegrityError
from spillway_engine.memory.prefix import ROOT, PrefixIndex
from spillway_engine.request import Sequence


class BlockAllocator:
    """Gives sequences their blocks and takes them back."""

    def __init__(self, num_blocks: int, block_size: int, *, prefix_caching: bool) -> None:
        self._block_size = block_size
        self._prefix_caching = prefix_caching
        self._index = PrefixIndex(num_blocks, block_size)
        self.pool = BlockPool(num_blocks, block_size, on_evict=self._index.forget)
        self.prefix_queries = 0
        """Tokens of placed sequences that were looked up."""
        self.prefix_hits = 0
        """Those of them that were found."""

    def num_needed(self, sequence: Sequence) -> int:
        """Blocks for all that is known of `sequence`, whether or not some are found."""
        return -(-len(sequence.tokens) // self._block_size)

    def num_exclusive(self, sequence: Sequence) -> int:
        """Blocks that would be free if `sequence` gave its own back."""
        return sum(self.pool.references(block) == 1 for block in sequence.block_ids)

    def place(self, sequence: Sequence, *, headroom: int) -> bool:
        """Give a sequence without blocks all it needs, found ones first; `num_computed` then says what was found.

        Returns False and changes nothing unless `headroom` blocks stay free. The last known token is never taken
        from the cache: a step has to compute something in order to sample. Prompt log-probabilities need every
        position's logits, so they take nothing from it.
        """
        found: list[int] = []
        node = ROOT
        known = len(sequence.tokens)
        looked_up = self._prefix_caching and sequence.request.params.prompt_logprobs is None
        if looked_up:
            most = (known - 1) // self._block_size
            found, node = self._index.match(sequence.tokens, sequence.request.cache_salt, most)
        missing = self.num_needed(sequence) - len(found)
        revived = sum(self.pool.references(block) == 0 for block in found)
        if missing + revived + headroom > self.pool.num_free:
            return False
        for block in found:  # before anything is allocated, which could evict them
            self.pool.share(block)
        sequence.block_ids = found + self.pool.allocate(missing)
        sequence.prefix_node = node
        sequence.num_cached_blocks = len(found)
        sequence.num_computed = len(found) * self._block_size
        if looked_up:
            self.prefix_queries += known
            self.prefix_hits += sequence.num_computed
        return True

    def grow(self, sequence: Sequence) -> bool:
        """Give `sequence` one more block; False if none is free."""
        if not self.pool.num_free:
            return False
        sequence.block_ids += self.pool.allocate(1)
        return True

    def register(self, sequence: Sequence) -> None:
        """Make those full blocks findable whose keys and values are all computed."""
        if not self._prefix_caching:
            return
        size = self._block_size
        for number in range(sequence.num_cached_blocks, sequence.num_computed // size):
            block = sequence.block_ids[number]
            sequence.prefix_node, new = self._index.register(
                sequence.prefix_node,
                sequence.tokens[number * size : (number + 1) * size],
                sequence.request.cache_salt,
                block,
            )
            if new:
                self.pool.publish(block)
            sequence.num_cached_blocks = number + 1

    def release(self, sequence: Sequence, *, spoiled: bool = False) -> None:
        """Take all blocks back; `spoiled` ones may hold NaN. The sequence then has nothing computed."""
        if spoiled:
            self.pool.spoil(sequence.block_ids)
        self.pool.free(reversed(sequence.block_ids))
        sequence.block_ids = []
        sequence.num_computed = 0
        sequence.num_cached_blocks = 0
        sequence.prefix_node = ROOT

    def check_integrity(self, sequences: list[Sequence]) -> None:
        """Raise `IntegrityError` unless pool and index agree with each other and with `sequences`."""
        self.pool.check_integrity(sequences)
        if self._index.blocks() != self.pool.findable_blocks():
            raise IntegrityError("the prefix index and the pool disagree on which blocks can be found")
