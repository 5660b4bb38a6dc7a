"""Processes that exist on paper, and a clock that goes when told: a place, or a whole pool, driven through its life."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from spillway.supervisor.run import Asked, Ended, Signs
from spillway.supervisor.world import World

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
