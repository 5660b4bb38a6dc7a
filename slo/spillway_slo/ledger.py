"""What the budget was spent on: counts of causes and tenants, by stretches of time, for 30 days.

Growth alone is kept, and only of what grew: stretches of a mark for the last day, of an hour before that.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from spillway_slo.windows import DAY, HOUR, PERIOD_S

Cause = tuple[str, ...]
"""`("outcome", tier, outcome)`, `("verdict", tier, kind, verdict)` or `("tenant", tenant, tier, outcome)`."""
OUTCOME: Final = "outcome"
VERDICT: Final = "verdict"
TENANT: Final = "tenant"


@dataclass(slots=True)
class Entry:
    """What happened in a stretch of time."""

    start: float
    end: float
    counts: dict[Cause, float] = field(default_factory=dict)


class Ledger:
    """Takes totals in, keeps growth."""

    def __init__(self, *, scale: float = 1.0) -> None:
        self._scale = scale
        self._last: dict[Cause, float] = {}
        self._at: float | None = None
        self.entries: list[Entry] = []

    def note(self, time: float, totals: Mapping[Cause, float]) -> None:
        """Take in the totals of a moment. One that shrank began anew; a new one counts from now on."""
        counts = {}
        for cause, total in totals.items():
            before = self._last.get(cause)
            grown = 0.0 if before is None else total - before if total >= before else total
            if grown > 0:
                counts[cause] = grown
        known = self._at is not None
        self._last |= totals
        if known and counts:
            self.entries.append(Entry(self._at or time, time, counts))
        self._at = time
        self._compact(time)

    def _compact(self, now: float) -> None:
        """Put the stretches of an hour together when they are a day old, and forget what is older than the period."""
        day, hour, period = DAY * self._scale, HOUR * self._scale, PERIOD_S * self._scale
        kept: list[Entry] = []
        for entry in self.entries:
            if entry.end < now - period:
                continue
            if kept and entry.end < now - day and int(entry.start // hour) == int(kept[-1].start // hour):
                merge(kept[-1].counts, entry.counts)
                kept[-1].end = entry.end
            else:
                kept.append(entry)
        self.entries = kept

    def between(self, start: float, end: float) -> dict[Cause, float]:
        """Return the counts of the stretches that begin within [start, end)."""
        return between(self.entries, start, end)

    def dump(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "at": self._at,
            "last": [(cause, value) for cause, value in self._last.items()],
            "entries": [(entry.start, entry.end, list(entry.counts.items())) for entry in self.entries],
        }

    def load(self, dumped: Mapping[str, Any]) -> None:
        """Go on from what `dump` returned."""
        self._at = dumped["at"]
        self._last = {tuple(cause): value for cause, value in dumped["last"]}
        self.entries = [
            Entry(start, end, {tuple(cause): value for cause, value in counts})
            for start, end, counts in dumped["entries"]
        ]


def merge(into: dict[Cause, float], counts: Mapping[Cause, float]) -> None:
    """Add counts up."""
    for cause, count in counts.items():
        into[cause] = into.get(cause, 0.0) + count


def between(entries: Iterable[Entry], start: float, end: float) -> dict[Cause, float]:
    """Return the counts of the stretches that begin within [start, end)."""
    found: dict[Cause, float] = {}
    for entry in entries:
        if start <= entry.start < end:
            merge(found, entry.counts)
    return found
