"""Promises with the aim beside the figure. Pure."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from spillway.bench.figures import print_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """One figure that must be at least, or at most, its aim."""

    what: str
    found: float | None
    """None: it could not be measured, which is no success."""
    aim: float
    unit: str = ""
    at_least: bool = False
    """Else at most."""

    @property
    def held(self) -> bool:
        """Whether it was kept."""
        if self.found is None:
            return False
        return self.found >= self.aim if self.at_least else self.found <= self.aim

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        sign = ">=" if self.at_least else "<="
        return {
            "promise": self.what,
            "aim": f"{sign} {_figure(self.aim, self.unit)}",
            "found": "nothing" if self.found is None else _figure(self.found, self.unit),
            "held": self.held,
        }


def _figure(value: float, unit: str) -> str:
    if unit == "%":
        return f"{100 * value:.1f} %"
    return f"{value:.4g}{unit and ' '}{unit}"


def print_verdict(promises: Sequence[Promise]) -> bool:
    """Print them; return whether all were kept."""
    rows = [promise.as_dict() for promise in promises]
    print_table("Promises", [{**row, "held": "held" if row["held"] else "MISSED"} for row in rows])
    missed = sum(not promise.held for promise in promises)
    sys.stdout.write(f"\n{len(promises) - missed} of {len(promises)} promises were kept\n")
    return not missed
