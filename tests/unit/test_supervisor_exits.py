"""Why a process ended: every cause from its evidence, and the kernel's count of those killed for want of memory."""

import signal
from pathlib import Path

import pytest

from spillway.supervisor.exits import Evidence, KernelKills, explain
from spillway_wire.messages import LastWords
from spillway_wire.plane import ExitCause


def words(cause: str, message: str = "said") -> LastWords:
    return LastWords(cause=cause, message=message)


CASES: dict[str, tuple[Evidence, ExitCause, str]] = {
    "hang": (
        Evidence(status=-9, was_ready=True, hung="no sign of life for 2.1 s", words=words("exception")),
        ExitCause.HANG,
        "no sign of life for 2.1 s; killed",
    ),
    "late start": (
        Evidence(status=-9, was_ready=False, hung="not ready within 60 s"),
        ExitCause.FAILED_START,
        "not ready within 60 s; killed",
    ),
    "last words: memory": (
        Evidence(status=70, was_ready=True, words=words("out_of_memory", "MemoryError: 5 GB")),
        ExitCause.OUT_OF_MEMORY,
        "exit status 70: out_of_memory: MemoryError: 5 GB",
    ),
    "last words: device": (
        Evidence(status=70, was_ready=True, words=words("device", "CUDA error: unspecified launch failure")),
        ExitCause.DEVICE,
        "exit status 70: device: CUDA error: unspecified launch failure",
    ),
    "last words: exception": (
        Evidence(status=70, was_ready=True, words=words("exception", "ValueError: x"), last_error="noise"),
        ExitCause.EXCEPTION,
        "exit status 70: exception: ValueError: x",
    ),
    "the kernel's killer": (
        Evidence(status=-9, was_ready=True, kernel_kills=1),
        ExitCause.OUT_OF_MEMORY,
        "killed by SIGKILL: the kernel had no memory left for it",
    ),
    "the kernel's killer while loading": (
        Evidence(status=-9, was_ready=False, kernel_kills=2),
        ExitCause.OUT_OF_MEMORY,
        "killed by SIGKILL: the kernel had no memory left for it",
    ),
    "a kill of ours is not the kernel's": (
        Evidence(status=-9, was_ready=True, kernel_kills=1, asked=True, killed=True),
        ExitCause.CLEAN,
        "killed by SIGKILL",
    ),
    "another signal is not the kernel's killer": (
        Evidence(status=-11, was_ready=True, kernel_kills=1),
        ExitCause.SIGNAL,
        "killed by SIGSEGV",
    ),
    "stopped": (
        Evidence(status=0, was_ready=True, asked=True, words=words("stopped", "told to stop")),
        ExitCause.CLEAN,
        "exit status 0: stopped: told to stop",
    ),
    "stopped while loading": (Evidence(status=0, was_ready=False, asked=True), ExitCause.CLEAN, "exit status 0"),
    "our SIGTERM": (Evidence(status=-15, was_ready=False, asked=True), ExitCause.CLEAN, "killed by SIGTERM"),
    "killed by another while draining": (
        Evidence(status=-9, was_ready=True, asked=True),
        ExitCause.SIGNAL,
        "killed by SIGKILL",
    ),
    "failed while draining": (Evidence(status=70, was_ready=True, asked=True), ExitCause.EXCEPTION, "exit status 70"),
    "went of its own accord": (
        Evidence(status=0, was_ready=True, last_error="noise"),
        ExitCause.CLEAN,
        "exit status 0",
    ),
    "left before it was ready": (Evidence(status=0, was_ready=False), ExitCause.FAILED_START, "exit status 0"),
    "could not start": (
        Evidence(status=2, was_ready=False, last_error="ModelNotFoundError: nowhere"),
        ExitCause.FAILED_START,
        "exit status 2: ModelNotFoundError: nowhere",
    ),
    "killed while starting": (Evidence(status=-9, was_ready=False), ExitCause.FAILED_START, "killed by SIGKILL"),
    "signal": (Evidence(status=-9, was_ready=True, last_error="noise"), ExitCause.SIGNAL, "killed by SIGKILL"),
    "real-time signal": (
        Evidence(status=-(signal.SIGRTMIN + 3), was_ready=True),
        ExitCause.SIGNAL,
        f"killed by signal {signal.SIGRTMIN + 3}",
    ),
    "a status of its own": (
        Evidence(status=3, was_ready=True, last_error="Traceback's last line"),
        ExitCause.EXCEPTION,
        "exit status 3: Traceback's last line",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_an_end_has_one_cause_and_one_line(case: str) -> None:
    evidence, cause, message = CASES[case]
    explained = explain(evidence)
    assert (explained.cause, explained.message) == (cause, message)
    assert explained.status == evidence.status


def test_every_cause_is_among_the_cases() -> None:
    assert {cause for _, cause, _ in CASES.values()} == set(ExitCause)


def root(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        file = folder / name.replace("__", "/").replace("_dot_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def test_kernel_kills_are_read_from_the_unified_hierarchy(tmp_path: Path) -> None:
    folder = root(
        tmp_path,
        proc__self__cgroup="0::/a/b\n",
        sys__fs__cgroup__a__b__memory_dot_events="low 0\noom 5\noom_kill 3\noom_group_kill 0\n",
        proc__vmstat="oom_kill 9\n",
    )
    assert KernelKills(folder).read() == 3


def test_kernel_kills_are_read_from_the_memory_controller(tmp_path: Path) -> None:
    folder = root(
        tmp_path,
        proc__self__cgroup="4:cpu,cpuacct:/x\n3:memory:/a\n0::/\n",
        sys__fs__cgroup__memory__a__memory_dot_oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    )
    assert KernelKills(folder).read() == 2


def test_kernel_kills_are_the_machines_where_the_group_does_not_count(tmp_path: Path) -> None:
    kills = KernelKills(root(tmp_path, proc__self__cgroup="0::/gone\n", proc__vmstat="pgfault 1\noom_kill 4\n"))
    assert kills.read() == 4
    root(tmp_path, proc__vmstat="pgfault 1\noom_kill 5\n")
    assert kills.read() == 5


def test_kernel_kills_are_none_where_nothing_can_be_read(tmp_path: Path) -> None:
    assert KernelKills(tmp_path).read() == 0
