"""The gateway process.

Which process runs it: one of the `--gateways`, which share one listening socket. What crosses its boundary: HTTP on
that socket, frames to and from engines (`spillway.pool`), the supervisor's word over the control link, and its counters
in a shared page that outlives it. What happens when the other side dies: a client's death ends its requests, an
engine's is a pause, the supervisor's is this process's own.

It listens only when it has heard which models there are and has read their texts: until then connections wait in the
socket's backlog, and none is refused.
"""

import asyncio
import gc
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

import uvloop

from spillway.admission.admission import Admission
from spillway.admission.door import Door
from spillway.admission.ears import PoolEars
from spillway.certificates import renew
from spillway.child import Child, PlaneLink, beat
from spillway.errors import SpillwayError
from spillway.gateway.app import build_app
from spillway.gateway.gateway import Gateway
from spillway.gateway.models import Model, Models
from spillway.gateway.quotas import Quotas
from spillway.gateway.server import ServerWarnings, accept_queue, listening_socket, server_config
from spillway.gateway.signals import Signals
from spillway.pool.engine_pool import EnginePool
from spillway.server import Server
from spillway.telemetry.logs import EventLog
from spillway_text.errors import ModelError
from spillway_wire.oplog import OperatorLog
from spillway_wire.parent import ParentGoneError
from spillway_wire.plane import (
    BrownoutFloor,
    ChildReady,
    EngineDied,
    FromSupervisor,
    Membership,
    Phase,
    PhaseKind,
    Quarantined,
    Reload,
    Role,
    ServedModel,
)
from spillway_wire.tally import RECOVERIES, TallyWriter

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a gateway to its end and return its exit status."""
    log: Callable[..., None] = OperatorLog(process="gateway")
    try:
        child = Child.from_command_line(sys.argv[1:] if arguments is None else arguments, "python -m spillway.gateway")
        log = EventLog(process=child.child_id, incarnation=child.incarnation)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(GatewayProcess(child, log).run())
    except (SpillwayError, ModelError, ParentGoneError, OSError, ValueError) as error:
        log("cannot_start", error=f"{type(error).__name__}: {error}")
        return EXIT_FAILED


class GatewayProcess:
    """Ties the parts together: link, pool, models, application, server."""

    def __init__(self, child: Child, log: EventLog) -> None:
        self._child = child
        self._log = log
        self._settings = child.runtime.read_settings()
        self._tally = TallyWriter(child.runtime.tally(child.child_id, child.incarnation))
        self._served: tuple[ServedModel, ...] = ()
        self._models_changed = asyncio.Event()
        self._lost: str | None = None
        self._pool: EnginePool
        self._quotas: Quotas
        self._signals: Signals
        self._gateway: Gateway
        self._link: PlaneLink
        self._server: Server

    async def run(self) -> int:
        """Serve until the last phase of an orderly end, or until the supervisor is gone; return the exit status."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._unhandled)
        ServerWarnings(self._log).install()
        models = Models()
        signals = self._signals = Signals(self._settings, self._child, log=self._log)
        ears = PoolEars(Door(self._settings, draw=Random().random))
        self._pool = EnginePool(
            f"{self._child.child_id}.{self._child.incarnation}",
            limits=self._settings.limits,
            clock=time.monotonic,
            log=self._log,
            observer=ears,
            on_step=signals.on_step,
            on_dropped=signals.dropped_frames,
            on_recovery=lambda _: self._tally.add(RECOVERIES),
            on_quarantine=self._tell_quarantined,
        )
        quotas = self._quotas = Quotas(
            self._settings,
            self._child,
            log=self._log,
            on_asked=lambda seconds, answered: signals.state.asked_redis(seconds, answered=answered),
        )
        admission = Admission(
            self._settings,
            self._pool,
            ears=ears,
            identity=quotas.identity,
            ledger=quotas.ledger,
            usage=quotas.identity.usage,
            on_lag=signals.state.lagged,
        )
        self._gateway = Gateway(
            self._settings,
            models,
            self._pool,
            self._tally,
            self._log,
            admission=admission,
            tracing=signals.tracing,
            metrics=signals.requests,
            log_requests=self._settings.log_requests,
        )
        config = server_config(
            build_app(self._gateway), self._settings.network, lambda: self._settings.limits.slow_reader_s
        )
        self._server = Server(config, on_started=lambda: self._link.send(ChildReady()))
        loop.add_signal_handler(signal.SIGTERM, self._end)
        listener = listening_socket(self._child.fd, self._settings.limits)
        self._link = await PlaneLink.open(
            self._child.runtime,
            child_id=self._child.child_id,
            incarnation=self._child.incarnation,
            role=Role.GATEWAY,
            on_message=self._received,
            on_lost=self._on_lost,
        )
        tasks = [loop.create_task(beat(self._link, facts=lambda: self._facts(listener)), name="beat")]
        try:
            await quotas.start()
            tasks.append(loop.create_task(admission.run(), name="watch what was admitted"))
            await self._load(models)
            tasks.append(loop.create_task(self._keep_models(models), name="follow the models"))
            gc.collect()
            gc.freeze()  # what start-up made stays: no collection has to look at it again
            await self._server.serve(sockets=[listener])
        finally:
            for task in tasks:
                task.cancel()
            lost = self._lost
            await self._pool.close()
            await quotas.close()
            await self._link.close()
            await asyncio.to_thread(signals.close)
        self._log("ended", cause="asked to" if lost is None else f"the link to the supervisor: {lost}")
        return EXIT_OK if lost is None else EXIT_FAILED

    # ---- what the supervisor says ----

    def _received(self, message: FromSupervisor) -> None:
        match message:
            case Membership():
                self._pool.set_membership(message)
                if message.models != self._served:
                    self._served = message.models
                    self._models_changed.set()
            case EngineDied():
                self._pool.engine_died(message)
            case Phase():
                self._gateway.enter_phase(message.kind)
                if message.kind is PhaseKind.ENDING:
                    self._server.end()
            case Reload():
                self._reload()
            case Quarantined():
                self._pool.hear_quarantined(message)
            case BrownoutFloor():
                self._gateway.admission.door.hold_brownout(message.steps, message.until_ns / 1e9)
            case _:  # what only ops asks for
                pass

    def _tell_quarantined(self, entry: Quarantined) -> None:
        self._link.send(entry)

    def _reload(self) -> None:
        """Take over limits and generation for requests to come; nothing else in the file has changed."""
        self._settings = self._gateway.settings = self._child.runtime.read_settings()
        self._pool.set_limits(self._settings.limits)
        self._gateway.admission.reload(self._settings)
        self._quotas.reload(self._settings)
        renew(self._server.config, self._settings.network, self._log)

    def _on_lost(self, reason: str) -> None:
        self._lost = reason
        self._models_changed.set()
        self._gateway.enter_phase(PhaseKind.ENDING)
        self._server.end(at_once=True)

    def _end(self) -> None:
        """Do as in the last phase of an orderly end: open requests are told, then the process ends."""
        self._models_changed.set()
        self._gateway.enter_phase(PhaseKind.ENDING)
        self._server.end()

    # ---- models ----

    async def _load(self, models: Models) -> None:
        """Wait for the word on which models there are, and read their texts, in a thread: large ones take seconds."""
        await self._models_changed.wait()
        self._models_changed.clear()
        known = {(model.name, model.path, model.aliases): model for model in models}
        wanted = [(served.name, Path(served.path), served.aliases) for served in self._served]
        found = []
        for key in wanted:
            model = known.get(key)
            found.append(await asyncio.to_thread(Model.load, *key) if model is None else model)
        models.install(tuple(found))

    async def _keep_models(self, models: Models) -> None:
        while True:
            try:
                await self._load(models)
            except ModelError as error:  # those that were served before still are
                self._log("model_unreadable", error=str(error))

    # ---- what is said of this process ----

    def _facts(self, listener: Any) -> tuple[int, dict[str, float]]:
        facts: dict[str, float] = {
            "queued_requests": self._pool.snapshot().num_queued,
            "journal_entries": self._pool.num_open,
            **self._quotas.facts(),
            **self._signals.facts(),
        }
        admission = self._gateway.admission.facts()
        facts.update(admission)
        self._signals.beat(self._pool, tuple(model.name for model in self._gateway.models), admission, self._quotas)
        waiting = accept_queue(listener)
        if waiting is not None:
            facts["accept_queue"] = waiting
        return self._tally.open_requests, facts

    def _unhandled(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self._log("unhandled", message=context.get("message"), error=type(error).__name__ if error else None)
