"""Who runs first where the load generator shares a core with the engine that it asks: a clock must not wait in line.

The stand-in engine computes in bursts of milliseconds. As its equal, a generator on the same core sees a token when
the burst is over, not when the token comes, and the more so the less it has run itself: through a gateway it would
look later than directly, though the gateway had no part in it. So the generator goes first while latencies are taken,
of both kinds alike::

    permitted (root, or an RLIMIT_RTPRIO)    the generator is scheduled round-robin, ahead of all ordinary processes
    not permitted                            the engine is nice, as much as there is: that is anybody's right

Nobody else's scheduling is touched; the gateway's above all.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol

REAL_TIME_PRIORITY: Final = 1
NICEST: Final = 19

ROUND_ROBIN: Final = (
    "load generator round-robin (SCHED_RR 1), engine and gateway as usual: it sees a token when it comes, "
    "though the engine shares its core"
)
NICE_ENGINE: Final = (
    "engine nice 19, load generator and gateway as usual (no right to SCHED_RR): "
    "the generator sees a token when it comes, though the engine shares its core"
)


class Kernel(Protocol):
    """What is asked of the scheduler."""

    def real_time(self) -> Callable[[], None]:
        """Put this thread ahead of ordinary ones; return what undoes it. Raises PermissionError."""

    def make_nice(self, pid: int) -> None:
        """Have every thread of a process yield to others, for the rest of its life."""


class LinuxKernel:
    """The one that runs this process."""

    def real_time(self) -> Callable[[], None]:
        """See `Kernel`. Threads and processes that are begun meanwhile are ordinary."""
        policy, param = os.sched_getscheduler(0), os.sched_getparam(0)
        fresh = os.sched_param(REAL_TIME_PRIORITY)
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, fresh)
        return lambda: os.sched_setscheduler(0, policy, param)

    def make_nice(self, pid: int) -> None:
        """See `Kernel`."""
        for thread in _threads(pid):
            os.setpriority(os.PRIO_PROCESS, thread, NICEST)


def _threads(pid: int) -> Iterable[int]:
    return [int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir()]


_KERNEL: Final = LinuxKernel()


@contextlib.contextmanager
def generator_first(engine_pid: int, kernel: Kernel = _KERNEL) -> Iterator[str]:
    """Run this thread, the load generator's, before the engine's; yield how that was done, in a line for people.

    This thread is what it was afterwards; a nice engine stays so, as not everybody may take that back.
    """
    with contextlib.ExitStack() as undone:
        try:
            undone.callback(kernel.real_time())
            how = ROUND_ROBIN
        except PermissionError:
            kernel.make_nice(engine_pid)
            how = NICE_ENGINE
        yield how
