"""Who wants to know how requests fare, besides their readers: admission does, to learn what it may promise."""

from typing import Protocol

from spillway.pool.journal import Entry


class PoolObserver(Protocol):
    """Is told of each request's way, in the pool's own turn of the event loop: it returns at once and raises nothing.

    Times are seconds of the pool's clock. It must not call the pool back.
    """

    def dispatched(self, entry: Entry, now: float) -> None:
        """It was sent to an engine; `entry.attempt` is 1 the first time, and more after a loss."""

    def first_token(self, entry: Entry, now: float) -> None:
        """Its very first token has come, of any choice."""


class Nobody:
    """Does not want to know."""

    def dispatched(self, entry: Entry, now: float) -> None:
        """Ignore it."""

    def first_token(self, entry: Entry, now: float) -> None:
        """Ignore it."""
