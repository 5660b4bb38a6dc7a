"""How the threads of a team meet: a barrier inside a step, and sleep between steps, without Python and without a lock.

The control words are int64 counters that only ever grow, each on a cache line of its own::

    ARRIVED   threads that have come to a barrier, ever
    RELEASED  barriers that all have come to, ever
    STARTED   steps given out, ever
    STOPPING  not 0: go home
    ASLEEP    one word a thread: not 0 while it sleeps in `read` on its pipe

A thread spins for a few microseconds, which is what a phase takes. Then it yields its core at a barrier, for the thread
it waits for may need that very core; and between steps it sleeps, for an idle engine must cost nothing.
"""

from typing import Any

import numpy as np
from numba import types

from spillway_engine.compiled import Array, compiled
from spillway_engine.cpu.atomic import atomic_add, atomic_load, atomic_store, pause

LINE = 8
"""int64 words of a cache line."""

ARRIVED, RELEASED, STARTED, STOPPING, ASLEEP = (LINE * i for i in range(5))

_SPINS_AT_BARRIER = 2_000
_SPINS_BETWEEN_STEPS = 1_000

_sched_yield = types.ExternalFunction("sched_yield", types.int32())
_read = types.ExternalFunction("read", types.intp(types.int32, types.CPointer(types.int64), types.uintp))


def control_words(threads: int) -> Array:
    """Return the control words of a team."""
    return np.zeros(ASLEEP + LINE * threads, np.int64)


@compiled
def meet(control: Array, threads: int) -> None:
    """Wait until every thread of the team has come here."""
    if threads == 1:
        return
    before = atomic_add(control, ARRIVED, 1)
    barrier = before // threads
    if before + 1 == (barrier + 1) * threads:
        atomic_store(control, RELEASED, barrier + 1)
        return
    spins = 0
    while atomic_load(control, RELEASED) <= barrier:
        spins += 1
        if spins < _SPINS_AT_BARRIER:
            pause()
        else:
            _sched_yield()


@compiled
def next_step(control: Array, thread: int, seen: int, pipe: int, byte: Any) -> Any:
    """Wait until more than `seen` steps were given out; return how many, or -1 when the team goes home."""
    spins = 0
    while True:
        if atomic_load(control, STOPPING) != 0:
            return -1
        started = atomic_load(control, STARTED)
        if started != seen:
            return started
        spins += 1
        if spins < _SPINS_BETWEEN_STEPS:
            pause()
            continue
        atomic_store(control, ASLEEP + LINE * thread, 1)
        if atomic_load(control, STARTED) == seen and atomic_load(control, STOPPING) == 0:
            _read(pipe, byte.ctypes, 1)
        atomic_store(control, ASLEEP + LINE * thread, 0)
