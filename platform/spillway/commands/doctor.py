"""Say what is missing on this machine to serve with these settings, and the command that mends it.

The exit status is 1 if something essential is missing. Takes the settings of `spillway serve`.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from spillway.cli import Surroundings
from spillway.configuration import configure
from spillway.configuration.flags import add_flags
from spillway.doctor import Finding, Level, can_serve, examine
from spillway.machine_facts import gather

_MARKS: Final = {Level.OK: "ok     ", Level.ADVICE: "advice ", Level.MISSING: "MISSING"}


def add_arguments(parser: argparse.ArgumentParser, *, explain: bool) -> None:
    """Add a flag for every setting, and how it is shown."""
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    add_flags(parser, explain=explain)


def run(given: Mapping[str, Any], around: Surroundings) -> int:
    """Look, and tell."""
    settings = configure(given, around.environment, around.folder)
    findings = examine(gather(settings, around.environment))
    served = can_serve(findings)
    if given["json"]:
        body = {"can_serve": served, "findings": [asdict(finding) for finding in findings]}
        around.out.write(json.dumps(body, indent=2) + "\n")
    else:
        around.out.write(_text(findings) + "\n")
    return 0 if served else 1


def _text(findings: Sequence[Finding]) -> str:
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{_MARKS[finding.level]}  {finding.name:{width}}  {finding.found}")
        if finding.mend:
            lines.append(f"{'':{width + 9}}  → {finding.mend}")
    return "\n".join(lines)
