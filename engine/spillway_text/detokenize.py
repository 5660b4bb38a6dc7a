"""Tokens to text, one at a time, without ever showing half a character."""

from collections.abc import Callable, Sequence

_INCOMPLETE = "\N{REPLACEMENT CHARACTER}"
_WORTH_IT = 4
"""Tokens at once from which four decodings are fewer than two for each."""


class Detokenizer:
    """The pieces that `push` and `finish` return, put together, are the text of all tokens.

    A token's text depends on its neighbours (a leading space that is stripped at the start of a text, a character
    spread over several byte tokens), so each is decoded behind the tokens of the last piece that was returned::

        tokens   . . . . . [ a a ][ n n n ]
                           anchor read     end           piece = decode(anchor..end) minus decode(anchor..read)

    and nothing is returned while the text ends in an incomplete character. What a decoder of byte tokens makes of
    bytes that are no UTF-8 at all can change with later tokens; then what was shown stays, and what follows it is
    shown. So the pieces equal the whole wherever the whole text is valid.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], after: Sequence[int] = ()) -> None:
        """`after` is what the text goes on from, of which the last few tokens are enough; nothing: it begins."""
        self._decode = decode
        while after and decode(after).startswith(_INCOMPLETE):
            after = after[1:]  # it begins in the midst of a character, which would hide those that follow
        self._tokens = list(after)
        """From the anchor on."""
        self._read = len(self._tokens)
        """How many of them, from the first, have been returned as text."""
        # a character that `after` has only begun is shown when it is complete
        self._read_text = decode(after).rstrip(_INCOMPLETE) if after else ""

    def push(self, token: int) -> str:
        """Add a token and return the text that is now certain, often empty in the midst of a character."""
        self._tokens.append(token)
        text = self._decode(self._tokens)
        if len(text) <= len(self._read_text) or text.endswith(_INCOMPLETE):
            return ""
        return self._advance(text)

    def push_all(self, tokens: Sequence[int]) -> str:
        """Add several tokens and return the text that is now certain: what `push` returns for each, together.

        However the tokens are cut into several, the text is the same, and so is what becomes of bytes that follow.
        """
        if len(tokens) >= _WORTH_IT:
            every = [*self._tokens, *tokens]
            text, before, earlier = self._decode(every), self._decode(every[:-1]), self._decode(every[:-2])
            is_whole = _INCOMPLETE not in text
            if is_whole and len(text) > len(before) > len(earlier.rstrip(_INCOMPLETE)) and _INCOMPLETE not in before:
                # all is text, and the last token is a piece of its own, as the one before it is: `push` would be here
                piece = text[len(self._read_text) :]
                self._tokens, self._read = [tokens[-1]], 1
                self._read_text = self._decode(self._tokens)
                return piece
        return "".join([self.push(token) for token in tokens])

    def finish(self) -> str:
        """Return what was held back: the text ends here, complete or not."""
        return self._advance(self._decode(self._tokens))

    def _advance(self, text: str) -> str:
        piece = text[len(self._read_text) :]
        self._tokens = self._tokens[self._read :]
        self._read = len(self._tokens)
        self._read_text = self._decode(self._tokens)
        return piece
