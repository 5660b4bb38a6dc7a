"""`python -m spillway.ops`: the ops process, started by the supervisor.

It crosses its boundary at two places: HTTP comes in on the listening socket that it inherits, and everything that it
knows comes over the link to the supervisor. When that link ends, it ends. When it dies, requests are served on, the
supervisor starts it again, and probes and scrapes wait in the socket's backlog meanwhile.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import uvicorn
import uvloop

from spillway.child import Child, PlaneLink, beat
from spillway.configuration.checks import is_loopback
from spillway.errors import SpillwayError
from spillway.ops.access import AdminKey
from spillway.ops.app import build_app
from spillway.ops.overseer import Overseer
from spillway.settings import NetworkSettings
from spillway.state import StateFolder
from spillway_wire.oplog import OperatorLog
from spillway_wire.parent import ParentGoneError
from spillway_wire.plane import ChildReady, Role

EXIT_CANNOT_START: Final = 1
_FAREWELL_S: Final = 1
"""How long answers that have begun may take when it is told to end."""
_MAX_OPEN_REQUESTS: Final = 256
"""More at once than this are answered 503 by the server itself: nobody needs more probes, scrapes and orders."""


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, which end a process by the signal after an orderly end; and with a hook."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], object]) -> None:
        super().__init__(config)
        self._on_started = on_started

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        self._on_started()

    def end(self, *, at_once: bool = False) -> None:
        """Stop accepting, let answers finish for a moment unless `at_once`, return from `serve`."""
        self.force_exit = self.force_exit or at_once
        self.should_exit = True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the ops process to its end and return its exit status."""
    log = OperatorLog(process="ops")
    try:
        child = Child.from_command_line(sys.argv[1:] if arguments is None else arguments, "python -m spillway.ops")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(serve(child, log))
    except (SpillwayError, ParentGoneError, OSError) as error:
        log("cannot_start", error=f"{type(error).__name__}: {error}")
        return EXIT_CANNOT_START


async def serve(child: Child, log: OperatorLog) -> int:
    """Serve until told to end, or until the supervisor is gone; return the exit status."""
    settings = child.runtime.read_settings()
    state = StateFolder.of(settings.state_dir, os.environ)
    state.create()
    overseer = Overseer(lambda message: link.send(message))  # noqa: PLW0108 - there is no link yet
    app = build_app(
        overseer,
        AdminKey(state.admin_key()),
        chaos=settings.chaos,
        pages_need_key=not is_loopback(settings.network.ops_host),
    )
    server = _Server(_config(app, settings.network), on_started=lambda: link.send(ChildReady()))
    lost: list[str] = []

    def on_lost(reason: str) -> None:
        lost.append(reason)
        server.end(at_once=True)

    link = await PlaneLink.open(
        child.runtime,
        child_id=child.child_id,
        incarnation=child.incarnation,
        role=Role.OPS,
        on_message=overseer.received,
        on_lost=on_lost,
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.end)
    beating = loop.create_task(beat(link, facts=lambda: (0, {})))
    try:
        await server.serve(sockets=[socket.socket(fileno=child.fd)])
    finally:
        beating.cancel()
        asked = not lost
        await link.close()
    log("ended", cause="asked to" if asked else f"the link to the supervisor: {lost[0]}")
    return 0 if asked else EXIT_CANNOT_START


def _config(app: object, network: NetworkSettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]  # Litestar's own ASGI types are stricter than uvicorn's
        loop="none",  # the runner has made one
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=network.backlog,
        limit_concurrency=_MAX_OPEN_REQUESTS,
        timeout_graceful_shutdown=_FAREWELL_S,
        ssl_certfile=network.tls_certificate,
        ssl_keyfile=network.tls_key,
    )


if __name__ == "__main__":
    sys.exit(main())
