"""The command line of an engine process: every engine setting as a flag, and where and as what it serves."""

import argparse
import types
import typing
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from enum import EnumType
from pathlib import Path
from typing import Any, NoReturn

from spillway_engine.errors import SettingsError
from spillway_engine.settings import EngineSettings
from spillway_wire.address import Address, AddressError, parse_address


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSettings:
    """Where and as what an engine process serves."""

    address: Address
    engine_id: str
    incarnation: int
    page: Path | None
    """A progress page that the starter of this process has made; None: one that nobody reads."""
    chaos: bool
    parent_pid: int | None
    series: Path | None = None
    """A page for its metrics that the starter has made; None: one that nobody reads."""
    arm: str | None = None
    """Faults that are there from the first step on, as `FAULT:VALUE,…`; only with `chaos`."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingsError(message)


def flag_of(key: str) -> str:
    """Return the flag of a setting: `max_num_seqs` is `--max-num-seqs`."""
    return "--" + key.replace("_", "-")


def to_flags(settings: EngineSettings) -> list[str]:
    """Return the flags that give `settings`: what differs from the defaults."""
    flags: list[str] = []
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.default is not MISSING and value == field.default:
            continue
        if isinstance(value, bool):
            flags.append(flag_of(field.name) if value else "--no-" + flag_of(field.name)[2:])
        else:
            flags += [flag_of(field.name), str(value)]
    return flags


def parse_flags(arguments: Sequence[str]) -> tuple[EngineSettings, ProcessSettings]:
    """Read a command line, or raise `SettingsError` that names the flag, what was given and what is allowed."""
    parser = _Parser(prog="python -m spillway_engine", description=__doc__, allow_abbrev=False)
    parser.add_argument("--address", required=True, metavar="unix:PATH|tcp:HOST:PORT")
    parser.add_argument("--engine-id", default="engine-0", metavar="ID")
    parser.add_argument("--incarnation", type=_whole, default=1, metavar="N")
    parser.add_argument("--page", type=Path, metavar="PATH", help="progress page made by the starter of this process")
    parser.add_argument("--series", type=Path, metavar="PATH", help="page of metrics made by the starter, too")
    parser.add_argument("--chaos", action="store_true", help="obey orders to inject faults")
    parser.add_argument("--arm", metavar="FAULT[:VALUE],…", help="faults from the first step on; only with --chaos")
    parser.add_argument(
        "--parent-pid", type=_whole, metavar="PID", help="die with this process, which started this one"
    )
    hints = typing.get_type_hints(EngineSettings)
    for field in fields(EngineSettings):
        required = field.default is MISSING
        _add(parser, field.name, hints[field.name], None if required else field.default, required=required)
    given = vars(parser.parse_args(arguments))
    settings_keys = EngineSettings.keys()
    settings = EngineSettings(**{key: given[key] for key in settings_keys})
    try:
        address = parse_address(given["address"])
    except AddressError as error:
        raise SettingsError(f"--address: {error}") from None
    if given["arm"] is not None and not given["chaos"]:
        raise SettingsError("--arm is given without --chaos; faults need both")
    process = ProcessSettings(
        address=address,
        engine_id=given["engine_id"],
        incarnation=given["incarnation"],
        page=given["page"],
        series=given["series"],
        chaos=given["chaos"],
        arm=given["arm"],
        parent_pid=given["parent_pid"],
    )
    return settings, process


def _add(parser: argparse.ArgumentParser, key: str, hint: Any, default: object, *, required: bool) -> None:
    if hint is bool:
        parser.add_argument(flag_of(key), action=argparse.BooleanOptionalAction, default=default)
        return
    if isinstance(hint, types.UnionType):  # X | None
        (hint,) = (choice for choice in typing.get_args(hint) if choice is not types.NoneType)
    if isinstance(hint, EnumType):
        read: Any = _member_of(hint)
    else:
        read = {str: str, int: _whole, float: _number}[hint]
    parser.add_argument(flag_of(key), type=read, default=default, required=required, metavar=key.upper())


def _member_of(enum: EnumType) -> typing.Callable[[str], object]:
    def read(text: str) -> object:
        try:
            return enum(text)
        except ValueError:
            allowed = ", ".join(str(member.value) for member in enum)  # type: ignore[var-annotated]
            raise argparse.ArgumentTypeError(f"{text!r} is not allowed; allowed: {allowed}") from None

    return read


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
