"""Pinned host memory in turns: what a copy still reads is not written again."""

from typing import Generic, TypeVar

from spillway_engine.cuda.device import Device, Event

Held = TypeVar("Held")


class Ring(Generic[Held]):
    """A few equal pieces of memory. `take` gives the one that has rested longest, `lend` says until when it is read."""

    def __init__(self, device: Device, pieces: list[Held]) -> None:
        self._device = device
        self._pieces = pieces
        self._until: list[Event | None] = [None] * len(pieces)
        self._next = 0

    def take(self) -> Held:
        """Return the next piece; blocks while the copy that was given it last has not run."""
        event = self._until[self._next]
        if event is not None:
            event.wait()
            self._until[self._next] = None
        return self._pieces[self._next]

    def lend(self) -> Event:
        """Leave the piece that was taken last to the copies queued so far; return the end of them."""
        event = self._device.mark()
        self._until[self._next] = event
        self._next = (self._next + 1) % len(self._pieces)
        return event
