"""Let an engine finish what it has, then keep it stopped; new requests go to the others at once."""

import argparse
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from spillway.cli import Surroundings
from spillway.commands import instance


def add_arguments(parser: argparse.ArgumentParser, *, explain: bool) -> None:
    """Add which engine, and where the instance is."""
    parser.add_argument("engine", metavar="ENGINE", help="its id, such as engine-0")
    instance.add_arguments(parser)


def run(given: Mapping[str, Any], around: Surroundings) -> int:
    """Order it; the engine goes on draining after this returns."""
    with instance.InstanceClient.find(given, around) as client:
        message = client.order(f"/admin/engines/{quote(given['engine'], safe='')}/drain")
    around.out.write(f"{message or 'draining'}\n")
    return 0
