"""The supervisor's process: all places, what they are told, and what happens around them.

Which process runs it: `spillway serve`. What crosses its boundary: signals (SIGTERM and SIGINT: end, hurry, kill;
SIGHUP: see `main`), the control plane, the engines' control channels and pages, the gateways' tallies,
the log, and the exit status. What happens when the other side dies: a child is started again; if this process dies,
the kernel takes every child with it, and the next start cleans the folder.
"""

import asyncio
import contextlib
import os
import random
import socket
import time
from collections.abc import Callable
from typing import Any

import msgspec

from spillway.runtime import RuntimeFolder
from spillway.settings import Settings
from spillway.supervisor import status
from spillway.supervisor.engine_run import EngineRun, EngineSpec
from spillway.supervisor.engines import Engines
from spillway.supervisor.exits import KernelKills
from spillway.supervisor.lifecycle import State
from spillway.supervisor.orders import Orders
from spillway.supervisor.place import Place
from spillway.supervisor.plan import ModelPlan
from spillway.supervisor.plane_server import PlaneServer
from spillway.supervisor.recoveries import Recoveries
from spillway.supervisor.reload import taken_over
from spillway.supervisor.run import Run, Signs
from spillway.supervisor.series_books import SeriesBooks
from spillway.supervisor.service_run import ServiceRun
from spillway.supervisor.services import Programs, Services
from spillway.supervisor.state_lines import StateLines
from spillway.supervisor.stop_requests import StopRequests
from spillway.supervisor.totals import Totals
from spillway.supervisor.watchdog import WATCH_S, Watch
from spillway.supervisor.world import World
from spillway_wire import names
from spillway_wire.plane import ChildHello, Order, Phase, PhaseKind, Reload, Status, StatusRequest

OnProgress = Callable[[str, str, str], None]
"""Is told of every change: which place, its state, and what it says of itself."""


class Tree:
    """All processes of one instance."""

    def __init__(
        self,
        settings: Settings,
        runtime: RuntimeFolder,
        models: tuple[ModelPlan, ...],
        listeners: tuple[socket.socket, socket.socket],
        *,
        stop_requests: StopRequests,
        programs: Programs,
        urls: dict[str, str],
        on_progress: OnProgress,
        log: Callable[..., None],
    ) -> None:
        """`listeners` are those of the API and of ops."""
        loop = asyncio.get_running_loop()
        world = World(time.monotonic_ns, time.time, loop.call_later, random.random)
        self.settings, self._runtime, self._log, self._on_progress = settings, runtime, log, on_progress
        self._urls = urls
        self._started_ns = time.monotonic_ns()
        self._totals = {spec.engine_id: Totals() for model in models for spec in model.engines}
        self._series = SeriesBooks(runtime, log)
        own = self._series.own
        self._recoveries = Recoveries(own.histograms(names.TIME_TO_DETECT), own.histograms(names.TIME_TO_RECOVER))
        self._kernel_kills = KernelKills()
        self._state_lines = StateLines(log)
        self._changes: set[asyncio.Future[None]] = set()
        self._watch = Watch(int(settings.restart.hang_floor_s * 1e9))
        self.watcher: asyncio.Task[None] | None = None
        """Never ends, unless by a fault of ours: then nobody would see who hangs."""
        self.phase = PhaseKind.SERVING
        self.was_ready = False
        self.plane = PlaneServer(find=self._find, greet=self._greeting, ask=self._asked, log=log)
        self.engines = Engines(
            models,
            settings,
            runtime,
            launch=self._launch_engine,
            world=world,
            publish=self.plane.publish,
            notify=self._notify,
            log=log,
        )
        self.services = Services(
            settings,
            runtime,
            programs,
            api_fd=listeners[0].fileno(),
            ops_fd=listeners[1].fileno(),
            parent_pid=os.getpid(),
            world=world,
            series=self._series,
            notify=self._notify,
            log=log,
        )
        self._orders = Orders(self.engines, chaos=settings.chaos, shut_down=stop_requests.ask, moved=self.moved)

    @property
    def places(self) -> list[Place]:
        """Of all processes."""
        return [*self.services.places, *self.engines.places.values()]

    async def start(self) -> None:
        """Start everything: Redis, engines, gateways and ops. Nobody waits for another."""
        await self.plane.open(self._runtime)
        if self.services.redis is not None:
            self.services.redis.start()
        self.engines.start()
        for place in (*self.services.gateways.values(), self.services.ops):
            place.start()
        self.watcher = asyncio.get_running_loop().create_task(self._keep_watch())

    async def close(self) -> None:
        """Let go of what is not a process."""
        if self.watcher is not None:
            self.watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.watcher
        self._orders.close()
        await self.plane.close()
        self._series.close()

    def is_ready(self) -> bool:
        """Whether a request sent now would be served, whatever model it names."""
        return (
            all(self.engines.num_ready(model) for model in self.engines.models)
            and self.services.num_gateways_ready > 0
            and self.services.ops.state is State.READY
        )

    def enter(self, phase: PhaseKind, **facts: object) -> None:
        """Go into a phase of the end, and tell everybody; the operator hears `facts` with it."""
        self.phase = phase
        self._log("phase", phase=phase, **facts)
        self.plane.publish(Phase(kind=phase))

    def apply(self, fresh: Settings) -> None:
        """Take over what may change while everything runs (see `reload`), and have the children do so."""
        settings = taken_over(self.settings, fresh)
        self._runtime.write_settings(settings)  # if it cannot be written, nothing has changed
        self.settings = settings
        self._watch.pardon_ns = int(settings.restart.hang_floor_s * 1e9)
        self.engines.apply(settings)
        self.services.apply(settings)
        self.plane.publish(Reload())

    # ---- changes ----

    def moved(self) -> "asyncio.Future[None]":
        """Return a future that is done after the next change of any place."""
        change: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._changes.add(change)
        change.add_done_callback(self._changes.discard)
        return change

    def _notify(self, place: Place) -> None:
        self._state_lines.look(place)
        self._recoveries.look(place, time.monotonic_ns())
        self._on_progress(place.id, str(place.state), place.progress)
        for change in self._changes:
            if not change.done():
                change.set_result(None)

    async def _keep_watch(self) -> None:
        while True:
            now_ns = time.monotonic_ns()
            if self._watch.look(now_ns):
                self.engines.watch(now_ns)
                self.services.watch(now_ns)
            await asyncio.sleep(WATCH_S)

    # ---- the plane ----

    def _find(self, hello: ChildHello) -> ServiceRun | None:
        return self.services.find(hello)

    def _greeting(self) -> list[msgspec.Struct]:
        return [Phase(kind=self.phase), self.engines.membership, *self.engines.chronicle.lately]

    def _asked(self, message: StatusRequest | Order, reply: Callable[[msgspec.Struct], object]) -> None:
        if isinstance(message, StatusRequest):
            reply(Status(token=message.token, status=self.status()))
        else:
            self._log("order", kind=message.kind, target=message.target, options=message.options)
            self._orders.give(message, reply)

    def _launch_engine(self, spec: EngineSpec, incarnation: int, signs: Signs) -> Run:
        return EngineRun(
            spec,
            self._runtime,
            incarnation,
            signs,
            parent_pid=os.getpid(),
            hang_floor_s=lambda: self.settings.restart.hang_floor_s,
            totals=self._totals[spec.engine_id],
            kernel_kills=self._kernel_kills,
            log=self._log,
            series=self._series.open(spec.engine_id, incarnation),
        )

    def status(self) -> dict[str, Any]:
        """Everything, as plain values."""
        served = {model.name: model for model in self.engines.membership.models}
        return {
            "ready": self.phase is PhaseKind.SERVING and self.is_ready(),
            "phase": str(self.phase),
            "engines": status.of_engines(self.engines, self._totals),
            **status.of_services(self.services, external_redis=self.settings.redis is not None),
            "models": [
                status.of_model(served[model.name], self.engines.num_ready(model)) for model in self.engines.models
            ],
            "supervisor": status.of_this_process(
                (time.monotonic_ns() - self._started_ns) / 1e9, self._watch.num_stalls
            ),
            "urls": dict(self._urls),
        }
