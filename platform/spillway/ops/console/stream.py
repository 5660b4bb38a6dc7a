"""One console's connection: server-sent events, each sent when the one before it has left.

A console that takes nothing for `STUCK_S` is cut off: its place is another's. So many at a time are served, for probes
and scrapes need connections, too.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from spillway.gateway.problems import Problem
from spillway.ops.console.feed import Feed
from spillway_wire.outcomes import Outcome

STUCK_S: Final = 30.0
MOST: Final = 32
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


async def follow(feed: Feed, receive: Receive, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
    """Tell a console everything until it leaves, or this process ends. Raises `Problem` if there are too many."""
    if feed.num_looking >= MOST:
        raise Problem(
            Outcome.OVERLOADED,
            f"{MOST} consoles are open already, which is the most: close one that nobody looks at.",
            code="too_many_consoles",
            status=503,
        )
    telling = asyncio.ensure_future(_tell(feed, send, headers))
    leaving = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait({telling, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (telling, leaving):
            task.cancel()
        await asyncio.gather(telling, leaving, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _tell(feed: Feed, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
    with feed.looking() as cursor:
        head = [(b"content-type", b"text/event-stream; charset=utf-8"), *headers]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        while True:
            frame = await feed.next(cursor)
            async with asyncio.timeout(STUCK_S):
                await send({"type": "http.response.body", "body": frame or b"", "more_body": frame is not None})
            if frame is None:
                return
