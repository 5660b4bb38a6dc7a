"""A few threads that run `program.serve_steps` together; the caller is one of them.

The others are Python threads inside one compiled call that never returns until the team goes home, so they never touch
the interpreter or its lock. Numba's own thread pools are not used: beside torch's they fight for the cores (both spin),
and one of them aborts when two threads call it.
"""

import os
import threading
from typing import Any

import numpy as np

from spillway_engine.cpu.barrier import ASLEEP, LINE, STARTED, STOPPING, control_words
from spillway_engine.cpu.program import Buffers, Cache, Dims, Sampling, Step, Weights, serve_steps


class Team:
    """Owns the threads of one engine. `run` and `close` belong to one calling thread."""

    def __init__(
        self, threads: int, dims: Dims, weights: Weights, cache: Cache, step: Step, buffers: Buffers, sampling: Sampling
    ) -> None:
        self._arguments: tuple[Any, ...] = (dims, weights, cache, step, buffers, sampling)
        self._threads = threads
        self._control = control_words(threads)
        self._byte = np.zeros(1, np.int64)
        self._pipes = [os.pipe() for _ in range(1, threads)]
        self._members = [
            threading.Thread(target=self._work, args=(thread, read), name=f"compute-{thread}", daemon=True)
            for thread, (read, _) in enumerate(self._pipes, start=1)
        ]
        for member in self._members:
            member.start()

    def _work(self, thread: int, pipe: int) -> None:
        serve_steps(thread, self._threads, self._control, pipe, np.zeros(1, np.int64), *self._arguments)

    def run(self, *, alone: bool = False) -> None:
        """Run one step; `step` and `buffers` are as the caller has filled them.

        `alone`: by the calling thread, while the others sleep on; for steps too small to share.
        Raises `RuntimeError` after `close`: nobody would come to the barriers.
        """
        if self._control[STOPPING]:
            raise RuntimeError("this team has gone home: its runner is closed")
        if self._members and not alone:
            self._control[STARTED] += 1
            self._wake()
        serve_steps(0, 1 if alone else self._threads, self._control, 0, self._byte, *self._arguments)

    def close(self) -> None:
        """Send the threads home and wait for them. Idempotent."""
        self._control[STOPPING] = 1
        for _, write in self._pipes:
            os.write(write, b"\0")
        for member in self._members:
            member.join()
        for pipe in self._pipes:
            for end in pipe:
                os.close(end)
        self._pipes, self._members = [], []

    def _wake(self) -> None:
        for thread, (_, write) in enumerate(self._pipes, start=1):
            if self._control[ASLEEP + LINE * thread]:
                os.write(write, b"\0")
