"""Processes that exist on paper, and a clock that goes when told: a place, or a whole pool, driven through its life."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spillway.runtime import RuntimeFolder
from spillway.settings import DrainSettings, ModelSettings, RestartSettings, Settings
from spillway.supervisor.devices import Machine
from spillway.supervisor.engine_run import EngineSpec
from spillway.supervisor.engines import Engines
from spillway.supervisor.orders import Orders
from spillway.supervisor.place import Place
from spillway.supervisor.plan import plan
from spillway.supervisor.run import Asked, Ended, Run, Signs
from spillway.supervisor.world import World
from spillway_wire.plane import Order, OrderKind, OrderReply

SECOND = 1_000_000_000
Aboard = tuple[tuple[str, str, int, int], ...]


@dataclass
class Timer:
    due_ns: int
    call: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeTime:
    """Starts at 1,000 s, so that nothing happens to be 0; chance is what `share` says."""

    def __init__(self) -> None:
        self.now_ns = 1_000 * SECOND
        self.timers: list[Timer] = []
        self.share = 1.0

    def world(self) -> World:
        return World(lambda: self.now_ns, lambda: self.now_ns / 1e9, self.call_later, lambda: self.share)

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        timer = Timer(self.now_ns + round(delay_s * SECOND), call)
        self.timers.append(timer)
        return timer

    @property
    def next_due_s(self) -> float | None:
        """Seconds until the next timer goes off."""
        due = [timer.due_ns for timer in self.timers if not timer.cancelled]
        return (min(due) - self.now_ns) / 1e9 if due else None

    def pass_s(self, seconds: float) -> None:
        """Let time pass; timers go off in their order, each at its time."""
        until_ns = self.now_ns + round(seconds * SECOND)
        while due := [timer for timer in self.timers if not timer.cancelled and timer.due_ns <= until_ns]:
            timer = min(due, key=lambda timer: timer.due_ns)
            self.timers.remove(timer)
            self.now_ns = max(self.now_ns, timer.due_ns)
            timer.call()
        self.now_ns = until_ns


@dataclass
class FakeRun:
    """A run that does what the test says."""

    incarnation: int
    signs: Signs
    pid: int = 0
    asked: list[Asked] = field(default_factory=list)
    lateness: str | None = None
    step: Aboard = ()
    closed: bool = False

    def ask(self, asked: Asked) -> None:
        self.asked.append(asked)

    def late(self, now_ns: int) -> str | None:
        return self.lateness

    def aboard(self) -> Aboard:
        return self.step

    def facts(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        assert not self.closed
        self.closed = True

    def end(self, status: int, **left: Any) -> None:
        """The process ends."""
        self.signs.ended(Ended(status=status, aboard=self.step, **left))


class FakeLaunch:
    """Keeps the runs that were started; fails while `broken`."""

    def __init__(self) -> None:
        self.runs: list[FakeRun] = []
        self.broken = False

    def __call__(self, incarnation: int, signs: Signs) -> FakeRun:
        if self.broken:
            raise FileNotFoundError("no such program")
        run = FakeRun(incarnation, signs, pid=100 + len(self.runs))
        self.runs.append(run)
        return run

    @property
    def last(self) -> FakeRun:
        return self.runs[-1]


class Pool:
    """All engine places over such processes, the orders to them, and everything that was published."""

    def __init__(self, *, engines: int = 2, standby: int = 0, chaos: bool = False) -> None:
        settings = Settings(
            models=(ModelSettings(name="demo", model="demo"),),
            engines=engines,
            standby=standby,
            chaos=chaos,
            drain=DrainSettings(timeout_s=30),
            restart=RestartSettings(),
        )
        self.time = FakeTime()
        self.launches = {f"engine-{number}": FakeLaunch() for number in range(engines + standby)}
        self.published: list[Any] = []
        self.logged: list[str] = []
        self.waiting: list[asyncio.Future[None]] = []
        self.engines = Engines(
            plan(settings, {"demo": Path("/models/demo")}, Machine(2)),
            settings,
            RuntimeFolder(Path("/run/s")),
            launch=self._launch,
            world=self.time.world(),
            publish=self.published.append,
            notify=self._notify,
            log=lambda event, **_: self.logged.append(event),
        )
        self.orders = Orders(self.engines, chaos=chaos, shut_down=lambda: self.logged.append("asked"), moved=self.moved)

    def _launch(self, spec: EngineSpec, incarnation: int, signs: Signs) -> Run:
        run: Run = self.launches[spec.engine_id](incarnation, signs)
        return run

    def _notify(self, _: Place) -> None:
        for future in self.waiting:
            if not future.done():
                future.set_result(None)

    def moved(self) -> "asyncio.Future[None]":
        self.waiting.append(asyncio.get_running_loop().create_future())
        return self.waiting[-1]

    def run(self, number: int) -> Any:
        return self.launches[f"engine-{number}"].last

    def ready(self) -> "Pool":
        self.engines.start()
        for number in range(len(self.launches)):
            self.run(number).signs.ready()
        self.published.clear()
        return self

    @property
    def states(self) -> list[str]:
        return [place.state.value for place in self.engines.places.values()]

    def order(self, kind: OrderKind, target: str = "", **options: Any) -> OrderReply:
        replies: list[Any] = []
        self.orders.give(Order(token=7, kind=kind, target=target, options=options), replies.append)
        (reply,) = replies
        assert isinstance(reply, OrderReply)
        assert reply.token == 7
        return reply
