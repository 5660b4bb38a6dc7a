"""`spillway slo status`: how objectives stand, at a terminal."""

import json
from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from spillway.cli import Surroundings
from spillway.commands.instance import InstanceClient

_WIDE: Final = 160


def run(given: Mapping[str, Any], around: Surroundings) -> int:
    """Ask, and show."""
    with InstanceClient.find(given, around) as client:
        said = client.objectives()
    if given["json"]:
        around.out.write(json.dumps(said, indent=2) + "\n")
        return 0
    console = Console(file=around.out)
    if not console.is_terminal:
        console.width = _WIDE  # whoever reads it later has room
    table = Table("objective", "target", "attained", "budget left", "burn 5m", "burn 1h", "burn 6h", "alerts", box=None)
    for objective in said["objectives"]:
        if objective["total"]:
            table.add_row(*_row(objective))
    console.print(f"profile {said['profile']}, windows x {said['time_scale']}; what nobody asked for is not shown")
    console.print(table)
    return 0


def _row(objective: Mapping[str, Any]) -> tuple[str | Text, ...]:
    firing = [alert["name"] for alert in objective["alerts"] if alert["state"] == "firing"]
    left = objective["budget_left"]
    return (
        objective["name"],
        f"{objective['target']:.4%}",
        "-" if objective["attained"] is None else f"{objective['attained']:.4%}",
        Text(f"{left:.1%}", "green" if left > 0.5 else "yellow" if left > 0 else "bold red"),
        *(_rate(objective["burn"][window]) for window in ("5m", "1h", "6h")),
        Text(", ".join(firing) or "none", "bold red" if firing else ""),
    )


def _rate(burn: float | None) -> str:
    return "-" if burn is None else f"{burn:.2f}"
