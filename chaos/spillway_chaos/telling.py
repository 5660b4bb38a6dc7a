"""What a person reads while drills run, and at their end."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from spillway_chaos.drill import Drill
from spillway_chaos.journal import Journal
from spillway_chaos.judging.statistics import Spread, spread, wilson
from spillway_chaos.judging.verdict import ControlVerdict, Verdict

_MARKS = {
    Verdict.PASSED: "held",
    Verdict.FAILED: "BROKEN",
    Verdict.INVALID: "NOT SHOWN",
    Verdict.ABORTED: "ABORTED",
}
_CONTROL_MARKS = {
    ControlVerdict.RED: "control red, as it should be",
    ControlVerdict.BLIND: "CONTROL GREEN: this drill is blind",
    ControlVerdict.INVALID: "CONTROL NOT SHOWN",
}


class Live:
    """One run, on standard error while it goes; its result on standard output."""

    def __init__(self, drill: Drill, *, seed: int, control: bool, quiet: bool) -> None:
        self._drill, self._control, self._quiet = drill, control, quiet
        self._begun = time.monotonic()
        if not quiet:
            terms = drill.terms
            off = f", without {terms.control.turns_off}" if control and terms.control else ""
            sys.stderr.write(f"{drill.name}, seed {seed}{off}\n")

    def say(self, line: str) -> None:
        """Tell where it stands."""
        if not self._quiet:
            sys.stderr.write(f"  {time.monotonic() - self._begun:5.1f} s  {line}\n")
            sys.stderr.flush()

    def end(self, found: Journal, path: Path) -> None:
        """Tell how it ended."""
        sys.stdout.write(result(found))
        if not self._quiet:
            sys.stdout.write(f"  {path}\n")
        sys.stdout.flush()


def mark(found: Journal) -> str:
    """Return how a run ended, in words."""
    return _MARKS[found.verdict] if found.control_verdict is None else _CONTROL_MARKS[found.control_verdict]


def result(found: Journal) -> str:
    """Return a run's result, with all that is broken; a run that held says what was measured, too."""
    lines = [f"{found.drill}{' (control)' if found.is_control else ''}: {mark(found)}, {found.seconds:.0f} s"]
    if found.problem:
        lines.append(f"  {found.problem}")
    for finding in found.findings:
        sign = "ok " if finding.holds else "NOT"
        lines.append(f"  {sign} {finding.name:10}{finding.measured}  (wanted: {finding.wanted})")
    return "\n".join(lines) + "\n"


def summary(kept: Sequence[Journal]) -> str:
    """Return a line for each drill."""
    lines = ["", f"{'drill':22}{'result':38}{'seen':>9}{'whole':>9}{'goodput':>9}"]
    for name in dict.fromkeys(each.drill for each in kept):
        runs = [each for each in kept if each.drill == name and not each.is_control]
        controls = [each for each in kept if each.drill == name and each.is_control]
        lines += [_line(each) for each in (*runs, *controls)]
        if len(runs) > 1:
            lines.append(_repeated(runs))
    seconds = sum(each.seconds for each in kept)
    held = sum(each.verdict is Verdict.PASSED for each in kept if not each.is_control)
    of = sum(not each.is_control for each in kept)
    red = sum(each.control_verdict is ControlVerdict.RED for each in kept)
    controlled = sum(each.is_control for each in kept)
    lines.append(f"\n{held} of {of} runs held, {red} of {controlled} controls red, {seconds / 60:.1f} minutes")
    return "\n".join(lines) + "\n"


def _line(each: Journal) -> str:
    ratio = each.goodput.get("ratio")
    cells = (_seconds(each.detection_s), _seconds(each.recovery_s), "-" if ratio is None else f"{ratio:.0%}")
    name = "" if each.is_control else each.drill
    return f"{name:22}{mark(each):38}" + "".join(f"{cell:>9}" for cell in cells)


def _repeated(runs: Sequence[Journal]) -> str:
    held = sum(each.verdict is Verdict.PASSED for each in runs)
    low, high = wilson(held, len(runs))
    times = spread([each.recovery_s for each in runs])
    return f"{'':22}held {held} of {len(runs)} ({low:.0%} to {high:.0%}); whole again {_spread(times)}"


def _spread(times: Spread) -> str:
    low, high = times.p50_interval
    return (
        f"after {_seconds(times.p50)} at the median ({_seconds(low)} to {_seconds(high)}), "
        f"{_seconds(times.p99)} at p99, {_seconds(times.longest)} at most"
    )


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1e3:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
