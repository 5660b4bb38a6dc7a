"""Worker processes: started before the run, given their part of it, listened to, and gathered in.

A worker that dies takes its part of the run with it: that is an error, never a smaller result.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Self

import msgspec

from spillway_load.errors import LoadError
from spillway_load.plan import Plan
from spillway_load.reports import Seen, Told

_HEAD_START_S: Final = 0.5
"""From the order to start until the first request can be due: time to go to work."""

Tell = Callable[[float, Sequence[Told]], None]
"""Told, once a second or so, how many seconds have passed and how far each worker is."""


class WorkerError(LoadError):
    """A worker did not do its part."""

    exit_status = 3


class Workers:
    """The workers of one run. Use it with `with`."""

    def __init__(self, plans: Sequence[Plan]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="spillway-load-")
        self._told = [Told() for _ in plans]
        self.is_cut = False
        """Whether the run was ended early."""
        self._processes = [self._start(number, plan) for number, plan in enumerate(plans)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        self._folder.cleanup()

    def run(self, tell: Tell, on_start: Callable[[float], None] = lambda _: None) -> list[Seen]:
        """Run, and return what each worker saw. Raises `WorkerError`."""
        for process in self._processes:
            if process.stdout is None or process.stdin is None or process.stdout.readline() != b"ready\n":
                raise WorkerError("a worker did not start; its error stands above")
        start = time.monotonic() + _HEAD_START_S
        on_start(start)
        for process in self._processes:
            assert process.stdin is not None  # noqa: S101 - opened in _start
            process.stdin.write(f"{start!r}\n".encode())
            process.stdin.flush()
        with self._cut_by_signals():
            self._listen(start, tell)
        return [self._seen(number) for number in range(len(self._processes))]

    def _start(self, number: int, plan: Plan) -> "subprocess.Popen[bytes]":
        plan_file = self._file(number, "plan")
        plan_file.write_bytes(msgspec.msgpack.encode(plan))
        command = [sys.executable, "-m", "spillway_load.worker", str(plan_file), str(self._file(number, "seen"))]
        return subprocess.Popen(  # noqa: S603 - our own command
            [*command, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a terminal's Ctrl-C is for the campaign, which asks its workers to stop
        )

    def _file(self, number: int, kind: str) -> Path:
        return Path(self._folder.name) / f"{number}.{kind}"

    def _listen(self, start: float, tell: Tell) -> None:
        with selectors.DefaultSelector() as selector:
            for number, process in enumerate(self._processes):
                selector.register(process.stdout, selectors.EVENT_READ, number)  # type: ignore[arg-type]  # a pipe
            while selector.get_map():
                for key, _ in selector.select():
                    line = key.fileobj.readline()  # type: ignore[union-attr]  # a pipe
                    if line:
                        self._told[key.data] = msgspec.json.decode(line, type=Told)
                    else:
                        selector.unregister(key.fileobj)
                tell(time.monotonic() - start, self._told)

    def _seen(self, number: int) -> Seen:
        status = self._processes[number].wait()
        if status:
            raise WorkerError(f"worker {number} ended with status {status}; its error stands above")
        return msgspec.msgpack.decode(self._file(number, "seen").read_bytes(), type=Seen)

    @contextlib.contextmanager
    def _cut_by_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._cut) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _cut(self, *_: object) -> None:
        self.is_cut = True
        for process in self._processes:
            process.terminate()  # a worker takes that as "send nothing more"
