"""`spillway slo rules` and `spillway slo check`."""

import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from spillway.cli import Surroundings
from spillway.errors import ConfigurationError, SpillwayError, UsageError
from spillway_slo import shipping
from spillway_slo.errors import SpecError
from spillway_slo.lint import lint
from spillway_slo.loading import PROFILES, load
from spillway_slo.objective import Objective


def write_rules(given: Mapping[str, Any], around: Surroundings) -> int:
    """Write the rules, their tests and a table."""
    scale = _scale(given["scale"])
    folder = around.folder / given["out"]
    for name, objectives in _chosen(given["objectives"], around.folder):
        files = shipping.files_of(objectives, name, scale)
        try:
            changed = shipping.write(files, folder)
        except OSError as error:
            raise SpillwayError(f"{folder} cannot be written ({error.strerror}); say --out FOLDER") from None
        around.out.write(f"{name}: {len(objectives)} objectives, {len(files)} files, {len(changed)} of them changed\n")
    return 0


def check(given: Mapping[str, Any], around: Surroundings) -> int:
    """Lint, and let promtool look."""
    is_good = True
    for name, objectives in _chosen(given["objectives"], around.folder):
        findings = list(dict.fromkeys(str(finding) for finding in lint(objectives)))
        errors = sum(finding.is_error for finding in lint(objectives))
        for line in findings:
            around.out.write(line + "\n")
        around.out.write(f"{name}: {len(objectives)} objectives, {errors} errors\n")
        is_good &= not errors
        if given["promtool"]:
            is_good &= _promtool(objectives, around)
    return 0 if is_good else 1


def _chosen(words: Sequence[str], folder: Path) -> list[tuple[str, tuple[Objective, ...]]]:
    found = []
    for word in words or PROFILES:
        try:
            objectives = load(word if word in PROFILES else folder / word)
        except SpecError as error:
            raise ConfigurationError(str(error)) from None
        found.append((word if word in PROFILES else Path(word).stem, objectives))
    return found


def _scale(text: str) -> Fraction:
    try:
        scale = Fraction(text)
    except (ValueError, ZeroDivisionError):
        scale = Fraction(0)
    if not Fraction(1, 10_000) <= scale <= 1:
        raise UsageError(f"--scale is {text!r}; it must be a number from 0.0001 to 1, such as 1/60")
    return scale


def _promtool(objectives: Sequence[Objective], around: Surroundings) -> bool:
    promtool = shutil.which("promtool")
    if promtool is None:
        raise SpillwayError("there is no promtool on the path; install Prometheus (apt-get install prometheus)")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = shipping.write(shipping.files_of(objectives, "checked"), folder)
        rules = [str(file) for file in files if file.parts[-3] == "rules" and file.suffix == ".yaml"]
        tests = [str(file) for file in files if file.parts[-3] == "promtests"]
        for what, subjects in (("check", rules), ("test", tests)):
            command = [promtool, what, "rules", *subjects]
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own files
            around.out.write(f"promtool {what} rules: {'passed' if done.returncode == 0 else 'failed'}\n")
            if done.returncode:
                around.out.write(done.stdout + done.stderr)
                return False
    return True
