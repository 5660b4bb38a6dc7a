"""The models that requests may name: their texts, what they prefer, and what identifies them."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from spillway_text.text import ModelText

_DECISIVE_FILES: Final = frozenset(
    {
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    }
)
_DECODED_TOKENS: Final = 65536
"""Texts of single tokens that are kept for log-probabilities."""


class GenerationConfig(msgspec.Struct, frozen=True):
    """What a model's generation_config.json prefers; None where it says nothing. `do_sample` is not among it.

    Servers sample by the request's temperature: a config written for a library that samples only when told to would
    otherwise turn every request into a greedy one.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    max_new_tokens: int | None = None


def read_generation_config(folder: Path) -> GenerationConfig:
    """Read a model folder's preferences; nothing is preferred if it has none, or none that make sense."""
    file = folder / "generation_config.json"
    try:
        config = msgspec.json.decode(file.read_bytes(), type=GenerationConfig)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return GenerationConfig()
    # this file writes "all tokens" as 0, and a max_new_tokens of 0 or less is a way to say none
    top_k = None if config.top_k is None else (config.top_k if config.top_k > 0 else -1)
    max_new_tokens = config.max_new_tokens if (config.max_new_tokens or 0) > 0 else None
    return msgspec.structs.replace(config, top_k=top_k, max_new_tokens=max_new_tokens)


@dataclass(frozen=True, kw_only=True)
class Model:
    """One served model, seen from the side of text."""

    name: str
    path: Path
    text: ModelText
    preferences: GenerationConfig
    longest_token: int | None = None
    """The most characters that one token stands for, where that is known."""
    aliases: tuple[str, ...] = ()
    created: int = 0
    """Unix seconds: of its configuration's last change."""
    fingerprint: str = ""
    """OpenAI's `system_fingerprint`: the same as long as the model is the same."""
    _token_texts: dict[int, str] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def load(cls, name: str, path: Path, aliases: tuple[str, ...] = ()) -> "Model":
        """Read a model folder's text side; takes from milliseconds to seconds. Raises `spillway_text.ModelError`."""
        text = ModelText(path)
        return cls(
            name=name,
            path=path,
            text=text,
            longest_token=text.longest_token,
            preferences=read_generation_config(path),
            aliases=aliases,
            created=_created(path),
            fingerprint=_fingerprint(path),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """What requests may call it: its name first, then its aliases."""
        return (self.name, *self.aliases)

    def token_text(self, token: int) -> str:
        """Return the text of one token alone, special or not; remembered, for log-probabilities ask over and over."""
        text = self._token_texts.get(token)
        if text is None:
            text = self.text.decode((token,), skip_special_tokens=False)
            if len(self._token_texts) < _DECODED_TOKENS:
                self._token_texts[token] = text
        return text


def _created(path: Path) -> int:
    try:
        return int((path / "config.json").stat().st_mtime)
    except OSError:
        return 0


def _fingerprint(path: Path) -> str:
    """Hash what decides on answers; of the weights only the sizes: reading them all would take longer than starting."""
    digest = hashlib.blake2b(digest_size=5)
    for file in sorted(path.iterdir()):
        if file.name in _DECISIVE_FILES:
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
        elif file.suffix == ".safetensors":
            digest.update(f"{file.name}\0{file.stat().st_size}".encode())
    return f"fp_{digest.hexdigest()}"


class Models:
    """All of them, by name and alias. The first is meant where a request names none."""

    def __init__(self, models: tuple[Model, ...] = ()) -> None:
        self._models: tuple[Model, ...] = ()
        self._by_name: dict[str, Model] = {}
        self.install(models)

    def install(self, models: tuple[Model, ...]) -> None:
        """Serve these from now on; requests that are being answered keep theirs."""
        self._models = models
        self._by_name = {alias: model for model in models for alias in model.aliases}
        self._by_name |= {model.name: model for model in models}

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models)

    def get(self, name: str) -> Model | None:
        """Return a model by its name or an alias."""
        return self._by_name.get(name)

    @property
    def default(self) -> Model | None:
        """The model of requests that name none."""
        return self._models[0] if self._models else None
