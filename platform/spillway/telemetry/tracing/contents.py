"""What a request asked and was answered, for tenants whose contents the settings ask for; nobody else's is ever here.

Texts are kept up to a bound while they come, and become JSON in the thread that writes it: messages of parts, as
OpenTelemetry's GenAI conventions have them in `gen_ai.input.messages` and `gen_ai.output.messages`.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

EVERYBODY: Final = "*"
"""Instead of a tenant's name in the settings."""
MAX_CHARS: Final = 16_384
"""Of all prompts together, and of all answers together; what is beyond is cut off."""
CUT: Final = "…"
"""Ends a text that was cut off."""

Message = tuple[str, str]
"""Role and text."""


class Contents:
    """Of one request. Written by the loop, read when it has ended."""

    __slots__ = ("_asked", "_room", "_said", "reasons")

    def __init__(self, asked: Iterable[Message], *, max_chars: int = MAX_CHARS) -> None:
        self._asked = _bounded(asked, max_chars)
        self._said: list[list[str]] = []
        self._room = max_chars
        self.reasons: tuple[str | None, ...] = ()
        """Why each choice ended; None: it did not."""

    def say(self, choice: int, text: str) -> None:
        """Take a piece of a choice's answer."""
        while len(self._said) <= choice:
            self._said.append([])
        if not text or self._room < 0:
            return
        if len(text) > self._room:
            text = text[: self._room] + CUT
            self._room = -1  # nothing more, of any choice
        else:
            self._room -= len(text)
        self._said[choice].append(text)

    def prompt(self) -> str:
        """Return what was asked, as JSON."""
        return _json([_message(role, text) for role, text in self._asked])

    def answer(self) -> str | None:
        """Return what was answered, as JSON; None if there was nothing."""
        if not any(self._said):
            return None
        reasons = (*self.reasons, *[None] * (len(self._said) - len(self.reasons)))
        return _json(
            [
                _message("assistant", "".join(texts)) | ({} if reason is None else {"finish_reason": reason})
                for texts, reason in zip(self._said, reasons, strict=False)
            ]
        )


def _bounded(asked: Iterable[Message], max_chars: int) -> list[Message]:
    found: list[Message] = []
    room = max_chars
    for role, text in asked:
        if len(text) > room:
            found.append((role, text[:room] + CUT))
            break
        room -= len(text)
        found.append((role, text))
    return found


def _message(role: str, text: str) -> dict[str, object]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def _json(messages: list[dict[str, object]]) -> str:
    return msgspec.json.encode(messages).decode()
