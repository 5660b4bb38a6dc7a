"""The dead man: a runner that is killed leaves nothing stopped, nothing running, no limit and no folder behind."""

import resource
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from spillway_chaos.deadman import Continue, Deadman, End, Limit, Remove, perform

PATIENCE_S = 30.0
RUNNER = """
import sys
from pathlib import Path
import os, signal
from spillway_chaos.deadman import Continue, Deadman, End, Remove
pid, born, folder = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
deadman = Deadman()
deadman.arm(Remove(path=folder))
deadman.arm({undo}(pid=pid, born=born))
os.kill(pid, signal.SIGSTOP)
print(deadman.pid, flush=True)
signal.pause()
"""


def sleeper() -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", "import signal; print('up', flush=True); signal.pause()"],
                            stdout=subprocess.PIPE)  # fmt: skip


def up(process: "subprocess.Popen[bytes]") -> psutil.Process:
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    return psutil.Process(process.pid)


def until(process: psutil.Process, status: str) -> None:
    while process.status() != status:
        pass


@pytest.mark.parametrize("undo", ["Continue", "End"])
def test_what_a_killed_runner_did_is_undone(undo: str, tmp_path: Path) -> None:
    folder = tmp_path / "stage"
    folder.mkdir()
    with sleeper() as victim:
        process = up(victim)
        arguments = [str(victim.pid), repr(process.create_time()), str(folder)]
        code = RUNNER.replace("{undo}", undo)
        with subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE) as runner:
            assert runner.stdout is not None
            deadman = psutil.Process(int(runner.stdout.readline()))
            until(process, psutil.STATUS_STOPPED)
            runner.send_signal(signal.SIGKILL)
        deadman.wait(PATIENCE_S)
        assert not folder.exists()
        if undo == "End":
            assert victim.wait(PATIENCE_S) == -signal.SIGTERM
        else:
            assert process.status() != psutil.STATUS_STOPPED
            victim.kill()


def test_a_runner_that_ends_well_undoes_everything_itself(tmp_path: Path) -> None:
    with sleeper() as victim:
        process = up(victim)
        deadman = Deadman()
        number = deadman.arm(Continue(pid=victim.pid, born=process.create_time()))
        deadman.arm(End(pid=victim.pid, born=process.create_time()))
        process.suspend()
        deadman.undo(number)
        until(process, psutil.STATUS_SLEEPING)
        deadman.close()
        deadman.close()
        assert not process.is_running()
    perform(Remove(path=str(tmp_path / "nothing")))


def test_limits_are_given_back() -> None:
    with sleeper() as victim:
        process = up(victim)
        before = resource.prlimit(victim.pid, resource.RLIMIT_NOFILE)
        undo = Limit(
            pid=victim.pid, born=process.create_time(), what=resource.RLIMIT_NOFILE, soft=before[0], hard=before[1]
        )
        resource.prlimit(victim.pid, resource.RLIMIT_NOFILE, (16, before[1]))
        perform(undo)
        assert resource.prlimit(victim.pid, resource.RLIMIT_NOFILE) == before
        victim.kill()


def test_another_process_with_the_same_number_is_let_alone() -> None:
    with sleeper() as victim:
        process = up(victim)
        perform(End(pid=victim.pid, born=process.create_time() - 1.0))
        assert victim.poll() is None
        victim.kill()
    perform(End(pid=victim.pid, born=0.0))
