"""`python -m spillway.bench.simulation [--plots FOLDER]`: plays the scenarios, prints what they come to, draws them."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from spillway.bench.simulation import scenarios
from spillway.bench.simulation.figures import Figures, figures
from spillway.bench.simulation.gallery import gallery
from spillway.bench.simulation.world import simulate

HEAD = f"{'scenario':24}{'asked':>7}{'in':>7}{'good':>7}{'good/s':>8}{'p50':>7}{'p99':>7}  refused for"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m spillway.bench.simulation", description=__doc__)
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="write SVG plots there")
    options = parser.parse_args(arguments)
    if options.plots is not None:
        options.plots.mkdir(parents=True, exist_ok=True)
        for name, text in gallery().items():
            (options.plots / name).write_text(text, encoding="utf-8")
        return 0
    named = {f"{times:g} times": scenarios.level(times) for times in (0.8, 1.0, 2.0, 4.0, 10.0)}
    named |= {f"three gateways, {times:g}": scenarios.level(times, gateways=3) for times in (1.0, 4.0, 10.0)}
    named |= {
        "an engine lost": scenarios.outage(),
        "priorities": scenarios.priorities(),
        "fairness": scenarios.fairness(),
        "burst, obeyed": scenarios.returns(),
        "burst, not obeyed": scenarios.returns(obeys=False),
        "two speeds": scenarios.mixed_speeds(),
        "longer answers": scenarios.longer_answers(),
    }
    lines = [HEAD, *(_line(name, figures(simulate(each), scenarios.WARM_S)) for name, each in named.items()), ""]
    sys.stdout.write("\n".join(lines))
    return 0


def _line(name: str, found: Figures) -> str:
    reasons = ", ".join(f"{reason} {number}" for reason, number in found.reasons.items()) or "-"
    return (
        f"{name:24}{found.asked:7}{found.admitted:7}{found.good:7}{found.goodput_per_s:8.2f}"
        f"{found.p50_ttft_s:7.2f}{found.p99_ttft_s:7.2f}  {reasons}"
    )
