"""Running ahead: a step is queued before the host has seen the tokens of the one before it. Pure decisions.

A sequence that decodes will most likely decode again, with the token that the device has just sampled. So while a step
runs, the next one of the same sequences is queued behind it, and the device never waits for the host::

    device   │ step n       │ step n+1 (queued ahead) │ step n+2 …
    host     │ queue n+1 ·wait│ settle n, send, plan n+1 · match · queue n+2 · wait │

When the plan of n+1 comes, its rows are looked up in what was queued; rows that are not there (a new prompt) are queued
behind. What was computed for a sequence that ended, or that sits this step out, is thrown away. That is safe: it wrote
keys and values at a position that nobody reads before it is written again, in blocks that were the sequence's own when
the launch was queued, and the queue runs in order. And as no row's bits depend on its batch, it is as good as any.
"""

from collections.abc import Iterable
from collections.abc import Sequence as Seq
from typing import NamedTuple

from spillway_engine.cuda.staging import Piece
from spillway_engine.plan import Row
from spillway_engine.request import Sequence


class Expected(NamedTuple):
    """A row that was queued ahead."""

    sequence: Sequence
    start: int
    slot: int | None


def next_pieces(rows: Iterable[Row], block_size: int) -> list[Piece]:
    """Return what can be queued behind a step of `rows`: the next token of each sequence that will surely want one.

    Left out is who ends by length with this step, who lacks a block for the next token, and who must run alone.
    """
    pieces = []
    for row in rows:
        sequence, position = row.sequence, row.start + row.num_tokens
        if (
            row.samples
            and not sequence.request.alone
            and sequence.num_output + 1 < sequence.max_output_tokens
            and position < len(sequence.block_ids) * block_size
        ):
            pieces.append(Piece(sequence, position, 1, samples=True, ahead=True))
    return pieces


def expect(pieces: Iterable[Piece]) -> tuple[Expected, ...]:
    """Note what was queued."""
    return tuple(Expected(piece.sequence, piece.start, piece.sequence.slot) for piece in pieces)


def match(rows: Seq[Row], joined: Iterable[Sequence], expected: Seq[Expected]) -> dict[int, int]:
    """Return which rows of a plan were queued ahead: index in the plan to index in the launch.

    A sequence that has lost its slot since (and joins again) is computed anew, also if all else is the same.
    """
    known = {entry.sequence: index for index, entry in enumerate(expected)}
    for sequence in joined:
        known.pop(sequence, None)
    found = {}
    for index, row in enumerate(rows):
        at = known.get(row.sequence)
        if at is None or row.num_tokens != 1 or not row.samples:
            continue
        if expected[at].start == row.start and expected[at].slot == row.sequence.slot:
            found[index] = at
    return found
