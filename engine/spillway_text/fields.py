"""Typed reading of a model folder's JSON files: what is missing or of the wrong type is named, never guessed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from spillway_text.errors import InvalidCheckpointError, ModelNotFoundError

_T = TypeVar("_T", int, float, bool, str)

_EXPECTED = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises `ModelNotFoundError` without that file, `InvalidCheckpointError` if broken."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelNotFoundError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise InvalidCheckpointError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise InvalidCheckpointError(f"{path} holds {type(content).__name__}; a JSON object was expected")
    return content


class Fields:
    """The keys of one JSON object, read with their types.

    `where` is how errors call the object: the file, and the key path inside it if it is nested.
    """

    def __init__(self, where: str, content: Mapping[str, Any]) -> None:
        self.where = where
        self._content = content

    @classmethod
    def of_file(cls, path: Path) -> "Fields":
        """Read the object that a file holds."""
        return cls(str(path), read_json(path))

    def __contains__(self, key: str) -> bool:
        return self._content.get(key) is not None

    def names(self, key: str) -> bool:
        """Whether the key stands there, be it with a null."""
        return key in self._content

    def raw(self, key: str) -> Any:
        """Return the value as it stands, None where the key is missing."""
        return self._content.get(key)

    def get(self, key: str, kind: type[_T], default: _T | None = None) -> _T:
        """Return a value of type `kind`; a missing or null one is `default`, and an error where there is none."""
        value = self._content.get(key)
        if value is None:
            if default is None:
                raise InvalidCheckpointError(f"{self.where}: key {key!r} is missing; {_EXPECTED[kind]} was expected")
            return default
        return self._checked(key, value, kind)

    def optional(self, key: str, kind: type[_T]) -> _T | None:
        """Return a value of type `kind`, or None where it is missing or null."""
        value = self._content.get(key)
        return None if value is None else self._checked(key, value, kind)

    def positive(self, key: str, default: int | None = None) -> int:
        """Return an integer of at least 1."""
        value = self.get(key, int, default)
        if value < 1:
            raise InvalidCheckpointError(f"{self.where}: key {key!r} is {value}; an integer of at least 1 was expected")
        return value

    def strings(self, key: str) -> list[str]:
        """Return a list of strings, empty where the key is missing."""
        value = self._content.get(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise InvalidCheckpointError(f"{self.where}: key {key!r} is {value!r}; a list of strings was expected")
        return list(value)

    def nested(self, key: str) -> "Fields | None":
        """Return the object under `key`, or None where it is missing or null."""
        value = self._content.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise InvalidCheckpointError(f"{self.where}: key {key!r} is {value!r}; an object was expected")
        return Fields(f"{self.where}: {key}", value)

    def _checked(self, key: str, value: object, kind: type[_T]) -> _T:
        # JSON writes 10000 for 10000.0, and Python calls True an int
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return kind(value)
        if not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool):
            raise InvalidCheckpointError(f"{self.where}: key {key!r} is {value!r}; {_EXPECTED[kind]} was expected")
        return value
