"""What one engine can take now: its exact load as of its last word, what was sent since, and the credits left.

The engine pushes its load after every step and says how many of this gateway's submits are in it (`received`). What
was sent after that is not yet in the load, so it is debited here until it is::

    sent      1  2  3  4  5  6
    received  ├────────┤          in `load`
    debits                5  6    added to it
"""

from collections import deque

import msgspec

from spillway_wire.messages import STANDING_CREDITS, Capacity, Load


class Estimate(msgspec.Struct, frozen=True):
    """An engine's load with the debits. Counts are of this moment's best knowledge."""

    sequences: int
    """Running and waiting."""
    free_blocks: int
    prefill_tokens: int
    """Prompt tokens that are still to be computed there."""


class _Debit(msgspec.Struct, frozen=True):
    number: int
    sequences: int
    blocks: int
    prefill_tokens: int


class EngineBook:
    """The gateway's account with one connection to one engine."""

    def __init__(self, capacity: Capacity) -> None:
        self.capacity = capacity
        self.load = Load(running=0, waiting=0, free_blocks=capacity.num_blocks, waiting_prefill_tokens=0)
        """As of the engine's last word; idle until it has said one."""
        self.granted = 0
        """Credits in all."""
        self.sent = 0
        """Submits in all."""
        self.sent_fresh = 0
        """First attempts among them: only these take a credit."""
        self.returned = 0
        """Credits given back in all."""
        self._heard = 0
        """Submits that are in `load`."""
        self._told = 0
        """The backlog that the engine believes this gateway to have."""
        self._debits: deque[_Debit] = deque()

    @property
    def credits(self) -> int:
        """First attempts that may be sent now."""
        return self.granted - self.sent_fresh - self.returned

    def grant(self, total: int) -> bool:
        """Book the engine's word on credits; whether there are more than before."""
        more = total > self.granted
        self.granted = max(self.granted, total)
        return more

    def hear(self, load: Load, received: int) -> None:
        """Book a load that includes the first `received` submits of this connection; one overtaken by news is not."""
        if received < self._heard:
            return
        self.load, self._heard = load, received
        debits = self._debits
        while debits and debits[0].number <= received:
            debits.popleft()

    def debit(self, *, fresh: bool, sequences: int, prefill_tokens: int) -> None:
        """Book a submit that is being sent."""
        self.sent += 1
        if fresh:
            self.sent_fresh += 1
            self._told = max(0, self._told - 1)
        blocks = -(-prefill_tokens // self.capacity.block_size)
        self._debits.append(_Debit(self.sent, sequences, blocks, prefill_tokens))

    def estimate(self) -> Estimate:
        """Return the load with what was sent since."""
        load = self.load
        sequences, blocks, tokens = load.running + load.waiting, load.free_blocks, load.waiting_prefill_tokens
        for debit in self._debits:
            sequences += debit.sequences
            blocks -= debit.blocks
            tokens += debit.prefill_tokens
        return Estimate(sequences, max(0, blocks), tokens)

    def backlog(self, waiting: int) -> tuple[int, int] | None:
        """Return (waiting, returned) to tell the engine when `waiting` requests want to go there; None: it knows.

        Credits that neither the backlog nor the standing credit needs go back, so that others get them.
        """
        spare = self.credits - max(waiting, STANDING_CREDITS)
        if spare > 0:
            self.returned += spare
        elif waiting == self._told:
            return None
        self._told = waiting
        return waiting, self.returned
