"""The flags of every setting, for argparse; it leaves what was given under the flags' own names, as text."""

import argparse

from spillway.configuration.keys import Key, documentation, every_key
from spillway.configuration.models import ENGINE_OPTION, MODEL, MODEL_OPTION


def add_flags(parser: argparse.ArgumentParser, *, explain: bool) -> None:
    """Add a flag for every setting; `explain` them from their source, which takes a moment, if help was asked for."""
    said = documentation() if explain else {}
    parser.add_argument(
        "--config",
        dest="--config",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="Read this file. Default: spillway.toml in the working folder, if it is there.",
    )
    for repeated in (MODEL, MODEL_OPTION, ENGINE_OPTION):
        parser.add_argument(
            repeated.flag,
            dest=repeated.flag,
            action="append",
            metavar=repeated.metavar,
            default=argparse.SUPPRESS,
            help=f"{repeated.help} May be repeated. [{repeated.variable}]",
        )
    for key in every_key():
        _add(parser, key, said.get(key.in_file, ""))


def _add(parser: argparse.ArgumentParser, key: Key, said: str) -> None:
    default = "chosen at start" if key.default is None else key.kind.to_text(key.default)
    described = f"{said} Allowed: {key.kind.allowed}. Default: {default or 'none'}. [{key.variable}]"
    text = described.strip().replace("%", "%%")
    if key.is_switch:
        parser.add_argument(
            key.flag, dest=key.flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text
        )
    else:
        parser.add_argument(key.flag, dest=key.flag, metavar=key.name.upper(), default=argparse.SUPPRESS, help=text)
