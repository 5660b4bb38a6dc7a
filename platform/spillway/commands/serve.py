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
from typing import Any

from spillway.cli import Surroundings
from spillway.commands.progress import Progress, Stage, event_line
from spillway.configuration import configure
from spillway.configuration.flags import add_flags
from spillway.settings import Settings
from spillway.state import Instance, StateFolder


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
        progress = Progress(stream, is_terminal=around.err.isatty(), now=_now, width=width)
        announcer = Announcer(settings, state, around, progress)
        try:
            return supervise(
                settings, on_ready=announcer.ready, on_progress=announcer.moved, log=announcer.log, reload=read
            )
        finally:
            progress.settle()
            state.withdraw(os.getpid())


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class Announcer:
    """Tells people, scripts and the state folder what the supervisor reports."""

    def __init__(self, settings: Settings, state: StateFolder, around: Surroundings, progress: Progress) -> None:
        self._settings, self._state, self._around, self._progress = settings, state, around, progress

    def moved(self, place: str, state: str, detail: str) -> None:
        """Show where an engine, a gateway, ops or Redis is."""
        self._progress.show(place, Stage.of(state, detail))

    def log(self, event: str, **fields: object) -> None:
        """Show an event."""
        self._progress.say(event_line(event, fields))

    def ready(self, api: str, ops: str) -> None:
        """Say where to send requests: to the state folder first, so that who reads the line can rely on it."""
        self._progress.settle()
        certificate = self._settings.network.tls_certificate
        absolute = None if certificate is None else str(self._around.folder / certificate)
        self._state.announce(Instance(pid=os.getpid(), api=api, ops=ops, tls_certificate=absolute))
        self._around.out.write(f"ready api={api} ops={ops}\n")
        self._around.out.flush()
