"""The prefix index: finds the block that already holds the keys and values of a prompt's next full block.

Prefixes form a tree whose edges are full blocks of tokens. The dict itself compares an edge's key, token by token,
never a hash alone, so two prompts cannot share by collision::

    (0, salt, tokens of block 0)  ─▶ block 17, node 1
    (1, tokens of block 1)        ─▶ block 4,  node 2        node 1 stands for "salt, block 0"
    (1, other tokens)             ─▶ block 9,  node 3

A node's number is never used again. When a block is evicted its edge goes; edges below it can then not be reached any
more, because the same tokens will get a new node, and are evicted in their turn. So the index never holds more edges
than there are blocks.
"""

from array import array
from collections.abc import Sequence as Seq

ROOT = 0
_UINT = "I"  # 32 bits, unsigned
_TOKEN_BYTES = array(_UINT).itemsize

_Key = tuple[int, bytes] | tuple[int, str, bytes]


class PrefixIndex:
    """Maps prefixes made of full blocks to blocks. Knows nothing of reference counts."""

    def __init__(self, num_blocks: int, block_size: int) -> None:
        self._block_size = block_size
        self._edges: dict[_Key, tuple[int, int]] = {}
        self._key_of: list[_Key | None] = [None] * num_blocks
        self._last_node = ROOT

    def __len__(self) -> int:
        return len(self._edges)

    def match(self, tokens: Seq[int], salt: str, max_blocks: int) -> tuple[list[int], int]:
        """Return the blocks of the longest known prefix of at most `max_blocks` blocks, and its node."""
        blocks: list[int] = []
        node = ROOT
        width = self._block_size * _TOKEN_BYTES
        packed = array(_UINT, tokens[: max_blocks * self._block_size]).tobytes()
        for at in range(0, len(packed), width):
            found = self._edges.get(_key(node, salt, packed[at : at + width]))
            if found is None:
                break
            block, node = found
            blocks.append(block)
        return blocks, node

    def register(self, parent: int, tokens: Seq[int], salt: str, block: int) -> tuple[int, bool]:
        """Make `block` findable as the full block `tokens` after `parent`; return the node and whether it is new.

        When another block is there already, it stays, and the node is the known one: `block` is its sequence's own.
        """
        key = _key(parent, salt, array(_UINT, tokens).tobytes())
        known = self._edges.get(key)
        if known is not None:
            return known[1], False
        self._last_node += 1
        self._edges[key] = (block, self._last_node)
        self._key_of[block] = key
        return self._last_node, True

    def forget(self, block: int) -> None:
        """Take out the edge that leads to `block`."""
        key = self._key_of[block]
        if key is not None:
            del self._edges[key]
            self._key_of[block] = None

    def blocks(self) -> set[int]:
        """All blocks that can be found."""
        return {block for block, _ in self._edges.values()}


def _key(parent: int, salt: str, tokens: bytes) -> _Key:
    return (parent, tokens) if parent else (ROOT, salt, tokens)
