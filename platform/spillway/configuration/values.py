"""Kinds of values: how each is read from a file or from text, which are allowed, and how it is written as text.

A kind is made from a setting's type and its limits. It raises `ValueError` with what is allowed; the caller knows who
gave it and where.
"""

import math
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

_NOTHING = "none"
"""How an optional setting is given back to Spillway's own choice, also where another source sets it."""
_YES = ("true", "yes", "on", "1")
_NO = ("false", "no", "off", "0")


class Kind(Protocol):
    """A set of allowed values."""

    @property
    def allowed(self) -> str:
        """What is allowed, to follow "it must be"."""

    def from_text(self, text: str) -> Any:
        """Read what a flag or a variable says, or raise `ValueError`."""

    def from_file(self, value: object) -> Any:
        """Check what a file says, with the file's types, or raise `ValueError`."""

    def to_text(self, value: Any) -> str:
        """Write `value` so that `from_text` reads it back."""


def _between(low: float, high: float) -> str:
    if math.isinf(high):
        return f"at least {low:g}"
    return f"from {low:.15g} to {high:.15g}"


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number from `low` to `high`."""

    low: float
    high: float = math.inf

    @property
    def allowed(self) -> str:
        """Its range."""
        return f"a whole number, {_between(self.low, self.high)}"

    def from_text(self, text: str) -> int:
        """Read digits with an optional sign."""
        try:
            return self.from_file(int(text))
        except ValueError:
            raise ValueError(self.allowed) from None

    def from_file(self, value: object) -> int:
        """Refuse what is no whole number: `true` is none, and neither is `2.0`."""
        if isinstance(value, bool) or not isinstance(value, int) or not self.low <= value <= self.high:
            raise ValueError(self.allowed)
        return value

    def to_text(self, value: int) -> str:
        """Write digits."""
        return str(value)


@dataclass(frozen=True, slots=True)
class Number:
    """A finite number from `low` to `high`."""

    low: float
    high: float = math.inf

    @property
    def allowed(self) -> str:
        """Its range."""
        return f"a number, {_between(self.low, self.high)}"

    def from_text(self, text: str) -> float:
        """Read a number as Python writes it."""
        try:
            return self.from_file(float(text))
        except ValueError:
            raise ValueError(self.allowed) from None

    def from_file(self, value: object) -> float:
        """Refuse what is no number; a whole one will do."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(self.allowed)  # noqa: TRY004 - every refusal of a value is one kind of error
        number = float(value)
        if not math.isfinite(number) or not self.low <= number <= self.high:
            raise ValueError(self.allowed)
        return number

    def to_text(self, value: float) -> str:
        """Write every digit that counts."""
        return repr(value)


@dataclass(frozen=True, slots=True)
class Text:
    """A string that is not empty; `check` returns what is allowed instead, or None if it is."""

    check: Callable[[str], str | None] = lambda _: None

    @property
    def allowed(self) -> str:
        """What the check says to the empty string, if it has an opinion."""
        return self.check("") or "a text that is not empty"

    def from_text(self, text: str) -> str:
        """Take it as it is."""
        return self.from_file(text)

    def from_file(self, value: object) -> str:
        """Refuse what is no string or is not allowed."""
        if not isinstance(value, str) or not value or "\0" in value:
            raise ValueError(self.allowed)
        problem = self.check(value)
        if problem is not None:
            raise ValueError(problem)
        return value

    def to_text(self, value: str) -> str:
        """Leave it as it is."""
        return value


@dataclass(frozen=True, slots=True)
class Switch:
    """On or off."""

    @property
    def allowed(self) -> str:
        """Both."""
        return "true or false"

    def from_text(self, text: str) -> bool:
        """Read the usual words for yes and no."""
        word = text.lower()
        if word in _YES:
            return True
        if word in _NO:
            return False
        raise ValueError(self.allowed)

    def from_file(self, value: object) -> bool:
        """Refuse what is no boolean."""
        if not isinstance(value, bool):
            raise ValueError(self.allowed)  # noqa: TRY004 - every refusal of a value is one kind of error
        return value

    def to_text(self, value: bool) -> str:
        """Write true or false."""
        return _YES[0] if value else _NO[0]


@dataclass(frozen=True, slots=True)
class Several:
    """Values of one kind: a list in a file, separated by commas in text."""

    item: Kind

    @property
    def allowed(self) -> str:
        """What one may be."""
        return f"a list, each {self.item.allowed}"

    def from_text(self, text: str) -> tuple[Any, ...]:
        """Read between the commas; nothing is the empty list."""
        return tuple(self.item.from_text(part.strip()) for part in text.split(",")) if text.strip() else ()

    def from_file(self, value: object) -> tuple[Any, ...]:
        """Check each."""
        if not isinstance(value, list | tuple):
            raise ValueError(self.allowed)  # noqa: TRY004 - every refusal of a value is one kind of error
        return tuple(self.item.from_file(each) for each in value)

    def to_text(self, value: tuple[Any, ...]) -> str:
        """Put commas between."""
        return ",".join(self.item.to_text(each) for each in value)


@dataclass(frozen=True, slots=True)
class Perhaps:
    """A value of one kind, or `none`: Spillway chooses."""

    inner: Kind

    @property
    def allowed(self) -> str:
        """What it may be."""
        return f"{self.inner.allowed}, or {_NOTHING}"

    def from_text(self, text: str) -> Any:
        """Read `none`, or the value."""
        return None if text == _NOTHING else self.inner.from_text(text)

    def from_file(self, value: object) -> Any:
        """Take `"none"`, or the value; TOML has no null."""
        return None if value == _NOTHING else self.inner.from_file(value)

    def to_text(self, value: Any) -> str:
        """Write `none`, or the value."""
        return _NOTHING if value is None else self.inner.to_text(value)


Limits = tuple[float, float] | Callable[[str], str | None]
"""Of a number: the least and the most. Of a text: returns what is allowed, or None if the text is."""


def kind_of(hint: Any, limits: Limits | None) -> Kind:
    """Return the kind of a setting with the type `hint`; TypeError if such a type cannot be configured."""
    if isinstance(hint, types.UnionType):
        (inner,) = (choice for choice in typing.get_args(hint) if choice is not types.NoneType)
        return Perhaps(kind_of(inner, limits))
    if typing.get_origin(hint) is tuple:
        return Several(kind_of(typing.get_args(hint)[0], limits))
    if hint is bool and limits is None:
        return Switch()
    if hint is str and not isinstance(limits, tuple):
        return Text() if limits is None else Text(limits)
    if hint in {int, float} and isinstance(limits, tuple):
        return Whole(*limits) if hint is int else Number(*limits)
    raise TypeError(f"a setting of type {hint} with the limits {limits} cannot be configured")


def read_scalar(text: str) -> bool | int | float | str:
    """Read an engine's option from text with the type it looks like; the engine checks it."""
    if text in {"true", "false"}:
        return text == "true"
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text
