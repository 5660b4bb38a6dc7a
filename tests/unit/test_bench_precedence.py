"""The load generator goes before the engine while latencies are taken, by right or by the engine's yielding."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spillway.bench.precedence import NICE_ENGINE, NICEST, ROUND_ROBIN, LinuxKernel, generator_first

ENGINE_PID = 4711
THREADED = "import threading; threading.Thread(target=threading.Event().wait).start(); print(flush=True)"


class FakeKernel:
    """Notes what was asked of it."""

    def __init__(self, *, permits: bool) -> None:
        self.permits = permits
        self.asked: list[str] = []

    def real_time(self) -> Callable[[], None]:
        if not self.permits:
            raise PermissionError("Operation not permitted")
        self.asked.append("real time")
        return lambda: self.asked.append("as before")

    def make_nice(self, pid: int) -> None:
        self.asked.append(f"nice {pid}")


@pytest.fixture
def threaded() -> Iterator[int]:
    """A process with two threads."""
    with subprocess.Popen([sys.executable, "-c", THREADED], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            yield process.pid
        finally:
            process.kill()


def test_it_takes_the_right_where_it_has_it_and_gives_it_back() -> None:
    kernel = FakeKernel(permits=True)
    with generator_first(ENGINE_PID, kernel) as how:
        assert kernel.asked == ["real time"]
    assert how == ROUND_ROBIN
    assert kernel.asked == ["real time", "as before"]


def test_it_gives_it_back_after_a_failure_too() -> None:
    kernel = FakeKernel(permits=True)
    with pytest.raises(RuntimeError, match="broken"), generator_first(ENGINE_PID, kernel):
        raise RuntimeError("broken")
    assert kernel.asked == ["real time", "as before"]


def test_without_the_right_the_engine_yields() -> None:
    kernel = FakeKernel(permits=False)
    with generator_first(ENGINE_PID, kernel) as how:
        assert kernel.asked == [f"nice {ENGINE_PID}"]
    assert how == NICE_ENGINE
    assert kernel.asked == [f"nice {ENGINE_PID}"]


def test_every_thread_of_an_engine_becomes_nice(threaded: int) -> None:
    LinuxKernel().make_nice(threaded)
    threads = [int(thread.name) for thread in Path(f"/proc/{threaded}/task").iterdir()]
    assert len(threads) == 2
    assert {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads} == {NICEST}


def test_this_thread_is_real_time_if_that_is_permitted_its_children_are_not_and_all_is_undone() -> None:
    before = os.sched_getscheduler(0)
    try:
        undo = LinuxKernel().real_time()
    except PermissionError:
        assert os.sched_getscheduler(0) == before
        return
    try:
        assert os.sched_getscheduler(0) == os.SCHED_RR | os.SCHED_RESET_ON_FORK
        asked = [sys.executable, "-c", "import os; print(os.sched_getscheduler(0))"]
        child = subprocess.run(asked, check=True, capture_output=True, text=True)
        assert int(child.stdout) == os.SCHED_OTHER
    finally:
        undo()
    assert os.sched_getscheduler(0) == before
