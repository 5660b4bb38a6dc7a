"""Doing it: each step as a command, its output in a file, and one report over all."""

import datetime as dt
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

import msgspec

from spillway_chaos import journal
from spillway_chaos.errors import StageError
from spillway_chaos.pages import render
from spillway_chaos.pipeline.steps import PipelineStep
from spillway_chaos.pipeline.target import TargetPlatform

_TAIL: Final = 20
_GRACE_S: Final = 30.0
Status = Literal["passed", "failed", "left out"]


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """One step, done."""

    name: str
    about: str
    status: Status
    exit: int | None
    seconds: float
    log: str
    tail: tuple[str, ...]
    """Last lines of what it said."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    started: str
    seconds: float
    passed: bool
    url: str | None
    steps: tuple[Done, ...]
    environment: journal.Environment


def run(steps: Sequence[PipelineStep], out: Path, url: str | None) -> Report:
    """Do all, whatever fails on the way, but for what comes after it; write `report.json` and `report.html`."""
    out.mkdir(parents=True, exist_ok=True)
    started, begun, machine = time.time(), time.monotonic(), journal.environment()
    done: list[Done] = []
    with TargetPlatform(url) as target:
        for step in steps:
            failed = [name for name in step.after if any(d.name == name and d.status != "passed" for d in done)]
            done.append(_left_out(step, failed) if failed else _do(step, out, target))
            last = done[-1]
            sys.stdout.write(f"{last.status:9} {last.name:14}{last.seconds:7.1f} s  {step.about}\n")
            sys.stdout.flush()
    report = Report(
        started=journal.iso(started),
        seconds=round(time.monotonic() - begun, 1),
        passed=all(each.status == "passed" for each in done),
        url=url,
        steps=tuple(done),
        environment=machine,
    )
    (out / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    page = render("pipeline.html.j2", report=report, now=dt.datetime.now(dt.UTC))
    (out / "report.html").write_text(page, encoding="utf-8")
    return report


def _left_out(step: PipelineStep, failed: Sequence[str]) -> Done:
    tail = (f"left out, since {', '.join(failed)} did not pass",)
    return Done(name=step.name, about=step.about, status="left out", exit=None, seconds=0.0, log="", tail=tail)


def _do(step: PipelineStep, out: Path, target: TargetPlatform) -> Done:
    begun, log = time.monotonic(), out / f"{step.name}.log"
    try:
        words = {"python": sys.executable, "out": str(out), "url": target.url() if step.needs_platform else ""}
        status = _carry_out([word.format(**words) for word in step.command], log, step.timeout_s)
    except StageError as error:
        log.write_text(f"{error}\n", encoding="utf-8")
        status = error.exit_status
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return Done(
        name=step.name,
        about=step.about,
        status="passed" if status == 0 else "failed",
        exit=status,
        seconds=round(time.monotonic() - begun, 1),
        log=log.name,
        tail=tuple(lines[-_TAIL:]),
    )


def _carry_out(command: Sequence[str], log: Path, timeout_s: float) -> int:
    with log.open("w", encoding="utf-8") as lines:
        process = subprocess.Popen(  # noqa: S603 - the steps of the user's own file
            command, stdout=lines, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
        )
        try:
            return process.wait(timeout_s)
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_GRACE_S)
                    break
            if isinstance(error, KeyboardInterrupt):
                raise
            lines.write(f"\nended after {timeout_s:g} s\n")
            return 124
