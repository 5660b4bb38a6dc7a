"""What costs most points, what to do about it, and which drill will verify that it was done. Pure."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from spillway_chaos.scorecard.credit import Result, Standing


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """One of them."""

    what: str
    points: float
    """That the score would gain."""
    why: str
    do: str
    verified_by: str
    """A drill."""


def ranked(results: Sequence[Result], lost: Mapping[str, float], uncovered: Sequence[str]) -> Iterator[Gap]:
    """Yield gaps, the largest first; faults that no drill makes come last: nobody knows what they are worth."""
    open_ = [result for result in results if lost[result.drill] > 0]
    for result in sorted(open_, key=lambda result: (-lost[result.drill], result.drill)):
        yield Gap(
            what=result.title,
            points=lost[result.drill],
            why=result.reason,
            do=_advice(result),
            verified_by=result.drill,
        )
    for kind in uncovered:
        yield Gap(
            what=f"no drill makes the fault {kind}",
            points=0.0,
            why="nobody knows what happens",
            do=f"write a drill for {kind}: docs/chaos.md, ten lines",
            verified_by=f"a drill with the fault {kind}",
        )


def _advice(result: Result) -> str:
    run = f"spillway chaos run {result.drill}"
    match result.standing:
        case Standing.NEVER:
            return f"{run}; if nothing can be concluded again, mend what it says first"
        case Standing.BROKEN:
            names = ", ".join(result.broken)
            return f"mend what breaks {names} (the journal has what was measured), then {run}"
        case Standing.EXPIRED:
            return f"{run}, and have it run more often: cadence in loop.toml"
        case _ if not result.has_control:
            return "give it a control: that takes a setting, useful to operators, that turns the defence off"
        case _:
            return f"run it with its control: {run}"
