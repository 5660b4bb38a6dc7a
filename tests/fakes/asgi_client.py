"""A client of an ASGI application without a network, of which a test holds every string: when the body comes, when
the client leaves, whether it reads.
"""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

Headers = Sequence[tuple[bytes, bytes]]


class Call:
    """One request. `run` serves it; what has come back can be looked at any time."""

    def __init__(
        self,
        app: Any,
        path: str,
        body: object = None,
        *,
        method: str = "POST",
        headers: Headers = (),
        whole: bool = True,
    ) -> None:
        """`body` is sent as JSON, or as it is if it is bytes; all of it at once only if `whole`."""
        self._app = app
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._reading = asyncio.Event()
        self._reading.set()
        self._news = asyncio.Event()
        self.messages: list[dict[str, Any]] = []
        self.aborted = False
        """Whether the application had the connection dropped."""
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"testing"), *headers],
            "server": ("testing", 80),
            "client": ("client", 1),
            "state": {},
            "spillway.abort": self._abort,
        }
        if whole:
            raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
            self.feed(raw)

    async def run(self) -> "Call":
        """Serve the request to its end."""
        await self._app(self.scope, self._incoming.get, self._send)
        return self

    # ---- what the client does ----

    def feed(self, chunk: bytes, *, more: bool = False) -> None:
        """Send a part of the body."""
        self._incoming.put_nowait({"type": "http.request", "body": chunk, "more_body": more})

    def leave(self) -> None:
        """Close the connection."""
        self._incoming.put_nowait({"type": "http.disconnect"})
        self._reading.set()  # a server's send returns when there is nobody to wait for

    def stop_reading(self) -> None:
        """Let whatever is sent from now on wait."""
        self._reading.clear()

    def read_on(self) -> None:
        """Read again."""
        self._reading.set()

    async def until(self, text: str) -> None:
        """Wait until `text` is in the body."""
        while text not in self.text:
            self._news.clear()
            await self._news.wait()

    # ---- what it got ----

    @property
    def status(self) -> int | None:
        return self.messages[0]["status"] if self.messages else None

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self.messages).decode()

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def error(self) -> Any:
        return self.json["error"]

    @property
    def is_complete(self) -> bool:
        return bool(self.messages) and not self.messages[-1].get("more_body", True)

    @property
    def events(self) -> list[Any]:
        """The data of the server-sent events, decoded but for `[DONE]`; comments are left out."""
        blocks = [block for block in self.text.split("\n\n") if block and not block.startswith(":")]
        assert all(block.startswith("data: ") for block in blocks), self.text
        data = [block.removeprefix("data: ") for block in blocks]
        return [each if each == "[DONE]" else json.loads(each) for each in data]

    async def _send(self, message: Any) -> None:
        await self._reading.wait()
        self.messages.append(message)
        self._news.set()

    def _abort(self) -> None:
        self.aborted = True


async def settled(predicate: Any) -> None:
    """Let the event loop turn until `predicate` holds; a loop that has nothing more to do for it fails the test."""
    for _ in range(1000):
        if predicate():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to hold")


async def eventually(predicate: Any, *, within_s: float = 10.0) -> None:
    """Wait until `predicate` holds; for what other processes, sockets and threads do."""
    for _ in range(int(within_s / 0.005)):
        if predicate():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come to hold in time")


def other_tasks() -> list[str]:
    """Names of the tasks of this loop but the current one that are not being cancelled already."""
    return [
        task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task() and not task.cancelling()
    ]
