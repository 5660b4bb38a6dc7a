"""One answer, from tokens to text: the detokenizer, stop strings and log-probabilities of one choice."""

from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec

from spillway.gateway.models import Model
from spillway.pool.contract import Piece
from spillway_text.stop import StopAutomaton, StopStrings
from spillway_wire.messages import PositionLogprobs
from spillway_wire.outcomes import FinishReason


class TokenEntry(msgspec.Struct, frozen=True):
    """A token that can be seen in the text, with its log-probabilities."""

    offset: int
    """Characters of the answer before it."""
    logprobs: PositionLogprobs


class Part(msgspec.Struct, frozen=True):
    """What can now be shown of a choice."""

    text: str
    entries: Sequence[TokenEntry] = ()
    reason: FinishReason | None = None


NOTHING: Final = Part("")


class ChoiceText:
    """Takes the pieces of one choice and says what of its text may be shown.

    The token that ends an answer (end of sequence, or a stop token) is counted and not shown. A stop string ends it
    too: the tokens up to the one that completed it count, and neither its text nor log-probabilities of it are shown.
    """

    def __init__(
        self, model: Model, index: int, *, stops: StopAutomaton | None, logprobs: bool, after: Sequence[int] = ()
    ) -> None:
        """`after` holds the last tokens of a prompt whose text the answer goes on from."""
        self.index = index
        """Place among all choices of the answer."""
        self.token_ids: list[int] = []
        """All that count."""
        self.prompt_logprobs: tuple[PositionLogprobs, ...] = ()
        self.cached_tokens: int | None = None
        """Prompt tokens that were not computed again; known at the engine's end of the choice."""
        self.reason: FinishReason | None = None
        """Set when nothing more will be shown."""
        self._detokenizer = model.text.detokenizer(after=after)
        self._stops = StopStrings(stops) if stops is not None else None
        self._entries: deque[TokenEntry] | None = deque() if logprobs else None
        """Those whose text is still held back."""
        self._length = 0
        """Characters detokenized, shown or held back."""
        self._shown = 0

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will be shown."""
        return self.reason is not None

    def accept(self, piece: Piece) -> Part:
        """Take in what one step added, and return what can now be shown; nothing once the choice has ended."""
        finish = piece.finish
        if finish is not None:
            self.cached_tokens = finish.usage.cached_tokens
        if self.has_ended:
            return NOTHING
        if piece.prompt_logprobs:
            self.prompt_logprobs = piece.prompt_logprobs
        tokens = piece.token_ids
        visible = tokens[:-1] if finish is not None and finish.reason is FinishReason.STOP else tokens
        if self._stops is None and self._entries is None:
            text = self._detokenizer.push_all(visible)
            self.token_ids += tokens
        else:
            text = self._watch(visible, piece.logprobs)
            if not self.has_ended:
                self.token_ids += tokens[len(visible) :]
        if finish is not None and not self.has_ended:
            text += self._finish()
            if not self.has_ended:
                self.reason = finish.reason
        if self._entries is None:
            return Part(text, (), self.reason)
        self._shown += len(text)
        return Part(text, self._released(), self.reason)

    def _watch(self, tokens: Sequence[int], logprobs: Sequence[PositionLogprobs]) -> str:
        """Detokenize token by token, so that a stop string ends the choice at the token that completes it."""
        shown = ""
        for place, token in enumerate(tokens):
            self.token_ids.append(token)
            fresh = self._detokenizer.push(token)
            if self._entries is not None and place < len(logprobs):
                self._entries.append(TokenEntry(self._length, logprobs[place]))
            self._length += len(fresh)
            shown += self._past_stops(fresh)
            if self.has_ended:
                break
        return shown

    def _past_stops(self, text: str) -> str:
        if self._stops is None or not text:
            return text
        shown, matched = self._stops.push(text)
        if matched is not None:
            self.reason = FinishReason.STOP
        return shown

    def _finish(self) -> str:
        """Return what was held back: no more tokens will come."""
        fresh = self._detokenizer.finish()
        self._length += len(fresh)
        shown = self._past_stops(fresh)
        if self._stops is not None and not self.has_ended:
            shown += self._stops.finish()
        return shown

    def _released(self) -> Sequence[TokenEntry]:
        """Return the entries whose text has begun to be shown; at a natural end all of them."""
        waiting = self._entries
        if not waiting:
            return ()
        released: list[TokenEntry] = []
        everything = self.reason is not None and self._shown == self._length
        while waiting and (everything or waiting[0].offset < self._shown):
            released.append(waiting.popleft())
        if self.reason is not None:
            waiting.clear()
        return released
