"""HTTP/1.1 over gevent's sockets, parsed in C by httptools: every piece of a body is seen when it comes.

A connection that is used again is looked at before: one that the server has closed is none. No request is ever sent
twice behind its caller's back, since a load test that does that hides what it is looking for. docs/load.md tells what
other clients under gevent cost, and why not those.

Nothing is monkey-patched: only sockets that are opened here yield to other greenlets.
"""

import select
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

import gevent
import httptools
import msgspec
from gevent import socket, ssl

from spillway_load.errors import CampaignError

RECV_BYTES: Final = 65_536
SLOW_BUFFER_BYTES: Final = 4096
"""Of the kernel's receive buffer of a slow reader: with the usual one the kernel would read for it."""
_SLOW_STEP_S: Final = 0.25

CONNECT_REFUSED: Final = "connect_refused"
UNTRUSTED: Final = "untrusted"
"""The server's certificate does not hold."""
CONNECTION_RESET: Final = "connection_reset"
TIMEOUT: Final = "timeout"
TRUNCATED: Final = "truncated"
MALFORMED: Final = "malformed"


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go."""

    host: str
    port: int
    prefix: str = ""
    """Of paths."""
    tls: Any = None

    @classmethod
    def of(cls, url: str, ca: Path | None = None) -> Self:
        """Read an address. Raises `CampaignError` if it is none."""
        parts = urlsplit(url if "://" in url else f"http://{url}")
        try:
            port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        except (ValueError, KeyError):
            raise CampaignError(f"{url!r} is no address such as http://127.0.0.1:8000") from None
        if not parts.hostname:
            raise CampaignError(f"{url!r} names no host; an address is such as http://127.0.0.1:8000")
        tls = None
        if parts.scheme == "https":
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            tls.load_verify_locations(ca) if ca else tls.load_default_certs()
        return cls(parts.hostname, port, parts.path.rstrip("/"), tls)

    def connect(self, timeout_s: float, receive_buffer: int | None = None) -> Any:
        """Open a connection. Raises OSError."""
        wire = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET, socket.SOCK_STREAM)
        try:
            if receive_buffer is not None:  # before connecting, or the window is negotiated without it
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire.settimeout(timeout_s)
            wire.connect((self.host, self.port))
            return self.tls.wrap_socket(wire, server_hostname=self.host) if self.tls else wire
        except BaseException:
            wire.close()
            raise

    def post(self, path: str, body: bytes, headers: Mapping[str, str], *, keep_alive: bool) -> bytes:
        """Return the bytes of a POST of JSON."""
        lines = [
            f"POST {self.prefix}{path} HTTP/1.1",
            f"Host: {self.host}:{self.port}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            *(f"{name}: {value}" for name, value in headers.items()),
            *(() if keep_alive else ("Connection: close",)),
        ]
        return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass(slots=True)
class Reply:
    """What came of one exchange; times of the monotonic clock."""

    sent: float
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    """By lower-case name."""
    broken: str = ""
    """Why it did not come to its end; empty: it did, or its caller had enough."""
    ended: float = 0.0
    is_complete: bool = False
    has_begun: bool = False
    """Something of the body came."""
    _parser: Any = None
    _body: bytes = b""

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._body += body

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self.is_complete = True

    def take(self, data: bytes) -> bytes:
        """Parse what came and return the part of the body in it. Raises `httptools.HttpParserError`."""
        if self._parser is None:
            self._parser = httptools.HttpResponseParser(self)
        self._parser.feed_data(data)
        body, self._body = self._body, b""
        return body

    @property
    def keeps_alive(self) -> bool:
        """Whether another request may follow on the connection."""
        return self.is_complete and bool(self._parser.should_keep_alive())


Hear = Callable[[Reply, bytes, float], bool]
"""Told each piece of a body and when it came; answers whether to go on. Its `MsgspecError` says: malformed."""


class Connections:
    """Connections to one server, used again where they can be."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._idle: deque[Any] = deque()

    def exchange(self, request: bytes, hear: Hear, *, deadline: float, bytes_per_s: float | None = None) -> Reply:
        """Send a request and hear its answer to the end, or until `deadline`; whatever happens is in the reply."""
        wire, reply = None, Reply(time.monotonic())
        try:
            wire = self._open(deadline, bytes_per_s)
            wire.settimeout(_left(deadline))
            reply.sent = time.monotonic()
            wire.sendall(request)
            goes_on = True
            while goes_on and not reply.is_complete:
                goes_on = _receive(wire, reply, hear, deadline, bytes_per_s)
        except TimeoutError:
            reply.broken = TIMEOUT
        except (httptools.HttpParserError, msgspec.MsgspecError):
            reply.broken = MALFORMED
        except ssl.SSLCertVerificationError:
            reply.broken = UNTRUSTED
        except OSError:
            reply.broken = CONNECT_REFUSED if wire is None else CONNECTION_RESET
        reply.ended = time.monotonic()
        if wire is not None:
            if not reply.broken and bytes_per_s is None and reply.keeps_alive:
                self._idle.append(wire)
            else:
                wire.close()
        return reply

    def close(self) -> None:
        """Close all that are idle."""
        while self._idle:
            self._idle.pop().close()

    def _open(self, deadline: float, bytes_per_s: float | None) -> Any:
        while bytes_per_s is None and self._idle:
            wire = self._idle.pop()
            if not _has_news(wire):
                return wire
            wire.close()
        return self.target.connect(_left(deadline), None if bytes_per_s is None else SLOW_BUFFER_BYTES)


def _receive(wire: Any, reply: Reply, hear: Hear, deadline: float, bytes_per_s: float | None) -> bool:
    if bytes_per_s is not None and reply.has_begun:  # its first token is the server's affair still
        gevent.sleep(_SLOW_STEP_S)
    wire.settimeout(_left(deadline))
    data = wire.recv(RECV_BYTES if bytes_per_s is None else max(1, int(bytes_per_s * _SLOW_STEP_S)))
    now = time.monotonic()
    if not data:
        reply.broken = TRUNCATED if reply.status else CONNECTION_RESET
        return False
    body = reply.take(data)
    reply.has_begun = reply.has_begun or bool(body)
    return hear(reply, body, now) if body else True


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _has_news(wire: Any) -> bool:
    """Whether an idle connection has something to say, which can only be its end."""
    poll = select.poll()
    poll.register(wire.fileno(), select.POLLIN)
    return bool(poll.poll(0))
