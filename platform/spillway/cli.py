"""The `spillway` command: finds the subcommand, and turns every error into one line that says what to do.

A subcommand is a module with a docstring, `add_arguments(parser, *, explain)` and `run(given, surroundings) -> int`.
Only the chosen one is imported: `spillway serve` becomes the supervisor and must stay small. Packages that build on
the platform add theirs as entry points of the group `spillway.commands`: callables that take the arguments after the
subcommand and return an exit status.

Exit statuses: 0 done (of `serve`: drained), 1 it could not be done, 2 the command or a setting is wrong.
"""

import argparse
import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol, TextIO, cast

from spillway.configuration import did_you_mean
from spillway.errors import SpillwayError, UsageError

COMMANDS: Final = {
    "serve": "start the supervisor, engines, gateways and ops, and serve until told to stop",
    "status": "show engines, gateways and requests of the running instance",
    "drain": "let an engine finish what it has, then keep it stopped",
    "restart": "let an engine, or one after another all, finish and start anew",
    "tenants": "make, limit and revoke tenants and their keys; show what they use",
    "slo": "objectives: how they stand, rules for Prometheus, checks, reports",
    "doctor": "say what is missing on this machine, and the command that mends it",
    "version": "print versions",
}
ADDED: Final = {
    "bench": "measure engines and gateways, and see what is left of promises when engines die",
    "chaos": "run drills: break something on purpose and see that the promise holds",
    "load": "run load campaigns",
}
"""Names that are kept for packages of this project, and what each says of itself where it is installed."""
_GROUP: Final = "spillway.commands"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a command may touch besides its arguments; tests pass their own."""

    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    folder: Path = field(default_factory=Path.cwd)
    out: TextIO = field(default_factory=lambda: sys.stdout)
    err: TextIO = field(default_factory=lambda: sys.stderr)


class Command(Protocol):
    """A module of `spillway.commands`."""

    __doc__: str | None

    def add_arguments(self, parser: argparse.ArgumentParser, *, explain: bool) -> None:
        """Add flags; `explain` says whether somebody will read their help."""

    def run(self, given: Mapping[str, Any], around: Surroundings) -> int:
        """Do it and return the exit status."""


class Parser(argparse.ArgumentParser):
    """Raises `UsageError` where argparse would print usage and exit."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line."""
        raise UsageError(f"{message}; see {self.prog} --help")

    def knows(self, flag: str) -> bool:
        """Whether there is such a flag."""
        return flag in self._option_string_actions

    def parse(self, arguments: Sequence[str]) -> dict[str, Any]:
        """Return what was given, by destination; a flag that does not exist is told with one that is like it."""
        namespace, unknown = self.parse_known_args(arguments)
        if unknown:
            word = unknown[0].partition("=")[0]
            hint = did_you_mean(word, self._option_string_actions) if word.startswith("-") else ""
            if self.knows("--engine-option") and word.startswith("--"):
                hint += f"; an engine's own settings are written --engine-option {word[2:].replace('-', '_')}=VALUE"
            raise UsageError(f"{word} is no argument of {self.prog}{hint}")
        return vars(namespace)


def main(arguments: Sequence[str] | None = None, around: Surroundings | None = None) -> int:
    """Run the command line and return its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    around = around or Surroundings()
    try:
        return _run(words, around)
    except SystemExit as ended:  # argparse, after --help
        return ended.code if isinstance(ended.code, int) else 1
    except SpillwayError as error:
        if _debug(words, around):
            raise
        _say(around.err, f"spillway: {error}")
        return error.exit_status
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:  # the reader of a table has seen enough
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), around.out.fileno())  # or the exit would fail to flush
        return 128 + signal.SIGPIPE
    except Exception as error:  # the last place: nobody should have to read a trace who did not ask for it
        if _debug(words, around):
            raise
        _say(around.err, f"spillway: {type(error).__name__}: {error}; run it again with --debug to see where")
        return 1


def _debug(words: Sequence[str], around: Surroundings) -> bool:
    return "--debug" in words or around.environment.get("SPILLWAY_DEBUG", "").lower() in {"1", "true", "yes", "on"}


def _say(stream: TextIO, line: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody listens any more
        stream.write(" ".join(line.splitlines()) + "\n")
        stream.flush()


def _run(words: list[str], around: Surroundings) -> int:
    if not words or words[0] in {"-h", "--help", "help"}:
        around.out.write(_overview())
        return 0 if words else UsageError.exit_status
    name, *rest = words
    if name in {"--version", "-V"}:
        name = "version"
    if name not in COMMANDS:
        return _run_added(name, rest)
    command = cast("Command", importlib.import_module(f"spillway.commands.{name}"))
    # Without abbreviations: a flag added later must not change what a script means.
    parser = Parser(
        prog=f"spillway {name}",
        description=command.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_arguments(parser, explain=bool({"-h", "--help"} & set(rest)))
    if not parser.knows("--debug"):
        parser.add_argument("--debug", action="store_true", help="show the trace of an error")
    return command.run(parser.parse(rest), around)


def _run_added(name: str, rest: list[str]) -> int:
    from importlib.metadata import entry_points  # noqa: PLC0415 - slow, and only needed here

    for entry in entry_points(group=_GROUP, name=name):
        status: int = entry.load()(rest)
        return status
    known = [*COMMANDS, *(entry.name for entry in entry_points(group=_GROUP))]
    if name in ADDED:
        raise UsageError(f"the command {name!r} is not part of this version; there are: {', '.join(known)}")
    raise UsageError(f"{name!r} is no command{did_you_mean(name, known) or '; there are: ' + ', '.join(known)}")


def _overview() -> str:
    from importlib.metadata import entry_points  # noqa: PLC0415 - slow, and only needed here

    added = {entry.name: ADDED.get(entry.name, f"of {entry.module}") for entry in entry_points(group=_GROUP)}
    lines = [f"  {name:10}{says}" for name, says in (added | COMMANDS).items()]
    head = "usage: spillway COMMAND [arguments]      spillway COMMAND --help explains them"
    return "\n".join([head, "", *lines, ""])
