"""A client's three channels to one engine: opened together, ended together.

The end of any channel is the end of all. The reason that counts is, in this order: the engine's last words, its
goodbye, and how the connection ended. As these travel on different sockets, the others get a moment to arrive.

A lost output frame ends the channels, too. A gap in the numbers is seen at the next frame; the loss of the last one
by beats, which repeat its number. A beat may overtake the frame that it speaks of, so a frame counts as lost when two
beats have named it and no output has come between and after them.
"""

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

import msgspec

from spillway_wire.address import Address
from spillway_wire.channel import Connection, close_all, connect
from spillway_wire.codec import FrameEncoder, Malformed
from spillway_wire.messages import (
    Beat,
    Channel,
    FromEngine,
    Goodbye,
    Hello,
    LastWords,
    Rejected,
    StepOutput,
    Welcome,
)

_ORDER = (Channel.OUTPUT, Channel.CONTROL, Channel.REQUEST)
"""Answers must have a way back before anything is asked."""
_LAST_WORDS_WITHIN_S = 0.25
_OVERTAKEN_BY_S = 0.05
_FAREWELL_S = 1.0

Wire = Connection[FromEngine]


FRAMES_MALFORMED: Final = "malformed"
FRAMES_LOST: Final = "lost"


class LinkError(Exception):
    """The engine does not let this client in, or did not answer in time; the message says which."""


class Ending(Enum):
    """How the channels ended, as far as this side knows: it decides whether the engine may still be alive."""

    LAST_WORDS = auto()
    """The engine said that it exits."""
    GOODBYE = auto()
    """The engine closed them and said why; it may well go on."""
    FRAMES_LOST = auto()
    """This side closed them, because output was lost; the engine goes on."""
    CUT = auto()
    """They just ended: most often its death."""
    OURS = auto()
    """This side closed them."""


class Links:
    """Make it with `open`, then `bind` who receives."""

    def __init__(self, client_id: str) -> None:
        self.client_id = client_id
        self._encoder = FrameEncoder()
        self._wires: dict[Channel, Wire] = {}
        self._greetings: dict[Channel, asyncio.Future[Welcome]] = {}
        self._early: list[FromEngine] = []
        """What came before anybody was bound; an engine speaks right after its welcome."""
        self._on_message: Callable[[FromEngine], None] = self._early.append
        self._on_ended: Callable[[str], None] = lambda _: None
        self._words: str | None = None
        self._goodbye: str | None = None
        self._reason: str | None = None
        self.on_dropped: Callable[[str, int], None] = lambda *_: None
        """Told why frames are missing (`malformed`, `lost`), and how many."""
        self._timers: list[asyncio.TimerHandle] = []
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.last_words: str | None = None
        """Why the engine is gone; None while it is there."""
        self._frames_lost = False
        self._ours = False
        self.sequence = 0
        """Number of the last output frame received."""
        self._beat: tuple[int, int] | None = None
        """(its output sequence, ours) at the last beat."""

    @classmethod
    async def open(cls, address: Address, client_id: str, timeout_s: float) -> "Links":
        """Connect all channels. Raises OSError or `LinkError`, and leaves nothing open then."""
        links = cls(client_id)
        try:
            async with asyncio.timeout(timeout_s):
                for channel in _ORDER:
                    await links._open(address, channel)
        except BaseException as error:
            await close_all(list(links._wires.values()), "the channels could not be opened", _FAREWELL_S)
            if isinstance(error, TimeoutError):
                raise LinkError(f"the engine did not answer within {timeout_s:g} s") from None
            raise
        return links

    async def _open(self, address: Address, channel: Channel) -> None:
        greeting: asyncio.Future[Welcome] = asyncio.get_running_loop().create_future()
        self._greetings[channel] = greeting
        wire: Wire = await connect(
            address,
            lambda: Connection(
                FromEngine,
                self._encoder,
                on_message=lambda _, message: self._received(channel, message),
                on_closed=lambda _, reason: self._closed(channel, reason),
            ),
        )
        self._wires[channel] = wire
        wire.send(Hello(client_id=self.client_id, channel=channel))
        await greeting

    @property
    def welcome(self) -> Welcome:
        """What the engine said of itself."""
        return self._greetings[Channel.OUTPUT].result()

    def bind(self, on_message: Callable[[FromEngine], None], on_ended: Callable[[str], None]) -> None:
        """Say who gets what arrives, and who is told the end, once. What has happened before is told at once."""
        early, self._early = self._early, []
        self._on_message, self._on_ended = on_message, on_ended
        for message in early:
            on_message(message)
        if self.last_words is not None:
            on_ended(self.last_words)

    def send(self, channel: Channel, message: msgspec.Struct) -> bool:
        """Queue a message; False if the engine does not read that channel."""
        return self._wires[channel].send(message)

    # ---- what arrives ----

    def _received(self, channel: Channel, message: FromEngine | Malformed) -> None:
        match message:
            case Malformed():
                self.on_dropped(FRAMES_MALFORMED, 1)  # of an output frame the gap tells, too; nothing else is missed
            case Welcome():
                if not self._greetings[channel].done():
                    self._greetings[channel].set_result(message)
            case Goodbye():
                self._goodbye = message.reason
            case LastWords():
                self._words = f"{message.cause}: {message.message}\n{message.traceback}".rstrip()
            case Beat():
                self._compare(message)
                self._on_message(message)
            case StepOutput() | Rejected():
                if message.sequence == self.sequence + 1:
                    self.sequence = message.sequence
                    self._on_message(message)
                else:
                    self._lost(self.sequence + 1, message.sequence - 1)
            case _:
                self._on_message(message)

    def _compare(self, beat: Beat) -> None:
        before, self._beat = self._beat, (beat.output_sequence, self.sequence)
        if before is not None and self.sequence == before[1] < before[0]:
            loop = asyncio.get_running_loop()
            check = loop.call_later(_OVERTAKEN_BY_S, self._check_lost, self.sequence, before[0])
            self._timers.append(check)

    def _check_lost(self, sequence: int, announced: int) -> None:
        if self.sequence == sequence:
            self._lost(sequence + 1, announced)

    def _lost(self, first: int, last: int) -> None:
        self._frames_lost = True
        self.on_dropped(FRAMES_LOST, last - first + 1)
        self._goodbye = f"output frames {first} to {last} were lost"
        self._end(self._goodbye)
        self._finish()

    # ---- the end ----

    def _closed(self, channel: Channel, reason: str) -> None:
        greeting = self._greetings[channel]
        if not greeting.done():
            greeting.set_exception(LinkError(self._goodbye or reason))
            return
        self._end(reason)

    def _end(self, reason: str) -> None:
        if self._reason is None:
            self._reason = reason
            loop = asyncio.get_running_loop()
            self._timers.append(loop.call_later(_LAST_WORDS_WITHIN_S, self._finish))
        if all(not wire.is_open for wire in self._wires.values()):
            self._finish()

    def _finish(self) -> None:
        if self.last_words is not None:
            return
        self.last_words = self._words or self._goodbye or self._reason or "closed"
        for timer in self._timers:
            timer.cancel()
        for wire in self._wires.values():
            wire.close(self.last_words)
        self._on_ended(self.last_words)
        self._ended.set_result(self.last_words)

    @property
    def ending(self) -> Ending:
        """How they ended; only to be asked when they have."""
        if self._ours:
            return Ending.OURS
        if self._frames_lost:
            return Ending.FRAMES_LOST
        if self._words is not None:
            return Ending.LAST_WORDS
        return Ending.CUT if self._goodbye is None else Ending.GOODBYE

    async def end(self) -> str:
        """Wait for the end and return the last words."""
        return await asyncio.shield(self._ended)

    def abort(self, reason: str) -> None:
        """End it at once from this side; nothing more arrives, not even word of the end. Idempotent."""
        self._on_message, self._on_ended = lambda _: None, lambda _: None
        self._ours = self._ours or self.last_words is None
        self._reason = self._reason or reason
        self._finish()
        for wire in self._wires.values():
            wire.abort(reason)

    async def close(self, reason: str) -> None:
        """End it from this side. Idempotent."""
        self._ours = self._ours or self.last_words is None
        self._goodbye = self._goodbye or reason
        self._reason = self._reason or reason
        self._finish()
        await close_all(list(self._wires.values()), reason, _FAREWELL_S)
