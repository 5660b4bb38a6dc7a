"""One core's worth of load: `python -m spillway_load.worker PLAN RECORDS PARENT_PID`.

Process: a child of the campaign's, which it does not outlive. It reads a plan from a file, says `ready`, reads on
standard input when to start (of the monotonic clock, which all processes share), tells every second how far it is in a
line of JSON, and writes what it saw into a file. SIGTERM: it sends nothing more and follows what is under way.

It is scheduled ahead of ordinary processes where that is permitted: a clock must not wait in line behind the engine
that it measures.
"""

import contextlib
import gc
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import gevent
import msgspec

from spillway_load.http_stream import Connections, Target
from spillway_load.plan import Plan
from spillway_load.reports import Seen, Told
from spillway_load.shooting import Shooting
from spillway_wire.parent import tie_to_parent

REAL_TIME: Final = "generator round-robin (SCHED_RR 1), all else as usual"
ORDINARY: Final = "generator scheduled as usual (no right to SCHED_RR)"
_PROGRESS_S: Final = 1.0


@contextlib.contextmanager
def _precedence() -> Iterator[str]:
    policy, param = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except PermissionError:
        yield ORDINARY
        return
    try:
        yield REAL_TIME
    finally:
        os.sched_setscheduler(0, policy, param)


def shoot(plan: Plan, start: float, out: Any) -> Seen:
    """Carry out `plan` from `start` on, of the monotonic clock, and tell how it goes."""
    connections = Connections(Target.of(plan.url, Path(plan.ca) if plan.ca else None))
    shooting = Shooting(plan, connections)
    gevent.signal_handler(signal.SIGTERM, shooting.stop)
    gc.collect()
    gc.freeze()  # what is there stays there: no need to look at it again while the clock runs
    before = _cpu_s()
    with _precedence() as scheduling:
        telling = gevent.spawn(_tell, shooting, out)
        shooting.run(start)
        telling.kill()
    connections.close()
    return Seen(shooting.records, shooting.beats_s, _cpu_s() - before, scheduling)


def _tell(shooting: Shooting, out: Any) -> None:
    while True:
        gevent.sleep(_PROGRESS_S)
        tally = shooting.tally
        told = Told(
            tally.num_due,
            tally.num_open,
            {fate.value: count for fate, count in tally.fates.items()},
            shooting.num_pieces,
            tally.worst_lag_s,
        )
        out.write(msgspec.json.encode(told).decode() + "\n")
        out.flush()


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one plan."""
    plan_file, records_file, parent_pid = sys.argv[1:] if arguments is None else arguments
    tie_to_parent(int(parent_pid))
    plan = msgspec.msgpack.decode(Path(plan_file).read_bytes(), type=Plan)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    line = sys.stdin.readline()
    if not line:  # the campaign was called off
        return 0
    start = float(line)
    gevent.sleep(max(0.0, start - time.monotonic() - 0.2))
    Path(records_file).write_bytes(msgspec.msgpack.encode(shoot(plan, start, sys.stdout)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
