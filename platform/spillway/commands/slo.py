"""Objectives: how they stand, the rules for Prometheus, what is wrong with them, and reports.

`rules` and `check` need no running instance; `report` reads what ops keeps in the state folder, also when nothing runs.
"""

import argparse
from collections.abc import Mapping
from typing import Any, Final

from spillway.cli import Surroundings
from spillway.commands import instance, slo_check, slo_report, slo_status

_RUN: Final = {
    "status": slo_status.run,
    "rules": slo_check.write_rules,
    "check": slo_check.check,
    "report": slo_report.run,
}


def add_arguments(parser: argparse.ArgumentParser, *, explain: bool) -> None:
    """Add what can be done, each with arguments of its own."""
    del explain
    orders = parser.add_subparsers(dest="order", metavar="WHAT", required=True)
    status = _order(orders, "status", "show how the objectives of the running instance stand")
    instance.add_arguments(status)
    status.add_argument("--json", action="store_true", help="as `GET /slo` answers")

    rules = _order(orders, "rules", "write the rules for Prometheus, and promtool's tests of them")
    _add_objectives(rules)
    rules.add_argument("--out", metavar="FOLDER", default="slo", help="where to write them. Default: slo")
    rules.add_argument(
        "--scale", metavar="FACTOR", default="1", help="all windows times this, such as 1/60, for drills"
    )

    check = _order(orders, "check", "say what is wrong with objectives; the exit status is 1 if anything is")
    _add_objectives(check)
    check.add_argument("--promtool", action="store_true", help="let promtool check the rules and run their tests, too")

    report = _order(orders, "report", "write a report for a period")
    slo_report.add_arguments(report)


def run(given: Mapping[str, Any], around: Surroundings) -> int:
    """Do it."""
    order: str = given["order"]
    return _RUN[order](given, around)


def _add_objectives(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "objectives",
        metavar="OBJECTIVES",
        nargs="*",
        help="standard, laptop, a file or a folder. Default: those that are shipped",
    )


def _order(orders: Any, name: str, says: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = orders.add_parser(name, help=says, description=says, allow_abbrev=False)
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show the trace of an error")
    return parser
