"""The block pool against a model that is too slow to be wrong: plain lists, searched from end to end."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from spillway_engine.memory.blocks import BlockPool, BlocksExhaustedError
from spillway_engine.request import Request, Sequence
from spillway_wire.sampling import SamplingParams

NUM_BLOCKS = 7


class PoolMachine(RuleBasedStateMachine):
    """`owners` hold blocks as sequences do; `freed` is the order in which findable blocks became free."""

    def __init__(self) -> None:
        super().__init__()
        self.evicted: list[int] = []
        self.pool = BlockPool(NUM_BLOCKS, 4, on_evict=self.evicted.append)
        self.owners: list[list[int]] = []
        self.findable: set[int] = set()
        self.freed: list[int] = []
        self.dirty: set[int] = set()
        self.scrub: list[int] = []
        self.held = 0

    def used(self) -> set[int]:
        return {block for owned in self.owners for block in owned}

    def sequences(self) -> list[Sequence]:
        request = Request(key=("c", "r", 1), prompt_token_ids=[1], params=SamplingParams(), arrival=1)
        sequences = [Sequence(request, number, max_output_tokens=1) for number in range(len(self.owners))]
        for sequence, owned in zip(sequences, self.owners, strict=True):
            sequence.block_ids = list(owned)
        return sequences

    @rule(count=st.integers(1, NUM_BLOCKS + 1))
    def allocate(self, count: int) -> None:
        free = max(0, NUM_BLOCKS - len(self.used()) - self.held)
        if count > free:
            with pytest.raises(BlocksExhaustedError):
                self.pool.allocate(count)
            return
        num_blank = NUM_BLOCKS - len(self.used()) - len(self.freed)
        to_evict = self.freed[: max(0, count - num_blank)]
        self.evicted.clear()
        blocks = self.pool.allocate(count)
        assert self.evicted == to_evict
        assert len(set(blocks)) == count
        assert self.used().isdisjoint(blocks)
        assert self.findable.intersection(blocks) == set(to_evict)
        self.freed = self.freed[len(to_evict) :]
        self.findable -= set(to_evict)
        self.scrub += [block for block in blocks if block in self.dirty]
        self.dirty -= set(blocks)
        self.owners.append(blocks)

    @precondition(lambda self: self.findable)
    @rule(data=st.data())
    def share(self, data: st.DataObject) -> None:
        block = data.draw(st.sampled_from(sorted(self.findable)))
        self.pool.share(block)
        if block in self.freed:
            self.freed.remove(block)
        self.owners.append([block])

    @precondition(lambda self: self.owners)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        owned = self.owners.pop(data.draw(st.integers(0, len(self.owners) - 1)))
        self.pool.free(reversed(owned))
        still_used = self.used()
        self.freed += [b for b in reversed(owned) if b not in still_used and b in self.findable]

    @precondition(lambda self: self.owners)
    @rule(data=st.data())
    def publish(self, data: st.DataObject) -> None:
        block = data.draw(st.sampled_from(sorted(self.used())))
        if block not in self.dirty and block not in self.findable:
            self.pool.publish(block)
            self.findable.add(block)

    @precondition(lambda self: self.owners)
    @rule(data=st.data())
    def spoil(self, data: st.DataObject) -> None:
        owned = data.draw(st.sampled_from(self.owners))
        self.evicted.clear()
        self.pool.spoil(owned)
        assert set(self.evicted) == self.findable.intersection(owned)
        self.findable -= set(owned)
        self.dirty |= set(owned)

    @rule()
    def scrubbed(self) -> None:
        self.pool.scrubbed()
        self.scrub.clear()

    @rule(count=st.integers(-1, NUM_BLOCKS + 3))
    def hold_back(self, count: int) -> None:
        self.pool.hold_back(count)
        self.held = min(max(count, 0), NUM_BLOCKS)

    @invariant()
    def the_books_agree(self) -> None:
        self.pool.check_integrity(self.sequences())
        now = self.pool.statistics()
        free = NUM_BLOCKS - len(self.used())
        assert (now.total, now.used, now.free) == (NUM_BLOCKS, len(self.used()), free)
        assert (now.cached, now.held, now.dirty) == (len(self.freed), min(self.held, free), len(self.dirty))
        assert self.pool.num_free == max(0, free - self.held)
        assert list(self.pool.to_scrub) == self.scrub
        assert self.pool.findable_blocks() == self.findable


PoolMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestBlockPool = PoolMachine.TestCase
