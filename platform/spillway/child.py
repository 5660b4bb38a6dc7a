"""What every child of the supervisor does alike: read its command line, tie itself to its parent, keep the link.

Gateways and ops are started as `python -m spillway.gateway --runtime DIR --id gateway-0 --incarnation 1 --fd 5
--parent-pid 4711`. First thing, they call `Child.from_command_line`, which asks the kernel to end them with the
supervisor; the end of the `PlaneLink` ends them where the kernel cannot.
"""

import argparse
import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from spillway.runtime import RuntimeFolder
from spillway_wire.address import UnixAddress
from spillway_wire.channel import Connection, connect
from spillway_wire.codec import FrameEncoder, Malformed
from spillway_wire.parent import tie_to_parent
from spillway_wire.plane import ChildBeat, ChildHello, FromSupervisor, Role

BEAT_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """Who this process is, by its command line."""

    runtime: RuntimeFolder
    child_id: str
    incarnation: int
    fd: int
    """The listening socket that the supervisor opened; `socket.socket(fileno=…)` makes it one again."""
    parent_pid: int

    @classmethod
    def from_command_line(cls, arguments: Sequence[str], prog: str) -> "Child":
        """Read the flags and tie this process to its parent.

        Raises `spillway_wire.parent.ParentGoneError` if the parent is gone already; ends the process with status 2,
        as argparse does, if a flag is wrong.
        """
        parser = argparse.ArgumentParser(prog=prog, allow_abbrev=False)
        parser.add_argument("--runtime", type=Path, required=True, metavar="DIR")
        parser.add_argument("--id", required=True)
        parser.add_argument("--incarnation", type=int, required=True, metavar="N")
        parser.add_argument("--fd", type=int, required=True)
        parser.add_argument("--parent-pid", type=int, required=True, metavar="PID")
        given = parser.parse_args(arguments)
        tie_to_parent(given.parent_pid)
        return cls(
            runtime=RuntimeFolder(given.runtime),
            child_id=given.id,
            incarnation=given.incarnation,
            fd=given.fd,
            parent_pid=given.parent_pid,
        )


class PlaneLink:
    """A child's connection to the supervisor. Make it with `open`; its end is told once, through `on_lost`."""

    def __init__(self, wire: Connection[FromSupervisor]) -> None:
        self._wire = wire

    @classmethod
    async def open(
        cls,
        runtime: RuntimeFolder,
        *,
        child_id: str,
        incarnation: int,
        role: Role,
        on_message: Callable[[FromSupervisor], None],
        on_lost: Callable[[str], None],
    ) -> "PlaneLink":
        """Connect and say hello; the supervisor answers with `Phase` and `Membership`. Raises OSError."""

        def received(_: Connection[FromSupervisor], message: FromSupervisor | Malformed) -> None:
            if not isinstance(message, Malformed):  # a newer supervisor's word; what is wrong for good ends the link
                on_message(message)

        wire: Connection[FromSupervisor] = await connect(
            UnixAddress(str(runtime.supervisor_socket)),
            lambda: Connection(
                FromSupervisor, FrameEncoder(), on_message=received, on_closed=lambda _, reason: on_lost(reason)
            ),
        )
        wire.send(ChildHello(child_id=child_id, incarnation=incarnation, role=role, pid=os.getpid()))
        return cls(wire)

    @property
    def is_open(self) -> bool:
        """Whether the supervisor can hear us."""
        return self._wire.is_open

    def send(self, message: msgspec.Struct) -> bool:
        """Queue a message of `ToSupervisor`; False if the supervisor does not read."""
        return self._wire.send(message)

    async def close(self) -> None:
        """End it from this side, after what is queued was sent. Idempotent; `on_lost` is told."""
        self._wire.close("closed by this process")
        await self._wire.closed


async def beat(
    link: PlaneLink,
    *,
    facts: Callable[[], tuple[int, dict[str, float]]],
    interval_s: float = BEAT_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Tell the supervisor every `interval_s` that this loop turns, how late it was, and what it holds; for ever.

    `facts` returns the number of open requests and further gauges by stable name.
    """
    while True:
        due = clock() + interval_s
        await sleep(interval_s)
        now = clock()
        open_requests, more = facts()
        link.send(
            ChildBeat(
                at_ns=int(now * 1e9), open_requests=open_requests, loop_lag_ms=max(0.0, now - due) * 1e3, facts=more
            )
        )
