"""The one answer of an HTTP request, and what every answer bears in its headers."""

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final

from spillway.gateway.problems import Headers

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

VISIT: Final = "spillway.visit"
"""Key of the `Visit` in the scope."""
ABORT: Final = "spillway.abort"
"""Key of the function that drops the connection at once, unsent bytes and all, where the server offers one."""
LEAVING: Final = "spillway.leaving"
"""Key of the function that is given what to call when the client leaves, or None to forget it, where the server offers
one: it costs nothing while nobody leaves."""
HEARD: Final = "spillway.heard"
"""Key of the monotonic time when the request's head was whole, where the server notes it: its turn comes later."""
JSON: Final = (b"content-type", b"application/json")
EVENTS: Final[Headers] = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # or a proxy in front would collect the events
]


class Visit:
    """One HTTP request from the moment it was heard of: its id, when that was, and what its answer bears."""

    __slots__ = ("_clock", "_send", "began", "headers", "request_id")

    def __init__(self, request_id: str, clock: Callable[[], float], send: Send, *, heard: float | None = None) -> None:
        """`heard` is when that was, by the clock; None: now."""
        self.request_id = request_id
        self._clock = clock
        self.began = clock() if heard is None else heard
        self._send = send
        self.headers: Sequence[tuple[bytes, bytes]] = ()
        """Further headers, whatever the answer is."""

    async def send(self, message: Any) -> None:
        """Send an ASGI message, the first of them with what every answer bears."""
        if message["type"] == "http.response.start":
            elapsed_ms = round((self._clock() - self.began) * 1000)
            message["headers"] = [
                *message["headers"],
                (b"x-request-id", b"req_" + self.request_id.encode()),
                (b"openai-processing-ms", b"%d" % elapsed_ms),
                (b"openai-version", b"2020-10-01"),
                *self.headers,
            ]
        await self._send(message)

    @property
    def elapsed_s(self) -> float:
        """Seconds since it was heard of."""
        return self._clock() - self.began

    @property
    def send_on(self) -> Send:
        """Sends what follows the first message, with nothing in between: a stream has many."""
        return self._send


class Reply:
    """Sends an answer, whole or in parts; the first byte decides its status for good."""

    __slots__ = ("_visit", "is_complete", "is_stream", "status")

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self.status: int | None = None
        """None until the answer has begun."""
        self.is_complete = False
        self.is_stream = False
        """Whether it consists of server-sent events, so that an error can still be told when it has begun."""

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a complete answer."""
        await self.begin(status, [*headers, (b"content-length", b"%d" % len(body))])
        await self.write(body, last=True)

    async def begin(self, status: int, headers: Headers) -> None:
        """Send the status and the headers; from here on they stand."""
        self.status = status
        await self._visit.send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, data: bytes, *, last: bool = False) -> None:
        """Send a part of the body; waits while the client's side is full."""
        await self._visit.send_on({"type": "http.response.body", "body": data, "more_body": not last})
        self.is_complete = last
