"""What a run comes to, and what it tells whoever started it: 0 says that everything was shown."""

from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import Final

import msgspec

from spillway_chaos.judging.findings import Finding


class Verdict(StrEnum):
    """Of one run."""

    PASSED = "passed"
    """Everything that was expected holds."""
    FAILED = "failed"
    """Something does not: a promise was broken."""
    INVALID = "invalid"
    """Nothing can be concluded: no steady state before, a fault that did not take hold, a generator that lagged."""
    ABORTED = "aborted"


class ControlVerdict(StrEnum):
    """Of a negative control."""

    RED = "red"
    """It failed, for the reason that was named: the drill can see what it looks for."""
    BLIND = "blind"
    """It passed, or failed for another reason: what the drill says of the defence is worth nothing."""
    INVALID = "invalid"


EXIT_PASSED: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INVALID: Final = 3
EXIT_BLIND: Final = 4


def verdict_of(findings: Collection[Finding], problem: str, *, aborted: bool) -> Verdict:
    """Return the verdict. `problem`: why nothing can be concluded; a run without findings concludes nothing, either."""
    if aborted:
        return Verdict.ABORTED
    if problem or not findings:
        return Verdict.INVALID
    return Verdict.PASSED if all(finding.holds for finding in findings) else Verdict.FAILED


def control_verdict_of(verdict: Verdict, findings: Iterable[Finding], breaks: Collection[str]) -> ControlVerdict:
    """Return what the run with the defence turned off says of the drill.

    An abort is what the abort rule is for: with the defence off it may well come to that, and it is as red as can be.
    """
    broken = {finding.name for finding in findings if not finding.holds}
    if verdict is Verdict.ABORTED or (verdict is Verdict.FAILED and broken & set(breaks) == set(breaks)):
        return ControlVerdict.RED
    return ControlVerdict.INVALID if verdict is Verdict.INVALID else ControlVerdict.BLIND


class Told(msgspec.Struct, frozen=True):
    """What counts for the exit status."""

    verdicts: tuple[Verdict, ...]
    controls: tuple[ControlVerdict, ...]


def exit_status(told: Told) -> int:
    """Return the status of a whole call; what is worse about the promise goes first."""
    if Verdict.FAILED in told.verdicts:
        return EXIT_FAILED
    if {Verdict.INVALID, Verdict.ABORTED} & set(told.verdicts) or ControlVerdict.INVALID in told.controls:
        return EXIT_INVALID
    if ControlVerdict.BLIND in told.controls:
        return EXIT_BLIND
    return EXIT_PASSED if told.verdicts else EXIT_INVALID
