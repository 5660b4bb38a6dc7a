"""The load generator: `python -m spillway.bench.overload.generator PLAN RECORDS PARENT_PID`, a process of its own.

Process: a child of the bench, which it does not outlive. It reads a plan from a file, says ``ready``, reads on standard
input when to start (of the monotonic clock, which all processes share), and writes what it saw into a file. While it
shoots it only keeps bytes and times, collects no garbage, and is scheduled ahead of ordinary processes where that is
permitted: a clock must not wait in line behind the engine that it measures.
"""

import asyncio
import gc
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from spillway.bench.overload.callers import Callers
from spillway.bench.overload.plan import Plan, Seen
from spillway.bench.overload.reading import read
from spillway.bench.overload.shooting import Shooting
from spillway.bench.precedence import Kernel, LinuxKernel
from spillway_wire.parent import tie_to_parent

REAL_TIME: Final = "load generator round-robin (SCHED_RR 1), the servers as usual"
ORDINARY: Final = "load generator and servers as usual (no right to SCHED_RR)"


def generate(plan: Plan, start: float, kernel: Kernel) -> Seen:
    """Carry out `plan` from `start` on, of the monotonic clock."""
    scheduling, back_to_ordinary = ORDINARY, _nothing
    try:
        back_to_ordinary = kernel.real_time()
        scheduling = REAL_TIME
    except PermissionError:
        pass
    gc.disable()
    computed = _cpu_s()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            shooting = runner.run(_shoot(plan, start))
    finally:
        gc.enable()
        back_to_ordinary()
    computed = _cpu_s() - computed
    records = [read(each.shot, each.attempt, each.due, each.heard, start) for each in shooting.tries]
    seconds = max((record.ended_s for record in records), default=0.0)
    return Seen(records=records, seconds=seconds, cpu_s=computed, scheduling=scheduling)


async def _shoot(plan: Plan, start: float) -> Shooting:
    callers = Callers(plan.host, plan.port, time.monotonic)
    shooting = Shooting(plan, callers.call, clock=time.monotonic, sleep=asyncio.sleep)
    try:
        await shooting.run(start)
    finally:
        callers.close()
    return shooting


def _nothing() -> None:
    """Undo nothing."""


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
    start = float(sys.stdin.readline())
    Path(records_file).write_bytes(msgspec.msgpack.encode(generate(plan, start, LinuxKernel())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
