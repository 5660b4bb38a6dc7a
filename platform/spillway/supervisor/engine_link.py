"""The supervisor's control channel to one engine: orders out, last words in. Beats are ignored: the page says more."""

import asyncio
from collections import deque
from collections.abc import Callable

import msgspec

from spillway_wire.address import parse_address
from spillway_wire.channel import Connection, connect
from spillway_wire.codec import FrameEncoder, Malformed
from spillway_wire.messages import (
    Channel,
    FromEngine,
    Hello,
    Inject,
    Injected,
    LastWords,
    Welcome,
)

CLIENT_ID = "supervisor"


class EngineLink:
    """Make it with `open`. What the engine says is kept for whoever asks; its end is the process's affair."""

    def __init__(self) -> None:
        self._wire: Connection[FromEngine] | None = None
        self._injections: deque[asyncio.Future[Injected]] = deque()
        self.welcome: Welcome | None = None
        self.words: LastWords | None = None

    @classmethod
    async def open(cls, address: str, on_welcome: Callable[[], None]) -> "EngineLink":
        """Connect and say hello; `on_welcome` is called when the engine has answered. Raises OSError."""
        link = cls()

        def received(_: Connection[FromEngine], message: FromEngine | Malformed) -> None:
            match message:
                case Welcome():
                    link.welcome = message
                    on_welcome()
                case LastWords():
                    link.words = message
                case Injected() if link._injections:
                    answer = link._injections.popleft()
                    if not answer.done():
                        answer.set_result(message)
                case _:
                    pass

        wire: Connection[FromEngine] = await connect(
            parse_address(address),
            lambda: Connection(
                FromEngine, FrameEncoder(), on_message=received, on_closed=lambda _, reason: link._ended(reason)
            ),
        )
        wire.send(Hello(client_id=CLIENT_ID, channel=Channel.CONTROL))
        link._wire = wire
        return link

    @property
    def is_open(self) -> bool:
        """Whether the engine can hear us."""
        return self._wire is not None and self._wire.is_open

    @property
    def closed(self) -> "asyncio.Future[None]":
        """Done when the connection has ended and all that was said on it has been read."""
        assert self._wire is not None  # noqa: S101 - `open` has made it
        return self._wire.closed

    def send(self, message: msgspec.Struct) -> bool:
        """Give an order; False if there is nobody to take it."""
        return self._wire is not None and self._wire.is_open and self._wire.send(message)

    def inject(self, message: Inject) -> "asyncio.Future[Injected]":
        """Ask to arm a fault; answered in the order of asking, or with ConnectionError if the engine ends before."""
        answer: asyncio.Future[Injected] = asyncio.get_running_loop().create_future()
        self._injections.append(answer)
        if not self.send(message):
            self._ended("the engine cannot be reached")
        return answer

    def close(self) -> None:
        """End it from this side. Idempotent."""
        if self._wire is not None:
            self._wire.abort("closed by the supervisor")

    def _ended(self, reason: str) -> None:
        while self._injections:
            answer = self._injections.popleft()
            if not answer.done():
                answer.set_exception(ConnectionError(reason))
