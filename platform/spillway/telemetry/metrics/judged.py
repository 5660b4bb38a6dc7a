"""What objectives are made of: requests by verdict, and the times of short ones. One addition each.

Every series is there at zero before the first request. A series that begins at its first failure begins at one, and
whoever looks at increases (Prometheus, ops) never sees that failure.
"""

from collections.abc import Iterable

from spillway_wire import names
from spillway_wire.series import SeriesPage
from spillway_wire.verdicts import Verdict


class JudgedRequests:
    """Of one gateway."""

    def __init__(self, page: SeriesPage) -> None:
        self._judged = page.counters(names.JUDGED_REQUESTS)
        self._short = page.histograms(names.SHORT_REQUEST_DURATION)

    def expect(self, tiers: Iterable[str]) -> None:
        """Begin the series of these tiers, and those of what has none."""
        tiers = (*tiers, "")
        for verdict in Verdict:
            self._judged.of("", "", verdict.value)
            for tier in tiers:
                for kind in names.KINDS.values():
                    self._judged.of(tier, kind, verdict.value)
        for tier in tiers:
            self._short.of(tier)

    def count(self, tier: str, endpoint: str, verdict: Verdict) -> None:
        """Count a request that has ended."""
        self._judged.of(tier, names.KINDS.get(endpoint, names.OTHER), verdict.value).add()

    def completed(self, tier: str, output_tokens: int, took_s: float) -> None:
        """Count a complete one with a short prompt, if its answer was short, too."""
        if output_tokens <= names.SHORT_OUTPUT_TOKENS:
            self._short.of(tier).observe(took_s)
