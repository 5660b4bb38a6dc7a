"""The reader's end of a request: whatever the journal holds that its reader has not seen, as pieces.

There is no queue between journal and reader. A piece is cut when it is asked for, so a reader that is behind gets
several steps in one piece, and costs no memory but the tokens themselves.
"""

import asyncio
from collections.abc import Callable

from spillway.pool.contract import Piece
from spillway.pool.journal import Entry
from spillway_wire.messages import PositionLogprobs
from spillway_wire.outcomes import Outcome


class PoolTicket:
    """One submitted request (see `contract.Ticket`). It has one reader."""

    __slots__ = ("_abort", "_end_choice", "_entry", "_waiter")

    def __init__(
        self, entry: Entry, abort: Callable[[Entry, Outcome], None], end_choice: Callable[[Entry, int], None]
    ) -> None:
        self._entry = entry
        self._abort = abort
        self._end_choice = end_choice
        self._waiter: asyncio.Future[None] | None = None
        entry.wake = self._wake

    def __aiter__(self) -> "PoolTicket":
        return self

    async def __anext__(self) -> Piece:
        """Return the next piece; raise StopAsyncIteration when all choices have finished, else `Refused`."""
        entry = self._entry
        while not entry.news:
            if entry.is_over:
                if entry.refusal is not None:
                    raise entry.refusal
                raise StopAsyncIteration
            if self._waiter is not None:
                raise RuntimeError(f"request {entry.request_id!r} is being read already; a ticket has one reader")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return cut(entry)

    def abort(self, outcome: Outcome = Outcome.CLIENT_GONE) -> None:
        """Forget it, in the engine within one step. Idempotent; nothing happens if it is over."""
        if not self._entry.is_over:
            self._abort(self._entry, outcome)

    def end_choice(self, choice: int) -> None:
        """Have no more of one choice, nor of its engine's work on it. Nothing happens if it is over."""
        if not self._entry.is_over and self._entry.choices[choice].finish is None:
            self._end_choice(self._entry, choice)

    def hold(self) -> None:
        """Have the reader woken at the end only."""
        self._entry.held = True

    @property
    def num_tokens(self) -> int:
        """Output tokens that have come, read or not."""
        return self._entry.num_tokens

    @property
    def engine_ids(self) -> tuple[str, ...]:
        """The engines that have worked on it, in order."""
        return tuple(attempt.engine_id for attempt in self._entry.attempts)

    @property
    def entry(self) -> Entry:
        """What the journal knows of it; for traces, also after its end."""
        return self._entry

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def __repr__(self) -> str:
        return f"<PoolTicket {self._entry!r}>"


def cut(entry: Entry) -> Piece:
    """Take what is unread of the choice whose news is the oldest."""
    index = next(iter(entry.news))
    del entry.news[index]
    choice = entry.choices[index]
    tokens = choice.token_ids
    start, choice.num_read = choice.num_read, len(tokens)
    logprobs: tuple[PositionLogprobs, ...] = ()
    if choice.logprobs:
        logprobs = tuple(choice.logprobs)
        choice.logprobs.clear()
    prompt_logprobs, choice.prompt_logprobs = choice.prompt_logprobs, ()
    return Piece(index, tuple(tokens[start:]), logprobs, prompt_logprobs, choice.finish)
