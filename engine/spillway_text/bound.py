"""How much text a token can stand for: what is longer than a context of such tokens need not be tokenized at all.

Only a tokenizer that drops and merges nothing gives a bound. So every part of it has to be of a kind that is known to
keep all characters: byte-level or byte-fallback BPE, with normalizers that add or exchange characters, or put letters
and their accents together.
"""

import json
from typing import Any, Final

from tokenizers import Tokenizer

_SPACE_MARK: Final = "▁"
_MOST_COMPOSED: Final = 4
"""Characters that NFC makes one of, at most: a letter and three accents."""
_KEEPING: Final = frozenset({"ByteLevel", "Metaspace", "Digits", "Split"})


def longest_token(tokenizer: Tokenizer) -> int | None:
    """Return the most characters of a text that one token stands for; None if that is not bounded, or not known."""
    if tokenizer.truncation is not None or not _keeps_all(tokenizer):
        return None
    composed = any(part["type"] == "NFC" for part in _parts(tokenizer.normalizer, "normalizers"))
    return max(map(len, tokenizer.get_vocab()), default=1) * (_MOST_COMPOSED if composed else 1)


def _keeps_all(tokenizer: Tokenizer) -> bool:
    model, normalizer = tokenizer.model, _parts(tokenizer.normalizer, "normalizers")
    splitters = _parts(tokenizer.pre_tokenizer, "pretokenizers")
    return (
        type(model).__name__ == "BPE"
        and (model.byte_fallback or any(part["type"] == "ByteLevel" for part in splitters))
        and all(_keeps_characters(part) for part in normalizer)
        and all(part["type"] in _KEEPING and part.get("behavior") != "Removed" for part in splitters)
        # these take any number of spaces beside them along
        and not any(token.lstrip or token.rstrip for token in tokenizer.get_added_tokens_decoder().values())
    )


def _keeps_characters(normalizer: dict[str, Any]) -> bool:
    kind = normalizer["type"]
    return kind in {"Prepend", "NFC"} or (
        kind == "Replace" and normalizer["pattern"] == {"String": " "} and normalizer["content"] == _SPACE_MARK
    )


def _parts(component: Any, key: str) -> list[dict[str, Any]]:
    """Return a component as the parts that it is a sequence of, in the form of tokenizer.json."""
    if component is None:
        return []
    described = json.loads(component.__getstate__())
    parts: list[dict[str, Any]] = described[key] if described["type"] == "Sequence" else [described]
    return parts
