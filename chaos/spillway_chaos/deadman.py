"""Undoes faults when the runner dies: `python -m spillway_chaos.deadman`, with orders as JSON lines on its input.

Process: a child of the runner's, in a session of its own, so that what ends the runner's group does not take it along.
It holds what is to be undone, and does nothing, until its input ends: with nothing left if the runner undid everything
itself, else it undoes what is left, the latest first. It is the reason why a stopped engine is not left stopped, nor a
platform left running, whatever becomes of the runner.
"""

import os
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import suppress

import msgspec
import psutil

GRACE_S = 10.0


class _Undo(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    pass


class Continue(_Undo, frozen=True, kw_only=True):
    """Let a stopped process go on."""

    pid: int
    born: float
    """When it was created, of psutil: another process may have its number by then."""


class End(_Undo, frozen=True, kw_only=True):
    """End a process that the stage started; SIGKILL if it does not."""

    pid: int
    born: float


class Limit(_Undo, frozen=True, kw_only=True):
    """Give a process its limit back."""

    pid: int
    born: float
    what: int
    """RLIMIT_…"""
    soft: int
    hard: int


class Remove(_Undo, frozen=True, kw_only=True):
    """Remove a folder of the stage's."""

    path: str


Undo = Continue | End | Limit | Remove


class Arm(msgspec.Struct, frozen=True, tag=True):
    """Remember."""

    number: int
    undo: Undo


class Disarm(msgspec.Struct, frozen=True, tag=True):
    """Forget."""

    number: int


_DECODER: msgspec.json.Decoder[Arm | Disarm] = msgspec.json.Decoder(Arm | Disarm)


def perform(undo: Undo) -> None:
    """Undo one thing; what is gone by itself needs nothing."""
    if isinstance(undo, Remove):
        shutil.rmtree(undo.path, ignore_errors=True)
        return
    process = living(undo.pid, undo.born)
    if process is None:
        return
    with suppress(ProcessLookupError, psutil.NoSuchProcess):
        match undo:
            case Continue():
                os.kill(undo.pid, signal.SIGCONT)
            case Limit():
                resource.prlimit(undo.pid, undo.what, (undo.soft, undo.hard))
            case End():
                os.kill(undo.pid, signal.SIGCONT)
                process.terminate()
                try:
                    process.wait(GRACE_S)
                except psutil.TimeoutExpired:
                    process.kill()
                    process.wait(GRACE_S)


def living(pid: int, born: float) -> psutil.Process | None:
    """Return the process if it is still that one."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if process.create_time() == born and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


class Deadman:
    """The runner's end. Faults are armed before they are made."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "spillway_chaos.deadman"],
            stdin=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        self._armed: dict[int, Undo] = {}
        self._number = 0

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def arm(self, undo: Undo) -> int:
        """Have something undone, should the runner die; return its number."""
        self._number += 1
        self._armed[self._number] = undo
        self._say(Arm(self._number, undo))
        return self._number

    def undo(self, number: int) -> None:
        """Undo it now. Idempotent."""
        if number in self._armed:
            perform(self._armed.pop(number))
            self._say(Disarm(number))

    def undo_all(self) -> None:
        """Undo everything, the latest first."""
        for number in sorted(self._armed, reverse=True):
            self.undo(number)

    def _say(self, order: Arm | Disarm) -> None:
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.write(msgspec.json.encode(order).decode() + "\n")
            self._process.stdin.flush()

    def close(self) -> None:
        """Undo what is left, and let it end. Idempotent."""
        self.undo_all()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()


def main() -> int:
    """Hold, and undo at the end of the input."""
    for deaf_to in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(deaf_to, signal.SIG_IGN)
    armed: dict[int, Undo] = {}
    for line in sys.stdin:
        order = _DECODER.decode(line)
        if isinstance(order, Arm):
            armed[order.number] = order.undo
        else:
            armed.pop(order.number, None)
    for number in sorted(armed, reverse=True):
        with suppress(OSError, psutil.Error):  # whatever cannot be undone must not keep the rest from it
            perform(armed[number])
    return 0


if __name__ == "__main__":
    sys.exit(main())
