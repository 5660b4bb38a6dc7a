"""Start the supervisor, engines, gateways and ops, and serve until SIGTERM or Ctrl-C.

Settings come from defaults, then spillway.toml, then SPILLWAY_… variables, then these flags; the later one counts.
When a request sent now would be served, one line `ready api=URL ops=URL` is printed on standard output; all else goes
to standard error. SIGHUP reads settings and certificates again; where standard error is a terminal, it means that the
terminal was closed, and ends everything in good order.
"""

import argparse
import os
import shutil
import time
from collections.abc import Mapping
from typing import Any, Protocol

from spillway.cli import Surroundings
from spillway.commands.progress import Progress, Stage
from spillway.configuration import configure
from spillway.configuration.flags import add_flags
from spillway.settings import Settings
from spillway.state import Instance, StateFolder
from spillway_wire.oplog import CHILD_STATE, OperatorLog, Writable, readable


def add_arguments(parser: argparse.ArgumentParser, *, explain: bool) -> None:
    """Add a flag for every setting."""
    add_flags(parser, explain=explain)


def run(given: Mapping[str, Any], around: Surroundings) -> int:
    """Become the supervisor; return its exit status when everything has ended."""

    def read() -> Settings:
        return configure(given, around.environment, around.folder)

    settings = read()
    state = StateFolder.of(settings.state_dir, around.environment)
    state.create()
    state.admin_key()  # one that cannot be used is better told now than by the ops process
    from spillway.supervisor.detached import DetachedStream  # noqa: PLC0415 - what is wrong is told without loading it
    from spillway.supervisor.main import run as supervise  # noqa: PLC0415 - the same

    width = shutil.get_terminal_size().columns
    with DetachedStream(around.err) as stream:  # nobody who does not read must stop the loop that sees engines die
        shown = Terminal(stream, width, around.environment) if around.err.isatty() else Lines(stream)
        announcer = Announcer(settings, state, around, shown)
        try:
            return supervise(settings, on_ready=announcer.ready, on_progress=shown.moved, log=shown.log, reload=read)
        finally:
            shown.settle()
            state.withdraw(os.getpid())


class Shown(Protocol):
    """How a user is told what goes on, on standard error."""

    def moved(self, place: str, state: str, detail: str) -> None:
        """Show where an engine, a gateway, ops or Redis is."""

    def log(self, event: str, **fields: object) -> None:
        """Show an event."""

    def settle(self) -> None:
        """Everything has started, or is over: what is shown from now on stays. Idempotent."""


class Terminal:
    """For people: processes that start have a line each, which is rewritten; events are lines, in colours."""

    def __init__(self, stream: Writable, width: int, environment: Mapping[str, str]) -> None:
        self._progress = Progress(stream, width=width)
        self._is_settled = False
        self._colours = "NO_COLOR" not in environment

    def moved(self, place: str, state: str, detail: str) -> None:
        """Rewrite its line."""
        self._progress.show(place, Stage.of(state, detail))

    def log(self, event: str, **fields: object) -> None:
        """Write a line above those."""
        if self._is_settled or event != CHILD_STATE:  # until then the child's own line says so
            self._progress.say(readable(time.time(), event, fields, colours=self._colours))

    def settle(self) -> None:
        """Leave what is drawn standing."""
        self._is_settled = True
        self._progress.settle()


class Lines:
    """For programs: each event one line of JSON, and one for each quarter of what a starting process does."""

    def __init__(self, stream: Writable) -> None:
        self.log = OperatorLog(stream)
        self._steps: dict[str, tuple[str, int]] = {}

    def moved(self, place: str, state: str, detail: str) -> None:
        """Write a line if what it does is another thing; that its state is another one is an event by itself."""
        stage = Stage.of(state, detail)
        step = (stage.words, stage.step)
        if stage.doing and self._steps.get(place) != step:
            share = {} if stage.share is None else {"share": stage.share}
            self.log("child_progress", child=place, state=state, doing=stage.doing, **share)
        self._steps[place] = step

    def settle(self) -> None:
        """Nothing: every line stays."""


class Announcer:
    """Tells scripts and the state folder that requests are served."""

    def __init__(self, settings: Settings, state: StateFolder, around: Surroundings, shown: Shown) -> None:
        self._settings, self._state, self._around, self._shown = settings, state, around, shown

    def ready(self, api: str, ops: str) -> None:
        """Say where to send requests: to the state folder first, so that who reads the line can rely on it."""
        self._shown.settle()
        certificate = self._settings.network.tls_certificate
        absolute = None if certificate is None else str(self._around.folder / certificate)
        self._state.announce(Instance(pid=os.getpid(), api=api, ops=ops, tls_certificate=absolute))
        self._around.out.write(f"ready api={api} ops={ops}\n")
        self._around.out.flush()
