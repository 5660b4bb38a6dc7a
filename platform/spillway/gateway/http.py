"""uvicorn's HTTP/1.1 connection, with an end at once, our error body, and bounds on a request's head.

A head is whatever comes before a body, and the trailers after one. Its size and the time it takes are bounded: without
that, a client could fill the memory, or hold connections for ever, with requests that never begin.
"""

import asyncio
import http
import socket
import struct
import time
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from spillway.gateway.heard import waited_s
from spillway.gateway.problems import Problem, body, invalid
from spillway.gateway.reply import ABORT, HEARD, LEAVING
from spillway_wire.outcomes import Outcome

MAX_HEAD_BYTES: Final = 64 * 1024
_NO_LINGER: Final = struct.pack("ii", 1, 0)


class HeadTooLargeError(Exception):
    """Raised inside of the parser, which gives up then."""


class HttpConnection(HttpToolsProtocol):
    """One connection. `patience_s` says how many seconds a head may take."""

    def __init__(self, *args: Any, patience_s: Callable[[], float], **options: Any) -> None:
        super().__init__(*args, **options)
        self._patience_s = patience_s
        self._num_head_bytes = 0
        """Of the names and values that the parser has handed out."""
        self._num_silent_bytes = 0
        """Given to the parser since it last handed something out: it keeps a header until that is whole."""
        self._head_timer: asyncio.TimerHandle | None = None
        self._has_begun = False
        """Whether anything of a request has come."""
        self._on_leaving: Callable[[], None] | None = None

    @property
    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn's own annotation leaves out that there may be none
        return cycle is not None and not cycle.response_complete

    # ---- how large a head may be ----

    def on_message_begin(self) -> None:
        """Let the application drop the connection: closing it would wait for a client that does not read."""
        super().on_message_begin()
        self._has_begun = True
        self.scope[ABORT] = self._drop  # type: ignore[typeddict-unknown-key]
        self.scope[LEAVING] = self._mind_leaving  # type: ignore[typeddict-unknown-key]
        self._num_head_bytes = self._num_silent_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Take a part of the URL."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Take a part of the body, which has its own bound."""
        self._num_silent_bytes = 0
        super().on_body(body)

    def _count(self, num_bytes: int) -> None:
        self._num_silent_bytes = 0
        self._num_head_bytes += num_bytes
        if self._num_head_bytes > MAX_HEAD_BYTES:
            raise HeadTooLargeError

    # ---- how long it may take ----

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; so does the time of the first head."""
        super().connection_made(transport)
        self._mind_head()

    def data_received(self, data: bytes) -> None:
        """Parse, and see whether what has come is still within bounds."""
        self._num_silent_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._num_silent_bytes > MAX_HEAD_BYTES:
            self._refuse(_head_too_large(self._num_silent_bytes))
        elif not self._is_answering:
            self._mind_head()  # uvicorn has no timer from the first byte of a head on

    def on_headers_complete(self) -> None:
        """Begin to serve; what it waited, in the kernel and for its turn in the loop, is a part of its time."""
        came = time.monotonic() - waited_s(self.transport.get_extra_info("socket"))
        self.scope[HEARD] = came  # type: ignore[typeddict-unknown-key]
        self._num_silent_bytes = 0
        self._forget_head()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer, which would keep this alive."""
        self._forget_head()
        super().connection_lost(exc)
        on_leaving, self._on_leaving = self._on_leaving, None
        if on_leaving is not None:
            on_leaving()

    def _mind_head(self) -> None:
        if self._head_timer is None and self.timeout_keep_alive_task is None:
            patience_s = self._patience_s()
            self._head_timer = self.loop.call_later(patience_s, self._head_is_late, patience_s)

    def _forget_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self, patience_s: float) -> None:
        self._head_timer = None
        if self.transport.is_closing():
            return
        if not self._has_begun:
            self.transport.close()  # not a word: there is nothing to answer
        else:
            self._refuse(
                Problem(
                    Outcome.SLOW_READER,
                    f"the request's headers were not complete after {patience_s:g} s",
                    limit=f"slow_reader_s={patience_s:g}",
                )
            )

    # ---- how it ends ----

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser gave up."""
        too_large = self._num_head_bytes > MAX_HEAD_BYTES
        self._refuse(_head_too_large(self._num_head_bytes) if too_large else invalid(msg))

    def _refuse(self, problem: Problem) -> None:
        """Answer, unless another answer is on its way, and close."""
        if not (self._is_answering and self.cycle.response_started):
            said = body(problem)
            head = (
                b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head % (problem.status, _phrase(problem.status), len(said)) + said)
        self.transport.close()

    def _mind_leaving(self, act: Callable[[], None] | None) -> None:
        self._on_leaving = act
        if act is None:
            return
        self.flow.resume_reading()  # a long body may have paused it, and then no end of the connection would be heard
        if self.transport.is_closing():
            self._on_leaving = None
            act()

    def _drop(self) -> None:
        """Drop what is unsent in this process, and in the kernel too, which else would go on offering it."""
        if not self.transport.is_closing():
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self.transport.abort()


def _phrase(status: int) -> bytes:
    return http.HTTPStatus(status).phrase.encode()


def _head_too_large(num_bytes: int) -> Problem:
    return Problem(
        Outcome.INVALID,
        f"the request's headers are larger than {MAX_HEAD_BYTES} bytes",
        code="request_header_fields_too_large",
        status=431,
        limit=f"max_head_bytes={MAX_HEAD_BYTES}",
        measured=str(num_bytes),
    )
