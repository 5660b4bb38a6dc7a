"""Levels as a table."""

import sys
from collections.abc import Sequence
from typing import Any

from spillway.bench.figures import print_table
from spillway.bench.overload.judging import Fate
from spillway.bench.overload.levels import Level


def print_levels(title: str, levels: Sequence[Level], peak: float | None) -> None:
    """Print a row for each level, the codes of refusals, and what went wrong in words."""
    print_table(title, [_row(level, peak) for level in levels])
    busiest = max(level.generator_cpu for level in levels)
    sys.stdout.write(f"  {levels[0].scheduling}; it took {busiest:.1%} of a core at most\n")
    codes = [
        {"level": level.name, "answer": code, "requests": each.count, "p50 ms": each.p50_ms, "p99 ms": each.p99_ms}
        for level in levels
        for code, each in level.refusals.items()
        if code != "all"
    ]
    if codes:
        print_table("Refusals", codes)
    wrong = [
        {"level": level.name, "times": count, "what": what}
        for level in levels
        for what, count in level.problems.items()
    ]
    if wrong:
        print_table("What went wrong", wrong)


def _row(level: Level, peak: float | None) -> dict[str, Any]:
    refused = level.refusals.get("all")
    fates = {fate.value: level.fates[fate] for fate in Fate if fate not in {Fate.GOOD, Fate.REFUSED}}
    return {
        "level": level.name,
        "asked/s": level.offered,
        "good/s": level.goodput,
        "of peak": "-" if not peak else f"{level.goodput / peak:.1%}",
        "good tok/s": level.good_tokens_per_s,
        "first token p50 s": _or_dash(level.ttft_p50_s),
        "p99 of aim": _or_dash(level.ttft_p99_of_objective),
        "tpot p99 ms": _or_dash(level.tpot_p99_ms),
        **fates,
        "refused": 0 if refused is None else refused.count,
        "in ms p50": "-" if refused is None else refused.p50_ms,
        "p99": "-" if refused is None else refused.p99_ms,
        "told when": "-" if refused is None else f"{refused.with_retry_after / refused.count:.0%}",
        "generator late p99 ms": level.lateness_p99_ms,
    }


def _or_dash(value: float | None) -> float | str:
    return "-" if value is None else value
