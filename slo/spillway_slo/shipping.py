"""All that is generated from objectives, as files: rules for Prometheus, their tests, and the table of the docs."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path, PurePosixPath

from spillway_slo import promtests, rules
from spillway_slo.objective import Objective
from spillway_slo.table import table

RULES, TESTS = PurePosixPath("rules"), PurePosixPath("promtests")


def files_of(objectives: Iterable[Objective], profile: str, scale: Fraction = rules.UNSCALED) -> dict[str, str]:
    """Return the files by path: one of rules and two of tests for each objective. Scaled rules have no tests."""
    found: dict[str, str] = {}
    objectives = list(objectives)
    for objective in objectives:
        name = f"{objective.name}.yaml"
        found[str(RULES / profile / name)] = rules.document([objective], scale)
        if scale == rules.UNSCALED:
            above = PurePosixPath("..", "..", RULES, profile, name)
            for severity, text in promtests.documents(objective, str(above)).items():
                found[str(TESTS / profile / f"{objective.name}.{severity}.yaml")] = text
    found[str(RULES / profile / "README.md")] = _readme(objectives, profile)
    return found


def _readme(objectives: list[Objective], profile: str) -> str:
    return (
        f"# Objectives: {profile}\n\nWritten by `spillway slo rules`, as are the rules beside it. "
        f"Prometheus loads them with `rule_files: [rules/{profile}/*.yaml]`.\n\n{table(objectives)}"
    )


def write(files: dict[str, str], folder: Path) -> list[Path]:
    """Write them below `folder`; return those that were not so before. What is left over of others is removed."""
    changed = []
    for name, text in files.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    for parent in {(folder / name).parent for name in files}:
        for path in parent.glob("*.yaml"):
            if str(PurePosixPath(path.relative_to(folder))) not in files:
                path.unlink()
                changed.append(path)
    return changed
