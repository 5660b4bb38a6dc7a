"""What a gateway counts of a request, once, when it has ended: outcomes, times, tokens and their price.

::

    metrics = RequestMetrics(page, tenants)
    …
    metrics.finished(RequestRecord(…))        some 15 microseconds

Whoever calls it gives the facts; which of them count for what is decided here: times to and per token only of
completed requests, as OpenTelemetry wants it, admission by what was refused before any engine saw it.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from spillway.telemetry.metrics.judged import JudgedRequests
from spillway_wire import names
from spillway_wire.label_book import LabelBook
from spillway_wire.outcomes import Outcome
from spillway_wire.series import SeriesPage
from spillway_wire.verdicts import judge

_REFUSED: Final = frozenset(
    {
        *(Outcome.QUOTA, Outcome.OVERLOADED, Outcome.UNAUTHENTICATED, Outcome.FORBIDDEN),
        *(Outcome.DRAINING, Outcome.NO_ENGINE),
    }
)
"""Ends that admission decides, as long as there was no token."""
_MALFORMED: Final = frozenset({Outcome.INVALID, Outcome.TOO_LARGE, Outcome.UNKNOWN_MODEL})
"""Ends before admission has anything to decide."""
_SHORTEST_S: Final = 1e-9
"""A prediction below the clock's own step is none: a ratio to it is no number, or as good as none."""
_ENDED_BY_CLIENT: Final = frozenset({Outcome.CLIENT_GONE, Outcome.SLOW_READER})


class RequestRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a request that has ended. Times in seconds of one monotonic clock, and unix time for traces."""

    endpoint: str
    """The endpoint's stable name: `chat`, `completions`, `generate`, `generate_batch`."""
    outcome: Outcome
    began: float
    ended: float
    model: str = ""
    """Name of the served model; empty if there is none of the name that was asked for: labels must be bounded."""
    tenant: str = ""
    tier: str = ""
    band: str = ""
    limit: str | None = None
    """Which limit it met, as `Refused.limit` has it: `ttft=1s (gold)`."""
    first_token: float | None = None
    queue_s: float | None = None
    """How long it waited for an engine; None if it never got one."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Of the prompt's, those that were found in a cache."""
    output_tokens: int = 0
    predicted_ttft_s: float | None = None
    ttft_objective_s: float | None = None
    """When its first token was due, by its tier; None if it is not known."""
    missed: bool = False
    """It was complete, and later than its tier's objective."""
    retry_after_s: float | None = None
    trace_id: str | None = None
    """32 hexadecimal digits, if the trace is kept."""
    at: float = 0.0
    """Unix time of the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a million tokens cost."""

    input: float = 0.0
    cached: float = 0.0
    """Of the prompt, those that were found in a cache."""
    output: float = 0.0
    currency: str = "USD"

    def of(self, record: RequestRecord) -> float:
        """Return what a request costs."""
        fresh = record.prompt_tokens - record.cached_tokens
        return (
            fresh * self.input + record.cached_tokens * self.cached + record.output_tokens * self.output
        ) / 1_000_000


def limit_name(limit: str | None) -> str:
    """Return the name of a limit as it was told, `other` if it is none that is known, empty if there was none."""
    if not limit:
        return ""
    name = limit.partition("=")[0]
    return name if name in names.LIMITS else names.OTHER


class RequestMetrics:
    """Of one gateway. `price` may be set to another one while it runs."""

    def __init__(self, page: SeriesPage, tenants: LabelBook, *, price: Price | None = None) -> None:
        self._tenants = tenants
        self.price = price
        self._duration = page.histograms(names.REQUEST_DURATION)
        self._ttft = page.histograms(names.TIME_TO_FIRST_TOKEN)
        self._tpot = page.histograms(names.TIME_PER_OUTPUT_TOKEN)
        self._requests = page.counters(names.REQUESTS)
        self.judged = JudgedRequests(page)
        self._of_tenants = page.counters(names.TENANT_REQUESTS)
        self._broken = page.counters(names.BROKEN_STREAMS)
        self._decisions = page.counters(names.ADMISSION_DECISIONS)
        self._ratio = page.histograms(names.PREDICTION_RATIO)
        self._retry_after = page.histograms(names.RETRY_AFTER)
        self._queue = page.histograms(names.QUEUE_TIME)
        self._prompts = page.histograms(names.REQUEST_PROMPT_TOKENS)
        self._outputs = page.histograms(names.REQUEST_OUTPUT_TOKENS)
        self._tokens = page.counters(names.MODEL_TOKENS)
        self._tokens_of_tenants = page.counters(names.TENANT_TOKENS)
        self._cost = page.counters(names.TENANT_COST)

    def finished(self, record: RequestRecord) -> None:
        """Count a request that has ended; once for each arrival, whatever its end. Raises nothing."""
        outcome = record.outcome.value
        tenant = self._tenants.label(record.tenant)
        self._requests.of(record.model, record.tier, record.band, record.endpoint, outcome).add()
        self._of_tenants.of(tenant, record.tier, outcome).add()
        self._judge(record)
        self._time(record)
        self._decide(record)
        if record.first_token is not None and not _went_well(record.outcome):
            self._broken.of(record.model, record.tier, outcome).add()
        if record.queue_s is not None:
            self._queue.of(record.model, record.band).observe(record.queue_s)
        if record.prompt_tokens or record.output_tokens:
            self._use(record, tenant)

    def _judge(self, record: RequestRecord) -> None:
        """Count what objectives make of it."""
        took_s, begun = record.ended - record.began, record.first_token is not None
        overdue = record.ttft_objective_s is not None and took_s > record.ttft_objective_s
        verdict = judge(record.outcome, begun=begun, missed=record.missed, overdue=overdue)
        self.judged.count(record.tier, record.endpoint, verdict)
        if record.outcome is Outcome.COMPLETED and record.prompt_tokens <= names.SHORT_PROMPT_TOKENS:
            self.judged.completed(record.tier, record.output_tokens, took_s)

    def _time(self, record: RequestRecord) -> None:
        operation = names.OPERATIONS.get(record.endpoint, record.endpoint)
        labels = (operation, names.PROVIDER, record.model, record.tier)
        completed = record.outcome is Outcome.COMPLETED
        error = "" if completed else record.outcome.value
        trace, at, took_s = record.trace_id, record.at, record.ended - record.began
        self._duration.of(*labels, error).observe(took_s, trace, at)
        if record.first_token is None:
            return
        ttft_s = record.first_token - record.began
        if record.predicted_ttft_s is not None and record.predicted_ttft_s >= _SHORTEST_S:
            self._ratio.of(record.model, record.band).observe(ttft_s / record.predicted_ttft_s)
        if completed:
            self._ttft.of(*labels).observe(ttft_s, trace, at)
            if record.output_tokens > 1:
                self._tpot.of(*labels).observe((took_s - ttft_s) / (record.output_tokens - 1), trace, at)

    def _decide(self, record: RequestRecord) -> None:
        """Count what admission decided."""
        reason = limit_name(record.limit) or record.outcome.value
        if record.first_token is None and record.outcome in _REFUSED:
            self._decisions.of("refused", reason, record.tier, record.band).add()
            if record.retry_after_s is not None:
                self._retry_after.of(record.model, record.band).observe(record.retry_after_s)
        elif record.first_token is not None or record.outcome not in _MALFORMED:
            self._decisions.of("admitted", "", record.tier, record.band).add()

    def _use(self, record: RequestRecord, tenant: str) -> None:
        """Count tokens, and what they cost."""
        for kind, count in (
            ("input", record.prompt_tokens),
            ("cached", record.cached_tokens),
            ("output", record.output_tokens),
        ):
            self._tokens.of(record.model, kind).add(count)
            self._tokens_of_tenants.of(tenant, kind).add(count)
        self._prompts.of(record.model).observe(record.prompt_tokens)
        self._outputs.of(record.model).observe(record.output_tokens)
        if self.price is not None:
            self._cost.of(tenant, self.price.currency).add(self.price.of(record))


def _went_well(outcome: Outcome) -> bool:
    """Whether a stream's end is no failure of ours: it was complete, or its reader left."""
    return outcome is Outcome.COMPLETED or outcome in _ENDED_BY_CLIENT
