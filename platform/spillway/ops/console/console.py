"""The console, put together: what looks, what is told, what asks, and how all of it ends."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from spillway.ops.console.feed import Feed
from spillway.ops.console.prompt import PromptRelay
from spillway.ops.console.requests import Requests
from spillway.ops.console.sampling import Looker
from spillway.ops.console.timeline import Timeline
from spillway.ops.overseer import Overseer
from spillway.settings import Settings
from spillway_wire.plane import FromSupervisor, OrderKind

_DONE = {
    OrderKind.DRAIN_ENGINE: "ordered to drain",
    OrderKind.RESTART_ENGINE: "ordered to restart",
    OrderKind.ROLLING_RESTART: "rolling restart ordered",
    OrderKind.SHUT_DOWN: "ordered to end",
}


class Console:
    """Of one ops process. `received` and `ordered` are told what happens; `end` and `close` end it."""

    def __init__(self, overseer: Overseer, folder: Path, store: Path, settings: Settings) -> None:
        """`folder` is the runtime folder, `store` the file of the trace store."""
        self.overseer = overseer
        self.timeline = Timeline()
        self._looker = Looker(overseer, folder)
        self.feed = Feed(
            self._looker.look,
            self.timeline,
            ladder=tuple(step.name for step in settings.brownout),
            about={"version": _version(), "chaos": settings.chaos},
        )
        self.requests = Requests(store)
        self.relay = PromptRelay(certificate=settings.network.tls_certificate)

    def received(self, message: FromSupervisor) -> None:
        """Take what the supervisor says."""
        self.timeline.received(message)

    def ordered(self, kind: OrderKind, target: str, message: str) -> None:
        """Note an order that is being carried out."""
        if kind is OrderKind.INJECT:
            self.timeline.note("fault", f"fault ordered: {message}", tone="warn", subject=target)
        else:
            self.timeline.note("order", _DONE[kind], subject=target)

    def end(self) -> None:
        """Tell the pages that this process ends, so that no stream holds it up. Idempotent."""
        self.feed.end()

    async def close(self) -> None:
        """Let go of files and connections. Idempotent."""
        self.end()
        self._looker.close()
        await self.relay.close()


def _version() -> str:
    try:
        return version("spillway")
    except PackageNotFoundError:  # run from a checkout
        return ""
