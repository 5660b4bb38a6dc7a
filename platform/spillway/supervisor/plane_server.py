"""The control plane's one end: children say hello, are told of every change, and ops may ask and order.

A child is who the supervisor started under that id and incarnation; anybody else is cut off. So is one that does not
read: its end is then seen by its exit. What it says in vain (a malformed frame) is counted by its connection only.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from spillway.runtime import RuntimeFolder
from spillway_wire.address import UnixAddress
from spillway_wire.channel import Connection, close_all, listen
from spillway_wire.codec import FrameEncoder, Malformed
from spillway_wire.plane import (
    PLANE_VERSION,
    ChildBeat,
    ChildHello,
    ChildReady,
    Order,
    Role,
    StatusRequest,
    ToSupervisor,
)

_FAREWELL_S = 0.5

Wire = Connection[ToSupervisor]


class Listener(Protocol):
    """The run of a child that speaks on the plane."""

    def ready(self) -> None:
        """The child can serve."""

    def beat(self, beat: ChildBeat) -> None:
        """The child's loop turns."""


@dataclass(frozen=True, slots=True)
class Guest:
    """A child that has said hello."""

    hello: ChildHello
    run: Listener


class PlaneServer:
    """Listens on the supervisor's socket."""

    def __init__(
        self,
        *,
        find: Callable[[ChildHello], Listener | None],
        greet: Callable[[], list[msgspec.Struct]],
        ask: Callable[[StatusRequest | Order, Callable[[msgspec.Struct], object]], None],
        log: Callable[..., None],
    ) -> None:
        """`find` knows the run that a hello comes from; `greet` is what a child hears first; `ask` answers ops."""
        self._find, self._greet, self._ask, self._log = find, greet, ask, log
        self._encoder = FrameEncoder()
        self._server: asyncio.Server | None = None
        self._guests: dict[Wire, Guest | None] = {}

    async def open(self, runtime: RuntimeFolder) -> None:
        """Listen."""
        self._server, _ = await listen(UnixAddress(str(runtime.supervisor_socket)), self._make)

    async def close(self) -> None:
        """Close all connections, after what is queued was sent."""
        if self._server is not None:
            self._server.close()
        await close_all(list(self._guests), "the supervisor ends", _FAREWELL_S)

    def publish(self, message: msgspec.Struct) -> None:
        """Tell every child."""
        frame = self._encoder.encode(message)
        for wire, guest in list(self._guests.items()):
            if guest is not None and not wire.send_frame(frame):
                wire.abort("it does not read")

    def _make(self) -> Wire:
        return Connection(
            ToSupervisor,
            self._encoder,
            on_open=lambda wire: self._guests.__setitem__(wire, None),
            on_message=self._received,
            on_closed=self._closed,
        )

    def _closed(self, wire: Wire, reason: str) -> None:
        guest = self._guests.pop(wire, None)
        if guest is not None:
            self._log("plane_closed", child=guest.hello.child_id, incarnation=guest.hello.incarnation, reason=reason)

    def _received(self, wire: Wire, message: ToSupervisor | Malformed) -> None:
        guest = self._guests.get(wire)
        if isinstance(message, Malformed):
            return
        if isinstance(message, ChildHello):
            self._hello(wire, message)
        elif guest is None:
            wire.abort("no hello")
        elif isinstance(message, ChildReady):
            guest.run.ready()
        elif isinstance(message, ChildBeat):
            guest.run.beat(message)
        elif guest.hello.role is Role.OPS:
            self._ask(message, wire.send)

    def _hello(self, wire: Wire, hello: ChildHello) -> None:
        run = self._find(hello)
        if run is None or hello.plane_version != PLANE_VERSION:
            self._log("plane_refused", child=hello.child_id, incarnation=hello.incarnation, pid=hello.pid)
            wire.abort("unknown child")
            return
        self._guests[wire] = Guest(hello, run)
        for message in self._greet():
            wire.send(message)
