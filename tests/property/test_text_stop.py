"""Stop strings: however the text is cut into pieces, what is shown is the text before the first one."""

from collections.abc import Iterator, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from spillway_text.detokenize import Detokenizer
from spillway_text.stop import StopAutomaton, StopStrings

_STOPS = st.lists(st.text("ab\n", min_size=1, max_size=5), min_size=1, max_size=4)
_PIECES = st.lists(st.text("ab\n", max_size=6), max_size=12)


def _first(text: str, stops: Sequence[str]) -> tuple[str, str | None]:
    """The rule, tried at every place: the first to be complete, and of those the longest."""
    for end in range(1, len(text) + 1):
        for stop in sorted(stops, key=len, reverse=True):
            if text[:end].endswith(stop):
                return text[: end - len(stop)], stop
    return text, None


def _stream(stream: StopStrings, pieces: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    for piece in pieces:
        yield stream.push(piece)
    yield stream.finish(), None


@settings(max_examples=400)
@given(_STOPS, _PIECES)
def test_what_is_shown_is_the_text_before_the_first_stop_string(stops: list[str], pieces: list[str]) -> None:
    results = list(_stream(StopStrings(stops), pieces))
    text, matched = _first("".join(pieces), stops)
    assert "".join(shown for shown, _ in results) == text
    assert next((stop for _, stop in results if stop), None) == matched


@settings(max_examples=400)
@given(_STOPS, _PIECES)
def test_no_more_is_held_back_than_could_become_a_stop_string(stops: list[str], pieces: list[str]) -> None:
    stream = StopStrings(stops)
    come, shown = "", ""
    for piece in pieces:
        come += piece
        text, matched = stream.push(piece)
        shown += text
        if matched is not None:
            return
        held = come[len(shown) :]
        assert not held or any(stop.startswith(held) for stop in stops)
        longer = (come[-length:] for length in range(len(held) + 1, len(come) + 1))
        assert not any(stop.startswith(end) for stop in stops for end in longer)


@given(_STOPS, _PIECES, _PIECES)
def test_choices_share_the_strings_and_nothing_else(stops: list[str], first: list[str], second: list[str]) -> None:
    shared = StopAutomaton(stops)
    one, other = StopStrings(shared), StopStrings(shared)
    mixed = [(one.push(a), other.push(b)) for a, b in zip(first, second, strict=False)]
    alone = StopStrings(stops), StopStrings(stops)
    assert mixed == [(alone[0].push(a), alone[1].push(b)) for a, b in zip(first, second, strict=False)]


def _bytes_tokenizer() -> Tokenizer:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: index for index, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


_TOKENIZER = _bytes_tokenizer()
_LETTERS = "aü字😀"


@given(st.text(_LETTERS, max_size=16), st.lists(st.text(_LETTERS, min_size=1, max_size=3), min_size=1, max_size=3))
def test_characters_of_many_tokens_stop_as_whole_ones(text: str, stops: list[str]) -> None:
    decoder, stream = Detokenizer(_TOKENIZER.decode), StopStrings(stops)
    pieces = [decoder.push(token) for token in _TOKENIZER.encode(text).ids]  # one token for each byte
    results = list(_stream(stream, [*pieces, decoder.finish()]))
    expected, matched = _first(text, stops)
    assert "".join(shown for shown, _ in results) == expected
    assert next((stop for _, stop in results if stop), None) == matched
