"""Readers of tickets without an event loop: they keep what they read, and know what it has to be."""

from typing import Any

from spillway.pool.contract import Piece, Refused, Work
from spillway.pool.ticket import PoolTicket
from spillway_wire.messages import Finish
from spillway_wire.outcomes import FinishReason

from .fake_pool_engines import expected


class Reader:
    """Reads a ticket without an event loop, and knows how it has to end."""

    def __init__(self, work: Work, ticket: PoolTicket) -> None:
        self.work = work
        self.ticket = ticket
        self.tokens: dict[int, list[int]] = {index: [] for index in range(work.num_choices)}
        self.pieces: list[Piece] = []
        self.finishes: dict[int, Finish] = {}
        self.refused: Refused | None = None
        self.num_ends = 0

    @property
    def name(self) -> str:
        return self.work.request_id

    @property
    def entry(self) -> Any:
        return self.ticket.entry

    def expected(self, choice: int = 0) -> tuple[list[int], FinishReason]:
        """The whole output of a choice, and how it ends."""
        return expected(self.work, choice)

    def read(self) -> "Reader":
        """Take everything there is."""
        while not self.num_ends and (self.entry.news or self.entry.is_over):
            try:
                self.ticket.__anext__().send(None)
            except StopIteration as stop:
                self._keep(stop.value)
            except StopAsyncIteration:
                self.num_ends += 1
            except Refused as refused:
                self.num_ends += 1
                self.refused = refused
        return self

    def _keep(self, piece: Piece) -> None:
        assert piece.choice not in self.finishes, "a piece after the end of its choice"
        self.pieces.append(piece)
        self.tokens[piece.choice] += piece.token_ids
        if piece.finish is not None:
            self.finishes[piece.choice] = piece.finish

    @property
    def completed(self) -> bool:
        return self.num_ends == 1 and self.refused is None

    def check(self) -> None:
        """What was read is the beginning of the truth, and all of it at the end."""
        for index, tokens in self.tokens.items():
            whole, reason = self.expected(index)
            assert tokens == whole[: len(tokens)], f"choice {index} of {self.work}"
            finish = self.finishes.get(index)
            if finish is not None:
                assert (tokens, finish.reason, finish.usage.output_tokens) == (whole, reason, len(whole))
        assert self.num_ends <= 1
        if self.completed:
            assert len(self.finishes) == self.work.num_choices
