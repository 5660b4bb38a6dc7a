"""Pieces of a stream, put together, are the text; and no piece ever holds half a character."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from spillway_text.detokenize import Detokenizer

_HALF = "\N{REPLACEMENT CHARACTER}"
_WORDS = ("the", "▁the", "▁", "▁▁", "a", "▁naïve", "😀", ",", ".", "▁.", "é")


def _byte_level() -> Tokenizer:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<s>": 0} | {letter: index + 1 for index, letter in enumerate(letters)}
    merges = [("Ã", "¼"), ("Ġ", "t"), ("ð", "Ł")]  # one whole character, one word's beginning, one half character
    vocabulary |= {left + right: len(vocabulary) + index for index, (left, right) in enumerate(merges)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>"])
    return tokenizer


def _byte_fallback() -> Tokenizer:
    vocabulary = {"<s>": 0} | {f"<0x{byte:02X}>": byte + 1 for byte in range(256)}
    vocabulary |= {word: 257 + index for index, word in enumerate(_WORDS)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True))
    # the decoder of Llama 2 and Mistral
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(["<s>"])
    return tokenizer


_BYTE_LEVEL, _BYTE_FALLBACK = _byte_level(), _byte_fallback()

_TEXT = st.text(st.sampled_from("ab tüé😀字\n\u200d🏽"), max_size=12)


def _pieces(tokenizer: Tokenizer, tokens: Sequence[int]) -> list[str]:
    stream = Detokenizer(tokenizer.decode)
    return [*(stream.push(token) for token in tokens), stream.finish()]


@given(_TEXT)
def test_byte_level_text_streams_whole(text: str) -> None:
    tokens = _BYTE_LEVEL.encode(text).ids
    pieces = _pieces(_BYTE_LEVEL, tokens)
    assert "".join(pieces) == text
    assert not any(_HALF in piece for piece in pieces)


@given(st.lists(st.integers(0, _BYTE_LEVEL.get_vocab_size() - 1), max_size=24))
def test_byte_level_tokens_of_any_kind_stream_to_their_decoding(tokens: list[int]) -> None:
    assert "".join(_pieces(_BYTE_LEVEL, tokens)) == _BYTE_LEVEL.decode(tokens)


def _bytes_of(character: str) -> list[int]:
    return [byte + 1 for byte in character.encode()]


@given(
    st.lists(
        st.one_of(
            st.sampled_from("字é😀\n").map(_bytes_of),
            st.integers(257, 256 + len(_WORDS)).map(lambda token: [token]),
            st.just([0]),
        ),
        max_size=16,
    )
)
def test_fallback_bytes_between_words_and_special_tokens_stream_whole(parts: list[list[int]]) -> None:
    tokens = [token for part in parts for token in part]
    pieces = _pieces(_BYTE_FALLBACK, tokens)
    assert "".join(pieces) == _BYTE_FALLBACK.decode(tokens)
    assert not any(_HALF in piece for piece in pieces)


@given(st.lists(st.integers(0, 256 + len(_WORDS)), max_size=24))
def test_bytes_that_are_no_text_lose_no_word(tokens: list[int]) -> None:
    shown = "".join(_pieces(_BYTE_FALLBACK, tokens))
    whole = _BYTE_FALLBACK.decode(tokens)
    assert _HALF in whole or shown == whole
    assert shown.count("the") == whole.count("the")


def test_a_character_appears_with_its_last_byte() -> None:
    stream = Detokenizer(_BYTE_FALLBACK.decode)
    assert [stream.push(token) for token in _bytes_of("😀")] == ["", "", "", "😀"]
    assert stream.finish() == ""


def test_the_end_shows_what_was_held_back() -> None:
    stream = Detokenizer(_BYTE_LEVEL.decode)
    tokens = _BYTE_LEVEL.encode("aü").ids
    half = _BYTE_LEVEL.token_to_id("ð")
    assert half is not None
    assert [stream.push(token) for token in [*tokens, half]] == ["a", "ü", ""]
    assert stream.finish() == _HALF


def _continued(tokenizer: Tokenizer, before: Sequence[int], tokens: Sequence[int]) -> str:
    stream = Detokenizer(tokenizer.decode, before[-8:])
    return "".join([*(stream.push(token) for token in tokens), stream.finish()])


@given(_TEXT, _TEXT)
def test_what_goes_on_from_a_byte_level_text_is_the_rest_of_the_whole(before: str, text: str) -> None:
    first, rest = _BYTE_LEVEL.encode(before).ids, _BYTE_LEVEL.encode(text).ids
    assert before + _continued(_BYTE_LEVEL, first, rest) == before + text


@given(
    st.lists(st.sampled_from(_WORDS), min_size=1, max_size=12).map(
        lambda words: [_BYTE_FALLBACK.token_to_id(w) for w in words]
    ),
    st.lists(st.sampled_from(_WORDS), max_size=12).map(lambda words: [_BYTE_FALLBACK.token_to_id(w) for w in words]),
)
def test_what_goes_on_from_a_text_keeps_the_space_before_its_first_word(before: list[int], tokens: list[int]) -> None:
    whole = _BYTE_FALLBACK.decode(before + tokens)
    assert _BYTE_FALLBACK.decode(before) + _continued(_BYTE_FALLBACK, before, tokens) == whole


@given(st.integers(1, 3))
def test_a_character_that_a_prompt_has_begun_is_shown_when_it_is_complete(num_bytes: int) -> None:
    spelled = [byte + 1 for byte in "😀".encode()]  # the ids of bytes in this vocabulary
    before, rest = [*_BYTE_FALLBACK.encode("a").ids, *spelled[:num_bytes]], spelled[num_bytes:]
    assert _continued(_BYTE_FALLBACK, before, rest) == "😀"


@given(st.sampled_from([_BYTE_LEVEL, _BYTE_FALLBACK]), st.data())
def test_however_tokens_are_cut_the_text_is_the_same(tokenizer: Tokenizer, data: st.DataObject) -> None:
    tokens = data.draw(st.lists(st.integers(0, tokenizer.get_vocab_size() - 1), max_size=24))
    words = tokenizer.encode(data.draw(_TEXT)).ids
    place = data.draw(st.integers(0, len(tokens)))
    tokens[place:place] = words
    cuts = sorted(data.draw(st.sets(st.integers(0, len(tokens)), max_size=6)) | {0, len(tokens)})
    stream = Detokenizer(tokenizer.decode)
    pieces = [stream.push_all(tokens[start:end]) for start, end in pairwise(cuts)]
    assert "".join([*pieces, stream.finish()]) == "".join(_pieces(tokenizer, tokens))
