"""What is wrong with an objective that is well-formed, and that no other tool looks for.

====================  ==============================================================================================
`unreachable`         the alert's threshold is an error ratio of 1 or more, which there never is (14.4 times 0.1)
`one-event-alerts`    one bad event alone is above the threshold, at the traffic that is expected
`off-bucket`          the limit is no boundary of the histogram: it would have to be guessed what is below it
`warning-off-bucket`  four fifths of the limit are no boundary: the warning's percentile is read between two (a note)
`no-expectation`      nobody said how many requests to expect, so that `one-event-alerts` cannot be judged (a note)
`page-without-end`    a page without a ticket below it: a slow burn would never be told (a note)
====================  ==============================================================================================

Metrics and labels that are not there are errors of loading already. A finding can be accepted, with its reason, by the
annotation `spillway.dev/accept.FINDING`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from spillway_slo.burn import WARN_AT, decimal, events_for_patience, is_reachable, threshold
from spillway_slo.objective import Objective, Slices
from spillway_slo.windows import HOUR, BurnWindow

NOTES: Final = frozenset({"warning-off-bucket", "no-expectation", "page-without-end"})
FINDINGS: Final = frozenset({"unreachable", "one-event-alerts", "off-bucket"}) | NOTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something to mend, or to accept."""

    objective: str
    place: str
    name: str
    message: str
    accepted: str = ""
    """The reason, if it is meant."""

    @property
    def is_error(self) -> bool:
        """Whether it has to be mended."""
        return self.name not in NOTES and not self.accepted

    def __str__(self) -> str:
        word = "error" if self.is_error else "accepted" if self.accepted else "note"
        return f"{word} {self.name}: {self.place}: {self.message}"


def lint(objectives: Iterable[Objective]) -> list[Finding]:
    """Return all findings."""
    return [
        Finding(
            objective=objective.name,
            place=objective.place,
            name=name,
            message=message,
            accepted=objective.accepted.get(name, ""),
        )
        for objective in objectives
        for name, message in _findings(objective)
    ]


def _findings(objective: Objective) -> Iterator[tuple[str, str]]:
    for name in objective.accepted.keys() - FINDINGS:
        yield "unreachable", f"it accepts {name!r}, which lint never finds; there are: {', '.join(sorted(FINDINGS))}"
    for window in objective.policies:
        yield from _of_window(objective, window)
    severities = {window.severity for window in objective.policies}
    if severities == {"page"}:
        yield "page-without-end", "it pages and has no ticket: a burn below the slowest page is never told"
    if objective.expected_per_hour is None and not objective.is_by_time:
        yield "no-expectation", "say how much traffic to expect (spillway.dev/expected-requests-per-hour)"
    yield from _of_buckets(objective)


def _of_window(objective: Objective, window: BurnWindow) -> Iterator[tuple[str, str]]:
    above = threshold(window.factor, objective.target)
    if not is_reachable(window.factor, objective.target):
        most = 1 - 1 / window.factor
        yield (
            "unreachable",
            (
                f"{window.name} fires above an error ratio of {decimal(above)}, which there never is; take this policy "
                f"away, or set a target above {float(most):.4g}"
            ),
        )
        return
    expected = _expected(objective, window)
    needed = events_for_patience(window.factor, objective.target)
    if expected is not None and expected < needed and objective.min_failures < 2:
        what = "minutes" if isinstance(objective.indicator, Slices) else "requests"
        yield (
            "one-event-alerts",
            (
                f"{window.name} fires at one bad one of the {expected:g} {what} in {window.long}; below {needed} "
                f"of them give a lower target, a longer window, or spillway.dev/min-failures"
            ),
        )


def _expected(objective: Objective, window: BurnWindow) -> float | None:
    """Return how many events the long window is expected to have."""
    if isinstance(objective.indicator, Slices):
        return window.long_s / objective.indicator.slice_s
    return None if objective.expected_per_hour is None else objective.expected_per_hour * window.long_s / HOUR


def _of_buckets(objective: Objective) -> Iterator[tuple[str, str]]:
    percentile = objective.percentile
    if percentile is None:
        return
    bounds = ", ".join(f"{bound:g}" for bound in percentile.bounds)
    if percentile.limit not in percentile.bounds:
        yield (
            "off-bucket",
            f"{percentile.limit:g} s is no boundary of {percentile.histogram.metric}; there are: {bounds}",
        )
    warning = round(float(WARN_AT) * percentile.limit, 12)
    if warning not in percentile.bounds:
        yield (
            "warning-off-bucket",
            (
                f"{warning:g} s lies between two boundaries of {percentile.histogram.metric}: the percentile that "
                f"warns there is interpolated"
            ),
        )
