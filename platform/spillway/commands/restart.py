"""Let an engine finish what it has and start anew; or all of them, one after another, with no failed request."""

import argparse
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from spillway.cli import Surroundings
from spillway.commands import instance
from spillway.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser, *, explain: bool) -> None:
    """Add which engines, and where the instance is."""
    parser.add_argument("engine", metavar="ENGINE", nargs="?", help="its id, such as engine-0")
    parser.add_argument("--rolling", action="store_true", help="all engines, each when the one before is ready")
    instance.add_arguments(parser)


def run(given: Mapping[str, Any], around: Surroundings) -> int:
    """Order it; the restart goes on after this returns."""
    if (given["engine"] is None) != given["rolling"]:
        raise UsageError("name one engine, or say --rolling for all of them")
    engine = given["engine"]
    path = "/admin/rolling-restart" if engine is None else f"/admin/engines/{quote(engine, safe='')}/restart"
    with instance.InstanceClient.find(given, around) as client:
        message = client.order(path)
    around.out.write(f"{message or 'restarting'}\n")
    return 0
