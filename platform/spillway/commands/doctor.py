"""Say what is missing on this machine to serve with these settings, and the command that mends it.

The exit status is 1 if something essential is missing. Takes the settings of `spillway serve`.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from spillway.cli import Surroundings
from spillway.commands.instance import InstanceClient
from spillway.configuration import configure
from spillway.configuration.flags import add_flags
from spillway.doctor import Finding, Level, can_serve, examine
from spillway.errors import SpillwayError
from spillway.machine_facts import RunningInstance, gather
from spillway.settings import Settings
from spillway.state import StateFolder

_MARKS: Final = {Level.OK: "ok     ", Level.ADVICE: "advice ", Level.MISSING: "MISSING"}
_HEALTHY: Final = {"status": "healthy"}
_PATIENCE_S: Final = 2.0


def add_arguments(parser: argparse.ArgumentParser, *, explain: bool) -> None:
    """Add a flag for every setting, and how it is shown."""
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    add_flags(parser, explain=explain)


def run(given: Mapping[str, Any], around: Surroundings) -> int:
    """Look, and tell."""
    settings = configure(given, around.environment, around.folder)
    facts = gather(settings, around.environment)
    if facts.port_problems:
        facts = replace(facts, running=_running(settings, given, around))
    findings = examine(facts)
    served = can_serve(findings)
    if given["json"]:
        body = {"can_serve": served, "findings": [asdict(finding) for finding in findings]}
        around.out.write(json.dumps(body, indent=2) + "\n")
    else:
        around.out.write(_text(findings) + "\n")
    return 0 if served else 1


def _running(settings: Settings, given: Mapping[str, Any], around: Surroundings) -> RunningInstance | None:
    """Return the instance that was announced in the state folder, if its ops port answers.

    The admin key is shown to nobody: a stranger may have taken the ports of an instance that was killed.
    """
    announced = StateFolder.of(settings.state_dir, around.environment).instance()
    if announced is None:
        return None
    try:
        with InstanceClient.find(given, around) as client:
            probe = httpx.get(f"{announced.ops}/health", timeout=_PATIENCE_S, verify=client.verify, trust_env=False)
            answer = probe.json()
    except (SpillwayError, httpx.HTTPError, ValueError):
        return None
    if answer != _HEALTHY:
        return None
    ports = {urlsplit(url).port for url in (announced.api, announced.ops)}
    return RunningInstance(pid=announced.pid, ports=frozenset(port for port in ports if port is not None))


def _text(findings: Sequence[Finding]) -> str:
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{_MARKS[finding.level]}  {finding.name:{width}}  {finding.found}")
        if finding.mend:
            lines.append(f"{'':{width + 9}}  → {finding.mend}")
    return "\n".join(lines)
