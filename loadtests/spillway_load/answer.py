"""A streamed chat answer, taken in event by event: text, times, usage, how it ended. Pure."""

from dataclasses import dataclass, field
from typing import Final

import msgspec

from spillway_wire.outcomes import Outcome

DONE: Final = b"[DONE]"


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    completion_tokens: int = 0


class _Detail(msgspec.Struct):
    outcome: str = ""


class _Error(msgspec.Struct):
    message: str = ""
    spillway: _Detail | None = None


class _Event(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: _Error | None = None


_decode = msgspec.json.Decoder(_Event).decode


@dataclass(slots=True)
class Answer:
    """What has come of one answer so far; times of the caller's clock."""

    pieces: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    """When each piece came."""
    finish_reason: str = ""
    num_tokens: int | None = None
    """By the server's usage."""
    error: str | None = None
    """The outcome that an error event or body told; empty if it told none."""
    is_done: bool = False
    """It ended with `[DONE]`, as a success does."""
    _rest: bytes = b""

    @property
    def text(self) -> str:
        """Everything said so far."""
        return "".join(self.pieces)

    def feed(self, body: bytes, now: float) -> None:
        """Take in a part of a stream's body, however it was cut. Raises `msgspec.MsgspecError` if it is no JSON."""
        *events, self._rest = (self._rest + body).split(b"\n\n")
        for event in events:
            if event.startswith(b"data: "):  # comments keep a connection alive
                self._add(event[6:], now)

    def refuse(self, body: bytes) -> None:
        """Take in the whole body of an answer that is no stream: an error."""
        try:
            self._fail(_decode(body).error or _Error())
        except msgspec.MsgspecError:
            self.error = ""

    def _add(self, data: bytes, now: float) -> None:
        if data == DONE:
            self.is_done = True
            return
        event = _decode(data)
        for choice in event.choices:
            if choice.delta.content:
                self.pieces.append(choice.delta.content)
                self.times.append(now)
            self.finish_reason = choice.finish_reason or self.finish_reason
        if event.usage is not None:
            self.num_tokens = event.usage.completion_tokens
        if event.error is not None:
            self._fail(event.error)

    def _fail(self, error: _Error) -> None:
        self.error = error.spillway.outcome if error.spillway else ""

    def outcome(self, status: int) -> str:
        """Return how an answer that came to its end is called."""
        if self.error is not None:
            return self.error or (Outcome.INTERNAL if status == 200 else f"http_{status}")
        if status != 200:
            return f"http_{status}"
        return Outcome.COMPLETED if self.is_done else "truncated"
