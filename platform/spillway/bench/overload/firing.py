"""Generator processes: started with their part of a plan, let go at one moment, and heard.

Process: the bench. A generator that dies takes its part of the figures with it, so the run fails with its last words.
"""

import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec

from spillway.bench.overload.plan import Plan, Run, Seen
from spillway.errors import SpillwayError

LEAD_S: Final = 0.3
"""From letting them go to the start: every generator must have heard of it."""
MARGIN_S: Final = 180.0
"""Beyond a plan's own time, for reading answers and for retries that were told to wait."""


class GeneratorFailedError(SpillwayError):
    """A load generator ended without telling what it saw."""


def fire(plan: Plan, processes: int = 1) -> Run:
    """Carry out `plan` with so many generators, each with every n-th shot. Raises `GeneratorFailedError`."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="spillway-load-")))
        parts = [_start(stack, folder, part, place) for place, part in enumerate(split(plan, processes))]
        for process, _ in parts:
            if process.stdout is None or process.stdout.readline() != "ready\n":
                raise GeneratorFailedError("a load generator did not start; its words stand above")
        start = time.monotonic() + LEAD_S
        for process, _ in parts:
            if process.stdin is not None:
                process.stdin.write(f"{start!r}\n")
                process.stdin.flush()
        return Run.of([_seen(process, records, plan) for process, records in parts])


def split(plan: Plan, processes: int) -> list[Plan]:
    """Return the parts of a plan; a closed loop's clients are shared out, and nobody is left without work."""
    processes = max(1, min(processes, len(plan.shots), plan.in_flight or len(plan.shots)))
    parts = []
    for place in range(processes):
        clients = None if plan.in_flight is None else len(range(place, plan.in_flight, processes))
        parts.append(msgspec.structs.replace(plan, shots=plan.shots[place::processes], in_flight=clients))
    return parts


def _start(stack: ExitStack, folder: Path, part: Plan, place: int) -> tuple["subprocess.Popen[str]", Path]:
    plan_file, records = folder / f"plan-{place}", folder / f"records-{place}"
    plan_file.write_bytes(msgspec.msgpack.encode(part))
    process = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "spillway.bench.overload.generator", str(plan_file), str(records), str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    stack.callback(_end, process)
    return process, records


def _end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate()


def _seen(process: "subprocess.Popen[str]", records: Path, plan: Plan) -> Seen:
    own_s = max(plan.closed_s, max((shot.due_s for shot in plan.shots), default=0.0)) + plan.patience_s
    try:
        status = process.wait(own_s + (1 + plan.retries) * MARGIN_S)
    except subprocess.TimeoutExpired:
        raise GeneratorFailedError(f"a load generator was not done {MARGIN_S:g} s after its plan") from None
    if status:
        raise GeneratorFailedError(f"a load generator ended with status {status}; its words stand above")
    return msgspec.msgpack.decode(records.read_bytes(), type=Seen)
