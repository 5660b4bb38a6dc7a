"""Prefix affinity: which engine has probably computed the beginning of this prompt already.

An engine keeps the keys and values of full blocks of prompt tokens and finds them again by what they hold. The gateway
remembers, per engine, the blocks of the prompts it has sent there. That is a guess (blocks are evicted, other gateways
send there, too), good enough to choose by and never needed to be right.

A block is known by the hash of all that comes before and in it, so a list of hashes is a prefix::

    tokens   │ block 0          │ block 1          │ rest
    hashes     h0 = h(salt, 0)    h1 = h(h0, 1)      -
"""

from collections import OrderedDict
from collections.abc import Sequence

BLOCK_TOKENS = 16
MAX_BLOCKS = 256
"""Of a prompt's beginning; two prompts that agree in 4,096 tokens are close enough."""


def prefix_of(token_ids: Sequence[int], salt: str = "") -> tuple[int, ...]:
    """Return the hashes of the full blocks at the front of a prompt."""
    hashes: list[int] = []
    parent = hash(salt)
    for end in range(BLOCK_TOKENS, min(len(token_ids), MAX_BLOCKS * BLOCK_TOKENS) + 1, BLOCK_TOKENS):
        parent = hash((parent, *token_ids[end - BLOCK_TOKENS : end]))
        hashes.append(parent)
    return tuple(hashes)


class PrefixMemory:
    """What one engine has seen lately; the least recently used block is forgotten first."""

    def __init__(self, max_blocks: int) -> None:
        self.max_blocks = max_blocks
        self._known: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def match(self, prefix: Sequence[int]) -> int:
        """Return how many tokens at the front of `prefix` the engine has seen."""
        known = self._known
        matched = 0
        for block in prefix:
            if block not in known:
                break
            matched += 1
        return matched * BLOCK_TOKENS

    def remember(self, prefix: Sequence[int]) -> None:
        """Note that the engine is about to compute `prefix`."""
        known = self._known
        for block in reversed(prefix):  # the front is used last, so it is forgotten last
            known[block] = None
            known.move_to_end(block)
        while len(known) > self.max_blocks:
            known.popitem(last=False)
