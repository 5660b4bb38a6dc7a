"""Counts of the last while: what the present is compared with."""

from collections import deque
from typing import Final

from spillway.ops.console.counts import Counts

TABLES_S: Final = 60.0
"""What tables say is of so long."""
CHARTS_S: Final = 10.0
"""What a point of a chart says is of so long before it."""


class Window:
    """Keeps counts of the last `longest_s`, and one that is older, so that a full window always has its beginning."""

    def __init__(self, longest_s: float = TABLES_S) -> None:
        self._longest_s = longest_s
        self._kept: deque[Counts] = deque()

    def add(self, counts: Counts) -> None:
        """Take the counts of now."""
        self._kept.append(counts)
        while len(self._kept) > 1 and self._kept[1].at <= counts.at - self._longest_s:
            self._kept.popleft()

    def before(self, seconds: float) -> Counts | None:
        """Return the counts of so long ago, or of the earliest moment since then; None before the second one came."""
        if len(self._kept) < 2:
            return None
        since = self._kept[-1].at - seconds
        best = self._kept[0]
        for counts in self._kept:
            if counts.at > since:
                break
            best = counts
        return best if best is not self._kept[-1] else None

    def forget(self) -> None:
        """Begin anew: nobody looked for a while, and what was then is not the last while."""
        self._kept.clear()

    def __len__(self) -> int:
        return len(self._kept)
