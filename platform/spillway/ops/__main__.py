"""`python -m spillway.ops`: the ops process, started by the supervisor.

It crosses its boundary at two places: HTTP comes in on the listening socket that it inherits, and everything that it
knows comes over the link to the supervisor. When that link ends, it ends. When it dies, requests are served on, the
supervisor starts it again, and probes and scrapes wait in the socket's backlog meanwhile.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Final

import uvloop

from spillway.certificates import renew
from spillway.child import Child, PlaneLink, beat
from spillway.configuration.checks import is_loopback
from spillway.errors import SpillwayError
from spillway.ops.access import AdminKey
from spillway.ops.app import build_app
from spillway.ops.console.console import Console
from spillway.ops.metrics import Scraper
from spillway.ops.objectives.brownout import BrownoutFollower
from spillway.ops.objectives.keeper import Keeper
from spillway.ops.objectives.opening import open_keeper, reload_keeper
from spillway.ops.overseer import Overseer
from spillway.server import Server, uvicorn_config
from spillway.settings import Settings
from spillway.state import StateFolder
from spillway.telemetry.assembly import open_traces, trace_options
from spillway.telemetry.logs import EventLog
from spillway.telemetry.metrics.page import open_page
from spillway.telemetry.restarts import RestartTraces
from spillway.telemetry.trace_store.reader import StoreReader
from spillway.telemetry.trace_store.schema import FILE_NAME
from spillway_wire.oplog import OperatorLog
from spillway_wire.parent import ParentGoneError
from spillway_wire.plane import ChildReady, EngineLife, FromSupervisor, Reload, Role

Log = Callable[..., None]
EXIT_CANNOT_START: Final = 1
_FAREWELL_S: Final = 1
"""How long answers that have begun may take when it is told to end."""
_MAX_OPEN_REQUESTS: Final = 256
"""More at once than this are answered 503 by the server itself: nobody needs more probes, scrapes and orders."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the ops process to its end and return its exit status."""
    log: Log = OperatorLog(process="ops")
    try:
        child = Child.from_command_line(sys.argv[1:] if arguments is None else arguments, "python -m spillway.ops")
        log = EventLog(process=child.child_id, incarnation=child.incarnation)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(serve(child, log))
    except (SpillwayError, ParentGoneError, OSError, ValueError) as error:
        log("cannot_start", error=f"{type(error).__name__}: {error}")
        return EXIT_CANNOT_START


async def serve(child: Child, log: Log) -> int:
    """Serve until told to end, or until the supervisor is gone; return the exit status."""
    settings = child.runtime.read_settings()
    state = StateFolder.of(settings.state_dir, os.environ)
    state.create()
    overseer = Overseer(lambda message: link.send(message))  # noqa: PLW0108 - there is no link yet
    page = open_page(child.runtime, child.child_id, child.incarnation, log)
    traces = open_traces(state.path, os.environ, log, process=child.child_id, options=trace_options(settings.telemetry))
    restarts = RestartTraces(traces.pipeline.offer, StoreReader(state.path / FILE_NAME))
    console = Console(overseer, child.runtime.path, state.path / FILE_NAME, settings)
    follower = BrownoutFollower(lambda message: link.send(message), is_on=settings.slo.brownout)  # noqa: PLW0108
    keeper = open_keeper(settings, state.path, child.runtime.path, log, follower.judged)
    scraper = Scraper(overseer, child.runtime.path, page, more=keeper.families)
    app = build_app(
        overseer,
        AdminKey(state.admin_key()),
        scraper,
        console,
        keeper,
        chaos=settings.chaos,
        pages_need_key=not is_loopback(settings.network.ops_host),
    )
    config = uvicorn_config(
        app,
        settings.network,
        farewell_s=_FAREWELL_S,
        http="httptools",
        proxy_headers=False,
        limit_concurrency=_MAX_OPEN_REQUESTS,
    )
    server = Server(config, on_started=lambda: link.send(ChildReady()))
    lost: list[str] = []

    def on_lost(reason: str) -> None:
        lost.append(reason)
        console.end()
        server.end(at_once=True)

    def end() -> None:
        console.end()
        server.end()

    def received(message: FromSupervisor) -> None:
        console.received(message)
        if isinstance(message, Reload):
            _reload(child.runtime.read_settings(), server, keeper, follower, log)
        elif isinstance(message, EngineLife):
            restarts.received(message)
        else:
            overseer.received(message)

    link = await PlaneLink.open(
        child.runtime,
        child_id=child.child_id,
        incarnation=child.incarnation,
        role=Role.OPS,
        on_message=received,
        on_lost=on_lost,
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    beating = loop.create_task(beat(link, facts=lambda: (0, {})))
    keeper.start()
    try:
        await server.serve(sockets=[socket.socket(fileno=child.fd)])
    finally:
        beating.cancel()
        asked = not lost
        await link.close()
        await console.close()
        await keeper.close()
        await asyncio.to_thread(traces.close)
        scraper.close()
        page.close()
    log("ended", cause="asked to" if asked else f"the link to the supervisor: {lost[0]}")
    return 0 if asked else EXIT_CANNOT_START


def _reload(fresh: Settings, server: Server, keeper: Keeper, follower: BrownoutFollower, log: Log) -> None:
    """Take over what may change while everything runs: certificates, objectives, receivers of alerts."""
    renew(server.config, fresh.network, log)
    follower.is_on = fresh.slo.brownout
    reload_keeper(keeper, fresh, log)


if __name__ == "__main__":
    sys.exit(main())
