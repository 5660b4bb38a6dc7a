"""Series that are there at zero before anything has happened: what goes wrong, as far as its labels are bounded.

A series that begins at its first event begins at one, and whoever looks at increases (`rate()`, an alert) never sees
that event: the first failure after a start would be nobody's, and the first answers would be no part of an objective's
latency. So what operators ask rates of begins with the process, for every tier and model of the settings; what depends
on who asks (tenants, rare limits) begins when it happens.
"""

from collections.abc import Iterable
from typing import Final

from spillway.admission.contract import Band
from spillway_wire import names
from spillway_wire.outcomes import Outcome
from spillway_wire.series import SeriesPage

_FAILURES: Final = (Outcome.EXPIRED, Outcome.ENGINE_FAILED, Outcome.INTERNAL)
_OUTCOMES: Final = (Outcome.COMPLETED, Outcome.OVERLOADED, Outcome.NO_ENGINE, *_FAILURES)
_BANDS: Final = (Band.INTERACTIVE.label, Band.DEFAULT.label, Band.BULK.label)
"""Of clients; the operator's own probes fail seldom, and are few."""
_SHEDDING: Final = ("ttft", "deadline", "queue_age", "level", "retry_budget", "max_queued_requests", "engine_wait_s")
"""Limits that refuse because of load, and the outcome of a model that nobody serves."""


def begin_series(page: SeriesPage, *, models: Iterable[str], tiers: Iterable[str]) -> None:
    """Begin them: for three tiers and one model some 180 counters and 18 histograms."""
    models, tiers = tuple(models), tuple(tiers)
    _begin_latencies(page, models, tiers)
    decisions = page.counters(names.ADMISSION_DECISIONS)
    for tier in tiers:
        for band in _BANDS:
            decisions.of("admitted", "", tier, band)
            for reason in (*_SHEDDING, Outcome.NO_ENGINE.value):
                decisions.of("refused", reason, tier, band)
    requests, broken = page.counters(names.REQUESTS), page.counters(names.BROKEN_STREAMS)
    for model in models:
        for tier in tiers:
            for outcome in _FAILURES:
                broken.of(model, tier, outcome.value)
            for endpoint in names.OPERATIONS:
                for outcome in _OUTCOMES:
                    requests.of(model, tier, Band.DEFAULT.label, endpoint, outcome.value)


def _begin_latencies(page: SeriesPage, models: Iterable[str], tiers: tuple[str, ...]) -> None:
    durations = page.histograms(names.REQUEST_DURATION)
    of_completed = [page.histograms(metric) for metric in (names.TIME_TO_FIRST_TOKEN, names.TIME_PER_OUTPUT_TOKEN)]
    for model in models:
        for tier in tiers:
            for operation in dict.fromkeys(names.OPERATIONS.values()):
                labels = (operation, names.PROVIDER, model, tier)
                durations.of(*labels, "")
                for histograms in of_completed:
                    histograms.of(*labels)
