"""Show engines, gateways and requests of the running instance; on a terminal again each second, until Ctrl-C."""

import argparse
import json
import time
from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console
from rich.live import Live

from spillway.cli import Surroundings
from spillway.commands import instance
from spillway.commands.table import render

_EVERY_S: Final = 1.0
_WIDTH: Final = 120
"""Columns where there is no terminal."""


def add_arguments(parser: argparse.ArgumentParser, *, explain: bool) -> None:
    """Add how it is shown, and where the instance is."""
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print what GET /admin/pool answers, and end")
    how.add_argument("--once", action="store_true", help="show it once, and end")
    instance.add_arguments(parser)


def run(given: Mapping[str, Any], around: Surroundings) -> int:
    """Show it."""
    with instance.InstanceClient.find(given, around) as client:
        status = client.pool()
        if given["json"]:
            around.out.write(json.dumps(status, indent=2) + "\n")
            return 0
        console = Console(file=around.out)
        if not console.is_terminal:
            console.width = _WIDTH
        if given["once"] or not console.is_terminal:
            console.print(render(status, client.url))
            return 0
        with Live(render(status, client.url), console=console, auto_refresh=False) as live:
            try:
                while True:
                    time.sleep(_EVERY_S)
                    live.update(render(client.pool(), client.url), refresh=True)
            except KeyboardInterrupt:
                return 0
