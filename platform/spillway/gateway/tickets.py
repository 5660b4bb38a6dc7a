"""The tickets of one answer, one for each prompt, read as if they were one."""

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self

import msgspec

from spillway.pool.contract import Piece, Ticket
from spillway_wire.outcomes import Outcome

_UNREAD_PIECES: Final = 16
"""Of all prompts together; beyond that their readers wait, and the tickets keep what comes."""


class Tickets:
    """`async with` it, and iterate: pieces bear the place of their choice in the whole answer.

    When the body ends, whatever is not over is aborted, and no reader of a ticket is left.
    """

    def __init__(self, tickets: Sequence[Ticket], num_choices: int, why: Callable[[], Outcome]) -> None:
        self._tickets = tickets
        self._num_choices = num_choices
        """Of each prompt."""
        self._why = why
        """Asked for the outcome of what is aborted."""
        self._unread: asyncio.Queue[Piece | Exception | None] | None = None
        """Only of several."""
        self._readers: list[asyncio.Task[None]] = []
        self._num_reading = len(tickets)

    async def __aenter__(self) -> Self:
        if len(self._tickets) > 1:
            unread = self._unread = asyncio.Queue(_UNREAD_PIECES)
            self._readers = [
                asyncio.create_task(self._read(place, ticket, unread), name="read a ticket")
                for place, ticket in enumerate(self._tickets)
            ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for reader in self._readers:
            reader.cancel()
        outcome = Outcome.COMPLETED if kind is None else self._why()
        for ticket in self._tickets:
            ticket.abort(outcome)  # nothing happens to those that are over

    def __aiter__(self) -> "Tickets":
        return self

    async def __anext__(self) -> Piece:
        """Return the next piece of any prompt. Raises StopAsyncIteration after the last one of all, else `Refused`."""
        if self._unread is None:
            return await anext(self._tickets[0])
        while self._num_reading:
            piece = await self._unread.get()
            if isinstance(piece, Piece):
                return piece
            if piece is not None:
                raise piece
            self._num_reading -= 1
        raise StopAsyncIteration

    def hold(self) -> None:
        """Have all read at the end only."""
        for ticket in self._tickets:
            ticket.hold()

    @property
    def num_tokens(self) -> int:
        """Output tokens that have come, read or not."""
        return sum(ticket.num_tokens for ticket in self._tickets)

    def leave(self, prompt: int) -> None:
        """Have no more of a prompt: all its choices ended here before they did in the engine."""
        if self._readers:
            self._readers[prompt].cancel()
        self._tickets[prompt].abort(Outcome.COMPLETED)

    def end_choice(self, index: int) -> None:
        """Have no more of one choice of a prompt whose others go on; nothing happens if it ended in the engine too."""
        prompt, choice = divmod(index, self._num_choices)
        self._tickets[prompt].end_choice(choice)

    async def _read(self, prompt: int, ticket: Ticket, unread: "asyncio.Queue[Piece | Exception | None]") -> None:
        first = prompt * self._num_choices
        end: Exception | None = None
        try:
            async for piece in ticket:
                await unread.put(msgspec.structs.replace(piece, choice=first + piece.choice))
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - the one who iterates raises it
            end = error
        await unread.put(end)
