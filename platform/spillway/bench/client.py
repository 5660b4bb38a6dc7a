"""A lean HTTP/1.1 client for benchmarks and drills: one connection, one exchange at a time, parsed in C.

A client library would cost more than the gateway under test. A reply keeps the times that matter: when it was sent,
when the first byte of the body came, when it ended.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import httptools
import msgspec

Clock = Callable[[], float]


@dataclass(slots=True)
class Reply:
    """What has come of one exchange so far."""

    sent: float
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    """By lower-case name."""
    pieces: list[bytes] = field(default_factory=list)
    """The body as it came."""
    arrivals: list[float] = field(default_factory=list)
    """When each piece came."""
    ended: float | None = None
    """None: the connection broke before the end."""

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(self.pieces)

    def json(self) -> Any:
        """Decode the body."""
        return msgspec.json.decode(self.body)


class Connection(asyncio.Protocol):
    """One connection. `open` it, `exchange` as often as you like, `close` it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._reply: Reply | None = None
        self._done: asyncio.Future[Reply] | None = None
        self._on_piece: Callable[[bytes], None] | None = None
        self.is_open = False
        """Whether another exchange can be begun."""

    @classmethod
    async def open(cls, host: str, port: int, clock: Clock = time.perf_counter) -> "Connection":
        """Connect. Raises OSError if nobody listens there."""
        _, connection = await asyncio.get_running_loop().create_connection(lambda: cls(clock), host, port)
        return connection

    async def exchange(self, request: bytes, on_piece: Callable[[bytes], None] | None = None) -> Reply:
        """Send a request and return its reply, which has no end if the connection broke.

        `on_piece` hears every piece of the body when it comes. Raises `ConnectionError` if the connection is closed.
        """
        if not self.is_open or self._transport is None:
            raise ConnectionError("the connection is closed")
        self._parser = httptools.HttpResponseParser(self)
        self._on_piece = on_piece
        self._done = asyncio.get_running_loop().create_future()
        self._reply = Reply(self._clock())
        self._transport.write(request)
        return await self._done

    def close(self) -> None:
        """Close, whatever is under way: what a client that goes away does. Idempotent."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    # ---- what asyncio calls ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        """Parse."""
        if self._parser is not None:
            self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """End what is under way."""
        self.is_open = False
        if self._done is not None and not self._done.done() and self._reply is not None:
            self._done.set_result(self._reply)

    # ---- what the parser calls ----

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        if self._reply is not None:
            self._reply.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Keep the status: a stream that breaks has one, too."""
        if self._reply is not None and self._parser is not None:
            self._reply.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        if self._reply is not None:
            self._reply.pieces.append(body)
            self._reply.arrivals.append(self._clock())
            if self._on_piece is not None:
                self._on_piece(body)

    def on_message_complete(self) -> None:
        """The reply is whole."""
        if self._reply is not None and self._done is not None and self._parser is not None:
            self._reply.ended = self._clock()
            self.is_open = self.is_open and self._parser.should_keep_alive()
            if not self._done.done():
                self._done.set_result(self._reply)


def post(
    path: str, body: object, *, headers: Mapping[str, str] | None = None, host: str = "localhost", keep: bool = True
) -> bytes:
    """Return a POST of `body` as JSON; `keep` asks to keep the connection."""
    content = msgspec.json.encode(body)
    more = {"Content-Type": "application/json", "Content-Length": str(len(content)), **(headers or {})}
    return _head("POST", path, host, more if keep else {**more, "Connection": "close"}) + content


def get(path: str, *, headers: Mapping[str, str] | None = None, host: str = "localhost") -> bytes:
    """Return a GET."""
    return _head("GET", path, host, headers or {})


def _head(method: str, path: str, host: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


class EventReader:
    """Cuts a stream into the `data` of its server-sent events, however the bytes were cut."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the data of the events that `piece` completes; comments have none."""
        *events, self._rest = (self._rest + piece).split(b"\n\n")
        return [event[6:] for event in events if event.startswith(b"data: ")]
