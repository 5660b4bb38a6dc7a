"""How much text one token stands for, where that can be known at all."""

from collections.abc import Callable
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from spillway_text.bound import longest_token

ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())


def byte_level() -> Tokenizer:
    vocabulary = {letter: place for place, letter in enumerate([*ALPHABET, "th", "the"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("t", "h"), ("th", "e")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


def byte_fallback() -> Tokenizer:
    vocabulary = {f"<0x{byte:02X}>": byte for byte in range(256)} | {"▁": 256, "a": 257}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return tokenizer


def with_parts(**parts: Any) -> Callable[[], Tokenizer]:
    def make() -> Tokenizer:
        tokenizer = byte_level()
        for name, part in parts.items():
            setattr(tokenizer, name, part)
        return tokenizer

    return make


def with_greedy_token() -> Tokenizer:
    tokenizer = byte_level()
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    return tokenizer


def truncating() -> Tokenizer:
    tokenizer = byte_level()
    tokenizer.enable_truncation(5)
    return tokenizer


def of_words() -> Tokenizer:
    return Tokenizer(models.WordLevel({"a": 0}))


@pytest.mark.parametrize(
    ("make", "longest"),
    [
        (byte_level, 3),
        (byte_fallback, 6),
        (with_parts(normalizer=normalizers.NFC()), 12),
        (with_parts(normalizer=normalizers.Strip()), None),
        (with_parts(normalizer=normalizers.Replace("a", "")), None),
        (with_parts(pre_tokenizer=pre_tokenizers.Whitespace()), None),
        (with_parts(pre_tokenizer=pre_tokenizers.Split(" ", "removed")), None),
        (with_greedy_token, None),
        (truncating, None),
        (of_words, None),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_the_bound_is_the_longest_token_where_nothing_is_dropped(
    make: Callable[[], Tokenizer], longest: int | None
) -> None:
    assert longest_token(make()) == longest


@pytest.mark.parametrize("text", ["the the", "   ", "e\u0301" * 9, "\N{GRINNING FACE} the", "\u1f82"])
@pytest.mark.parametrize("make", [byte_level, byte_fallback, with_parts(normalizer=normalizers.NFC())])
def test_no_text_has_fewer_tokens_than_the_bound_says(make: Callable[[], Tokenizer], text: str) -> None:
    tokenizer = make()
    longest = longest_token(tokenizer)
    assert longest is not None
    assert len(tokenizer.encode(text).ids) * longest >= len(text)
