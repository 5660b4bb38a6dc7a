"""A profile of a running engine or gateway, taken by py-spy from outside: nothing is built into what is looked at.

py-spy reads the other process's memory a hundred times a second. The kernel lets it only where ptrace is allowed, and
says no more than "permission denied"; the refusal here says what to do.
"""

import asyncio
import contextlib
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from spillway.gateway.problems import Problem
from spillway_wire.outcomes import Outcome

SECONDS: Final = (1, 60)
_RATE_HZ: Final = 100
_GRACE_S: Final = 20.0
"""What py-spy may take beyond the profile itself: finding symbols, writing the file."""
_REFUSED: Final = re.compile(r"permission denied|operation not permitted|EPERM|process_vm_readv", re.IGNORECASE)
_MAX_SAID: Final = 300


class Form(StrEnum):
    """What a profile is written as."""

    SPEEDSCOPE = "speedscope"
    """JSON, for https://www.speedscope.app, which reads it in the browser alone."""
    FLAMEGRAPH = "flamegraph"
    """SVG that a browser shows by itself."""
    RAW = "raw"
    """Stacks with counts, a line each."""


_KINDS: Final = {
    Form.SPEEDSCOPE: ("application/json", ".speedscope.json"),
    Form.FLAMEGRAPH: ("image/svg+xml", ".svg"),
    Form.RAW: ("text/plain; charset=utf-8", ".txt"),
}


@dataclass(frozen=True, slots=True)
class Profile:
    """A file."""

    body: bytes
    content_type: str
    name: str


@dataclass(frozen=True, slots=True)
class Ended:
    """How py-spy ended, and what it said."""

    status: int
    said: str


Run = Callable[[list[str], float], Awaitable[Ended]]


def find_program() -> str | None:
    """Return py-spy: the one that was installed with Spillway, else one on the path."""
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if beside.exists() else shutil.which("py-spy")


class Profiler:
    """Takes one profile at a time."""

    def __init__(self, program: str | None = None, *, run: Run | None = None) -> None:
        self._program = program or find_program()
        self._run = run or run_program
        self._subject = ""
        """Who is being looked at."""

    async def take(self, status: Mapping[str, Any], child: str, seconds: float, form: Form) -> Profile:
        """Profile an engine or gateway. Raises `Problem`."""
        pid, incarnation = find_child(status, child)
        if self._program is None:
            raise Problem(
                Outcome.INTERNAL, "py-spy is not installed: `pip install py-spy`.", code="no_profiler", status=501
            )
        if self._subject:
            raise Problem(
                Outcome.OVERLOADED,
                f"A profile of {self._subject} is being taken: one at a time.",
                code="profile_under_way",
                status=409,
            )
        self._subject = child
        try:
            return await self._take(self._program, f"{child}-{incarnation}", pid, seconds, form)
        finally:
            self._subject = ""

    async def _take(self, program: str, name: str, pid: int, seconds: float, form: Form) -> Profile:
        content_type, suffix = _KINDS[form]
        with tempfile.TemporaryDirectory(prefix="spillway-profile-") as folder:
            file = Path(folder) / f"profile{suffix}"
            command = [
                *(program, "record", "--pid", str(pid), "--duration", str(max(1, round(seconds)))),
                *("--rate", str(_RATE_HZ), "--format", form.value, "--output", str(file), "--threads"),
                "--nonblocking",  # stopping an engine a hundred times a second would look like a slow one
            ]
            ended = await self._run(command, seconds + _GRACE_S)
            body = await asyncio.to_thread(_content, file)
        if ended.status != 0 or not body:
            raise _problem(name, ended)
        return Profile(body, content_type, name + suffix)


def find_child(status: Mapping[str, Any], child: str) -> tuple[int, int]:
    """Return the process id and incarnation of an engine or gateway. Raises `Problem`."""
    children = {str(one["id"]): one for kind in ("engines", "gateways") for one in status.get(kind, ())}
    if child not in children:
        raise Problem(
            Outcome.INVALID,
            f"There is no engine or gateway {child!r}; there are: {', '.join(children) or 'none'}.",
            param="child",
            code="child_not_found",
            status=404,
        )
    found = children[child]
    if found.get("pid") is None:
        state = found.get("state", "gone")
        raise Problem(
            Outcome.INVALID, f"{child} has no process now: it is {state}.", code="child_not_running", status=409
        )
    return int(found["pid"]), int(found.get("incarnation") or 0)


def read_request(query: Mapping[str, str]) -> tuple[float, Form]:
    """Return for how long, and as what. Raises `Problem`."""
    low, high = SECONDS
    try:
        seconds = float(query.get("seconds", "5"))
    except ValueError:
        seconds = -1.0
    if not low <= seconds <= high:
        raise Problem(Outcome.INVALID, f"`seconds` is a number from {low} to {high}.", param="seconds")
    form = query.get("format", Form.SPEEDSCOPE)
    if form not in tuple(Form):
        raise Problem(Outcome.INVALID, f"`format` is one of {', '.join(Form)}.", param="format")
    return seconds, Form(form)


async def run_program(command: list[str], within_s: float) -> Ended:
    """Run py-spy, and end it if it takes too long, or nobody waits for it any more."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(within_s):
            said, _ = await process.communicate()
    except TimeoutError:
        return Ended(-1, f"py-spy did not end within {within_s:g} s")
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            await process.wait()
    return Ended(process.returncode or 0, said.decode(errors="replace"))


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def _problem(name: str, ended: Ended) -> Problem:
    said = " ".join(ended.said.split())[-_MAX_SAID:]
    if _REFUSED.search(ended.said):
        return Problem(
            Outcome.FORBIDDEN,
            "The kernel does not let ops look into other processes. As root: `sysctl kernel.yama.ptrace_scope=0`; in a "
            f"container: start it with `--cap-add SYS_PTRACE`. py-spy said: {said}",
            code="ptrace_forbidden",
        )
    return Problem(
        Outcome.INTERNAL,
        f"There is no profile of {name}: py-spy ended with {ended.status} and said: {said or 'nothing'}",
        code="profile_failed",
    )
