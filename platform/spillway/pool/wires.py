"""What the pool's decisions ask of the world: the one seam between `core` and event loop, sockets and timers."""

from typing import Protocol

import msgspec

from spillway.pool.members import Key
from spillway_wire.plane import Member


class Wires(Protocol):
    """Each call returns at once and calls nothing of the core's before it has."""

    def connect(self, member: Member) -> None:
        """Connect to this engine, and keep trying until it succeeds or `disconnect` is called."""

    def disconnect(self, key: Key, reason: str) -> None:
        """End the connection, and stop trying to make one."""

    def send(self, key: Key, message: msgspec.Struct) -> bool:
        """Send on the request channel; False if the engine does not read it. Raises `FrameTooLargeError`."""

    def wake_at(self, when: float) -> None:
        """Call `tick` at this time of the clock, or earlier."""

    def soon(self) -> None:
        """Call `tell_backlogs` after the events of this moment."""
