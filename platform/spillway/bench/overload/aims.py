"""What is promised under overload, and which figures are held against it. Pure."""

from collections.abc import Mapping
from typing import Final

from spillway.bench.overload.levels import Level
from spillway.bench.overload.measuring import StepFound
from spillway.bench.overload.promises import Promise

FAR: Final = 4.0
"""Beyond this many times the capacity the aims are lower."""
GOODPUT: Final = (0.95, 0.90)
"""Of the peak: up to `FAR` times, and beyond."""
REFUSAL_MS: Final = (5.0, 20.0)
TTFT_OF_OBJECTIVE: Final = 2.0
SETTLED_S: Final = 2.0
LATENESS_MS: Final = 5.0
"""Of the generator: if it is later, it tells of itself."""


def level_promises(levels: Mapping[float, Level], peak: float) -> list[Promise]:
    """Return the promises of all levels, by times of the capacity."""
    promises: list[Promise] = []
    for times, level in levels.items():
        promises += _of_level(level, peak, is_far=times > FAR)
    late_ms = max(level.lateness_p99_ms for level in levels.values())
    promises.append(
        Promise(
            what="the generator kept its schedule, p99 of the worst level", found=late_ms, aim=LATENESS_MS, unit="ms"
        )
    )
    return promises


def _of_level(level: Level, peak: float, *, is_far: bool) -> list[Promise]:
    what = level.name
    promises = [
        Promise(
            what=f"{what}: goodput of the peak, or of what was asked if that is less",
            found=level.goodput / min(peak, level.offered),
            aim=GOODPUT[is_far],
            unit="%",
            at_least=True,
        ),
        Promise(
            what=f"{what}: first token of what was admitted, p99, of its objective",
            found=level.ttft_p99_of_objective,
            aim=TTFT_OF_OBJECTIVE,
            unit="x",
        ),
        Promise(what=f"{what}: accepted and then failed, or answered wrongly", found=level.failures, aim=0),
    ]
    refused = level.refusals.get("all")
    if refused is not None:
        promises += [
            Promise(what=f"{what}: time to a refusal, p99", found=refused.p99_ms, aim=REFUSAL_MS[is_far], unit="ms"),
            Promise(
                what=f"{what}: refusals that say when to come back, or not to",
                found=refused.with_retry_after / refused.count,
                aim=1.0,
                unit="%",
                at_least=True,
            ),
        ]
    return promises


def step_promises(step: StepFound, peak: float) -> list[Promise]:
    """Return the promises of the step."""
    return [
        Promise(
            what="step 0.5x to 4x: goodput after it, of the peak",
            found=step.after.goodput / peak,
            aim=GOODPUT[0],
            unit="%",
            at_least=True,
        ),
        Promise(what="step 0.5x to 4x: settled after", found=step.settled_s, aim=SETTLED_S, unit="s"),
        Promise(
            what="step 0.5x to 4x: first token of what was admitted, p99, of its objective",
            found=step.after.ttft_p99_of_objective,
            aim=TTFT_OF_OBJECTIVE,
            unit="x",
        ),
    ]
