"""`supervise`: from settings to an exit status. `run` gives it an event loop and a log.

SIGTERM and SIGINT end it: the first in good order, the second hurries, the third kills. SIGHUP reads settings and
certificates again (`reload`). Where the log goes to a terminal, SIGHUP means that this terminal was closed: it ends
everything in good order, as nobody would know of it any more.


Exit status 0: ended in good order. 1: no engine is left and none can be started, or a third signal killed it. What
kept it from starting is raised as `StartError`, which is status 1, too.
"""

import asyncio
import contextlib
import io
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any

from spillway.errors import StartError
from spillway.settings import Settings
from spillway.supervisor import devices, shutdown, sockets
from spillway.supervisor.detached import DetachedStream
from spillway.supervisor.folder import claim
from spillway.supervisor.give_up import cannot_start, none_left
from spillway.supervisor.models import resolve
from spillway.supervisor.plan import ModelPlan, plan
from spillway.supervisor.reload import HangUps, reloader
from spillway.supervisor.services import Programs
from spillway.supervisor.stop_requests import END, KILL, StopRequests
from spillway.supervisor.tree import OnProgress, Tree
from spillway_wire.oplog import OperatorLog

Log = Callable[..., None]
OnReady = Callable[[str, str], None]
"""Is told the URLs of the API and of ops, once, when a request sent now would be served."""


def run(
    settings: Settings,
    *,
    on_ready: OnReady,
    on_progress: OnProgress = lambda _place, _state, _detail: None,
    log: Log | None = None,
    reload: Callable[[], Settings] | None = None,
    programs: Programs | None = None,
) -> int:
    """Run an instance to its end and return the exit status. Raises `StartError`. For the main thread only."""
    with contextlib.ExitStack() as held:
        heard = log or OperatorLog(held.enter_context(DetachedStream(sys.stderr, dropped_line=_dropped_line)))
        return asyncio.run(
            supervise(settings, on_ready=on_ready, on_progress=on_progress, log=heard, reload=reload, programs=programs)
        )


async def supervise(
    settings: Settings,
    *,
    on_ready: OnReady,
    on_progress: OnProgress,
    log: Log,
    reload: Callable[[], Settings] | None = None,
    programs: Programs | None = None,
) -> int:
    """See the module; `reload` reads the settings again on SIGHUP. For the main thread only."""
    started = programs or Programs()
    stop_requests = StopRequests()
    hang_ups = HangUps()
    with contextlib.ExitStack() as held:
        asyncio.get_running_loop().set_exception_handler(_reporter(log))
        _handle_signals(held, stop_requests.ask, signal.SIGTERM, signal.SIGINT)
        # The kernel and a shell may both say that the terminal is gone.
        hung_up = stop_requests.ask_once if sys.stderr.isatty() else hang_ups.hear
        _handle_signals(held, hung_up, signal.SIGHUP)
        owned = claim(settings.runtime_dir)
        held.callback(owned.release)
        listeners = _listen(settings, held)
        models = await _plan(settings, started, stop_requests)
        if models is None:
            return 0
        owned.runtime.write_settings(settings)
        urls = _urls(settings, listeners)
        tree = Tree(
            settings,
            owned.runtime,
            models,
            listeners,
            stop_requests=stop_requests,
            programs=started,
            urls=urls,
            on_progress=on_progress,
            log=log,
        )
        hang_ups.begin(reloader(lambda: tree.settings, reload or (lambda: tree.settings), tree.apply, log))
        try:
            await tree.start()
            return await _serve(tree, stop_requests, lambda: on_ready(urls["api"], urls["ops"]), log)
        finally:
            await shutdown.kill(tree, log)  # nothing, if all went well
            await tree.close()


def _reporter(log: Log) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """Return what tells the operator of a fault of ours in a callback: nobody else would."""

    def report(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        trace = "".join(traceback.format_exception(error)) if isinstance(error, BaseException) else ""
        log("internal_error", message=context.get("message", ""), error=trace)

    return report


def _dropped_line(count: int) -> str:
    line = io.StringIO()
    OperatorLog(line)("log_dropped", lines=count)
    return line.getvalue()


def _handle_signals(held: contextlib.ExitStack, handler: Callable[[], None], *numbers: signal.Signals) -> None:
    loop = asyncio.get_running_loop()
    for number in numbers:
        loop.add_signal_handler(number, handler)
        held.callback(loop.remove_signal_handler, number)


def _listen(settings: Settings, held: contextlib.ExitStack) -> tuple[socket.socket, socket.socket]:
    network = settings.network
    api = held.enter_context(sockets.listen(network.host, network.port, network.backlog, setting="port"))
    ops = held.enter_context(sockets.listen(network.ops_host, network.ops_port, network.backlog, setting="ops_port"))
    return api, ops


def _urls(settings: Settings, listeners: tuple[socket.socket, socket.socket]) -> dict[str, str]:
    network = settings.network
    tls = network.tls_certificate is not None
    api, ops = listeners
    return {"api": sockets.url(api, network.host, tls=tls), "ops": sockets.url(ops, network.ops_host, tls=tls)}


async def _plan(settings: Settings, programs: Programs, stop_requests: StopRequests) -> tuple[ModelPlan, ...] | None:
    """Find the models and plan their engines; None if we were asked to end in the meantime."""
    finding = asyncio.create_task(resolve(settings.models))
    ended = asyncio.create_task(stop_requests.reached(END))
    try:
        await asyncio.wait((finding, ended), return_when=asyncio.FIRST_COMPLETED)
        if not finding.done():
            return None
        return plan(settings, finding.result(), devices.look(), program=programs.engine)
    finally:
        for task in (finding, ended):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, StartError):
                await task


async def _serve(tree: Tree, stop_requests: StopRequests, on_ready: Callable[[], None], log: Log) -> int:
    """Run until asked to end or until there is nothing left to serve with; return the exit status."""
    ended = asyncio.create_task(stop_requests.reached(END))
    watched = [] if tree.watcher is None else [tree.watcher]
    try:
        while not ended.done():
            for task in watched:
                if task.done():
                    task.result()  # raises
            if not tree.was_ready and tree.is_ready():
                tree.was_ready = True
                on_ready()
            _give_up_start(tree)
            left = none_left(list(tree.engines.places.values()), tree.settings.restart)
            if left is not None:
                log("no_engine_left", message=left)
                await shutdown.shut_down(tree, stop_requests, log)
                return 1
            await asyncio.wait((ended, tree.moved(), *watched), return_when=asyncio.FIRST_COMPLETED)
    finally:
        ended.cancel()
    return await _end(tree, stop_requests, log)


def _give_up_start(tree: Tree) -> None:
    for model in tree.engines.models:
        places = [tree.engines.places[spec.engine_id] for spec in model.engines]
        reason = cannot_start(places, tree.settings.restart)
        if reason is not None:
            raise StartError(f"model {model.name}: {reason}")
    for places in (list(tree.services.gateways.values()), [tree.services.ops]):
        reason = cannot_start(places, tree.settings.restart)
        if reason is not None:
            raise StartError(reason)


async def _end(tree: Tree, stop_requests: StopRequests, log: Log) -> int:
    """End in good order, unless asked three times."""
    ending = asyncio.create_task(shutdown.shut_down(tree, stop_requests, log))
    killed = asyncio.create_task(stop_requests.reached(KILL))
    await asyncio.wait((ending, killed), return_when=asyncio.FIRST_COMPLETED)
    if ending.done():
        killed.cancel()
        ending.result()
        return 0
    ending.cancel()
    await asyncio.wait((ending,))
    await shutdown.kill(tree, log)
    return 1
