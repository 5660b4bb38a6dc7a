"""One framed connection, as both of its ends use it: callbacks for what arrives, a bounded buffer for what leaves.

A `Connection` is an asyncio protocol. What it receives it hands over at once, as values (see `codec`); what it
sends goes into the transport's buffer. `send` never waits: when more than `max_unsent_bytes` lie unread by the
other side it says so, and its owner decides. One frame is always taken, whatever its size, if nothing lies before
it; so a connection holds at most `max_unsent_bytes` plus one frame.

The end of a connection is told once, through `on_closed`, with the reason: ours if we closed it, else the other's.
"""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar, cast

import msgspec

from spillway_wire.address import Address, TcpAddress, UnixAddress
from spillway_wire.codec import FrameDecoder, FrameEncoder, Malformed

MAX_UNSENT_BYTES = 8 * 2**20

M = TypeVar("M")


class Connection(asyncio.Protocol, Generic[M]):
    """A stream of `M` in, of any message out. Make it with `connect` or `listen`."""

    def __init__(
        self,
        types: object,
        encoder: FrameEncoder,
        *,
        on_open: Callable[["Connection[M]"], None] = lambda _: None,
        on_message: Callable[["Connection[M]", M | Malformed], None],
        on_closed: Callable[["Connection[M]", str], None],
        max_unsent_bytes: int = MAX_UNSENT_BYTES,
    ) -> None:
        self._decoder: FrameDecoder[M] = FrameDecoder(types, encoder.max_frame_bytes)
        self._encoder = encoder
        self._on_open, self._on_message, self._on_closed = on_open, on_message, on_closed
        self._max_unsent_bytes = max_unsent_bytes
        self._transport: asyncio.Transport | None = None
        self._reason: str | None = None
        self.num_malformed = 0
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the socket is gone."""

    @property
    def is_open(self) -> bool:
        """Whether a frame sent now has a chance to arrive."""
        return self._transport is not None and self._reason is None

    @property
    def unsent_bytes(self) -> int:
        """Bytes that the other side's kernel has not taken yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def send(self, message: msgspec.Struct) -> bool:
        """Queue `message`; False if the other side does not read. A closed connection takes everything, to nowhere.

        Raises `FrameTooLargeError` if the message fits into no frame.
        """
        return self.send_frame(self._encoder.encode(message))

    def send_frame(self, frame: bytes) -> bool:
        """Queue bytes that are a frame already."""
        if self._transport is None or self._reason is not None:
            return True  # its end has been told, or is about to be, through on_closed
        unsent = self._transport.get_write_buffer_size()
        if unsent and unsent + len(frame) > self._max_unsent_bytes:
            return False
        self._transport.write(frame)
        return True

    def close(self, reason: str) -> None:
        """Send what is queued, then close; `closed` tells when. Idempotent: the first reason counts."""
        if self._transport is not None and self._reason is None:
            self._reason = reason
            self._transport.close()

    def abort(self, reason: str) -> None:
        """Close now and forget what is queued: for a side that does not read. Idempotent."""
        if self._transport is not None:
            self._reason = self._reason or reason
            self._transport.abort()

    # ---- what asyncio calls ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        self._on_open(self)

    def data_received(self, data: bytes) -> None:
        """Hand over what `data` completes."""
        for message in self._decoder.feed(data):
            if self._reason is not None:
                return  # closed by what came before
            if isinstance(message, Malformed):
                self.num_malformed += 1
                self._on_message(self, message)
                if message.framing_lost:
                    self.abort(message.reason)
            else:
                self._on_message(self, message)

    def eof_received(self) -> None:
        """The other side sends no more: it is gone, for us, so the transport closes itself."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the end, once."""
        if self._reason is None:
            self._reason = f"connection lost: {exc}" if exc else "closed by the other side"
            if self._decoder.num_pending:
                self._reason += f" in the middle of a frame ({self._decoder.num_pending} bytes of it)"
        self._on_closed(self, self._reason)
        if not self.closed.done():
            self.closed.set_result(None)


async def connect(address: Address, make: Callable[[], Connection[M]]) -> Connection[M]:
    """Connect to `address`. Raises OSError if nobody listens there."""
    loop = asyncio.get_running_loop()
    if isinstance(address, UnixAddress):
        return (await loop.create_unix_connection(make, address.path))[1]
    return (await loop.create_connection(make, address.host, address.port))[1]


async def listen(address: Address, make: Callable[[], Connection[M]]) -> tuple[asyncio.Server, Address]:
    """Listen at `address`; return the server and the address with its real port.

    Raises OSError, also if another process listens there; a dead one's socket file is taken over.
    """
    loop = asyncio.get_running_loop()
    if isinstance(address, UnixAddress):
        _remove_dead_socket(address.path)
        return await loop.create_unix_server(make, address.path), address
    server = await loop.create_server(make, address.host, address.port)
    port = server.sockets[0].getsockname()[1]
    return server, TcpAddress(address.host, port)


def _remove_dead_socket(path: str) -> None:
    # The event loops would quietly take over a socket that is in use: nobody could reach its owner any more.
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
            return
    raise FileExistsError(f"another process listens at unix:{path}")


async def close_all(connections: list[Connection[M]], reason: str, timeout_s: float) -> None:
    """Close `connections` after what is queued has been sent, but wait no longer than `timeout_s` in all."""
    for connection in connections:
        connection.close(reason)
    ends = [connection.closed for connection in connections]
    if ends:
        _, late = await asyncio.wait(ends, timeout=timeout_s)
        if late:
            for connection in connections:
                connection.abort(reason)
            await asyncio.wait(late)
