"""The control plane's one end: children say hello, are told of every change, and ops may ask and order.

A child is who the supervisor started under that id and incarnation; anybody else is cut off. So is one that does not
read: its end is then seen by its exit. What it says in vain (a malformed frame) is counted by its connection only.

What a gateway keeps out it tells all the others through here. The book of that is kept for gateways that come later:
they hear it before they hear which engines there are, so none of them tries what cost engines already.
"""

import asyncio
import time
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
    BrownoutFloor,
    ChildBeat,
    ChildHello,
    ChildReady,
    Order,
    Quarantined,
    Role,
    StatusRequest,
    ToSupervisor,
)
from spillway_wire.quarantine import QuarantineBook

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
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`find` knows the run that a hello comes from; `greet` is what a child hears first; `ask` answers ops."""
        self._find, self._greet, self._ask, self._log, self._clock_ns = find, greet, ask, log, clock_ns
        self._quarantine = QuarantineBook()
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
        self._tell([wire for wire, guest in self._guests.items() if guest is not None], message)

    def _tell(self, wires: list[Wire], message: msgspec.Struct) -> None:
        frame = self._encoder.encode(message)
        for wire in wires:
            if not wire.send_frame(frame):
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
        elif isinstance(message, Quarantined):
            if guest.hello.role is Role.GATEWAY:
                self._pass_on(wire, message)
        elif guest.hello.role is Role.OPS:
            if isinstance(message, BrownoutFloor):
                self._tell(self._gateways(), message)
            else:
                self._ask(message, wire.send)

    def _hello(self, wire: Wire, hello: ChildHello) -> None:
        run = self._find(hello)
        if run is None or hello.plane_version != PLANE_VERSION:
            self._log("plane_refused", child=hello.child_id, incarnation=hello.incarnation, pid=hello.pid)
            wire.abort("unknown child")
            return
        self._guests[wire] = Guest(hello, run)
        for message in (*self._kept_out_for(hello.role), *self._greet()):
            wire.send(message)

    # ---- what is kept out ----

    def _pass_on(self, source: Wire, entry: Quarantined) -> None:
        """Tell the other gateways what one keeps out, and note it for those to come."""
        self._quarantine.expire(self._clock_ns())
        if self._quarantine.add(entry):
            self._tell([wire for wire in self._gateways() if wire is not source], entry)

    def _gateways(self) -> list[Wire]:
        return [wire for wire, guest in self._guests.items() if guest and guest.hello.role is Role.GATEWAY]

    def _kept_out_for(self, role: Role) -> tuple[Quarantined, ...]:
        self._quarantine.expire(self._clock_ns())
        return self._quarantine.entries() if role is Role.GATEWAY else ()
