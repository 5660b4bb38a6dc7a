"""Three witnesses of the same requests (clients, traces, metrics), compared. Pure.

What is a count has to be the same to the last one. What is a time is measured at two places: a gateway's begins when
the request's bytes came (to a tick of the kernel's clock), and its first token is there before it is text; a client's
stopwatch begins before that and stops later, so quantiles may be apart by 5 ms or 2 %, whichever is more.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from spillway.bench.exposition import Scraped
from spillway.bench.figures import quantile
from spillway.bench.truth.recorded import Recorded
from spillway.bench.truth.traffic import Seen
from spillway_wire import names, status_names
from spillway_wire import trace_names as traced
from spillway_wire.metric import Metric
from spillway_wire.outcomes import Outcome

SLACK_S: Final = 0.005
SLACK_SHARE: Final = 0.02
SHARES: Final = (0.5, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Compared:
    """One quantile of one time, in seconds."""

    what: str
    share: float
    count: int
    client: float
    trace: float

    @property
    def agrees(self) -> bool:
        """Whether they are as near as they have to be."""
        return abs(self.client - self.trace) <= max(SLACK_S, SLACK_SHARE * self.client)


@dataclass(slots=True)
class Verdict:
    """What was compared, and what did not agree."""

    times: list[Compared] = field(default_factory=list)
    wrong: dict[str, list[str]] = field(default_factory=dict)
    """By promise; an empty list: it held."""
    counts: dict[str, int] = field(default_factory=dict)
    """What there was to compare."""

    def find(self, promise: str, wrong: Iterable[str]) -> None:
        """Note what is wrong with a promise, if anything."""
        self.wrong.setdefault(promise, []).extend(wrong)


@dataclass(frozen=True, slots=True)
class Book:
    """One scrape with what clients knew at that time."""

    scraped: Scraped
    answered: int
    sent: int


def judge(seen: Sequence[Seen], traces: Mapping[str, Recorded], books: Sequence[Book]) -> Verdict:
    """Compare all; `books` holds at least the scrapes before the first and after the last request."""
    verdict = Verdict()
    delta = books[-1].scraped.minus(books[0].scraped)
    arrivals = round(delta.total(status_names.ARRIVALS.exposed))
    recovered = sum(trace.summary.recovered for trace in traces.values())
    verdict.counts = {
        "requests sent": len(seen),
        "arrivals": arrivals,
        "traces": len(traces),
        "of them recovered": recovered,
        "left by their client": sum(each.left for each in seen),
        "scrapes": len(books),
    }
    verdict.find("every arrival has its trace, every trace its arrival", _unequal("arrivals", arrivals, len(traces)))
    verdict.find("client and trace name the same outcome", _outcomes(seen, traces))
    verdict.find("client and trace count the same tokens", _tokens(seen, traces))
    verdict.find("traces and metrics have the same counts", _counts(traces.values(), delta))
    verdict.find("traces and metrics have the same histograms", _histograms(traces.values(), delta))
    verdict.find("arrivals are outcomes and open requests, at every scrape", _conservation(books))
    verdict.find("nothing that counts goes backwards", _backwards(books))
    verdict.find("no first token reaches a client before its gateway has it", _impossible(seen, traces))
    verdict.times = _times(seen, traces)
    late = [
        f"{each.what} p{each.share * 100:g}: {each.client * 1e3:.2f} ms at the client, {each.trace * 1e3:.2f} ms "
        f"in the trace"
        for each in verdict.times
        if not each.agrees
    ]
    verdict.find("client and trace measure the same times", late)
    return verdict


def _unequal(what: str, one: object, other: object) -> Iterator[str]:
    if one != other:
        yield f"{what}: {one} and {other}"


# ---- clients and traces ----


def _outcomes(seen: Sequence[Seen], traces: Mapping[str, Recorded]) -> Iterator[str]:
    for each in seen:
        trace = traces.get(each.trace_id)
        if trace is None:
            if not each.left:  # a gateway may never have read a request whose client was gone by then
                yield f"{each.kind}, {each.trace_id}: answered with {each.status}, and there is no trace"
        elif each.outcome is None and not each.left:
            yield f"{each.kind}, {each.trace_id}: status {each.status}, no end; the trace says {trace.summary.outcome}"
        elif each.outcome is not None and each.outcome.value != trace.summary.outcome:
            yield f"{each.kind}, {each.trace_id}: {each.outcome.value}, the trace says {trace.summary.outcome}"


def _tokens(seen: Sequence[Seen], traces: Mapping[str, Recorded]) -> Iterator[str]:
    for each in seen:
        trace = traces.get(each.trace_id)
        if trace is None or each.outcome is not Outcome.COMPLETED:
            continue
        said = (trace.number(traced.GEN_AI_INPUT_TOKENS), trace.number(traced.GEN_AI_OUTPUT_TOKENS))
        if (each.prompt_tokens, each.output_tokens) != said:
            yield (
                f"{each.kind}, {each.trace_id}: {each.prompt_tokens} and {each.output_tokens} in the answer's usage, "
                f"{said[0]} and {said[1]} in the trace"
            )
        if each.counted_tokens is not None and each.counted_tokens != each.output_tokens:
            yield (
                f"{each.kind}, {each.trace_id}: {each.counted_tokens} tokens came, the usage says "
                f"{each.output_tokens}: {each.text[-60:]!r}"
            )


def _impossible(seen: Sequence[Seen], traces: Mapping[str, Recorded]) -> Iterator[str]:
    for each in seen:
        trace = traces.get(each.trace_id)
        if trace is None or each.first_at is None or trace.first_token_at is None:
            continue
        if each.first_at < trace.first_token_at:
            yield f"{each.kind}, {each.trace_id}: {trace.first_token_at - each.first_at:.6f} s before"


def _times(seen: Sequence[Seen], traces: Mapping[str, Recorded]) -> list[Compared]:
    firsts: list[tuple[float, float]] = []
    wholes: list[tuple[float, float]] = []
    for each in seen:
        trace = traces.get(each.trace_id)
        if trace is None or each.outcome is not Outcome.COMPLETED:
            continue
        if each.first_s is not None and trace.summary.ttft_s is not None:
            firsts.append((each.first_s, trace.summary.ttft_s))
        if each.whole_s is not None:
            wholes.append((each.whole_s, trace.summary.duration_s))
    return [
        Compared(what, share, len(pairs), *(quantile([pair[side] for pair in pairs], share) for side in (0, 1)))
        for what, pairs in (("time to first token, streams", firsts), ("end to end", wholes))
        if pairs
        for share in SHARES
    ]


# ---- traces and metrics ----


def _counts(traces: Iterable[Recorded], delta: Scraped) -> Iterator[str]:
    requests: Counter[tuple[str, ...]] = Counter()
    tokens: Counter[tuple[str, ...]] = Counter()
    recoveries = 0
    for trace in traces:
        summary = trace.summary
        requests[summary.model, trace.text(traced.TIER), trace.text(traced.BAND), summary.outcome] += 1
        recoveries += round(trace.number(traced.RECOVERIES) or 0)
        for kind, key in (
            ("input", traced.GEN_AI_INPUT_TOKENS),
            ("cached", traced.GEN_AI_CACHED_TOKENS),
            ("output", traced.GEN_AI_OUTPUT_TOKENS),
        ):
            tokens[summary.model, kind] += round(trace.number(key) or 0)
    outcomes: Counter[tuple[str, ...]] = Counter()
    for labels, number in requests.items():
        outcomes[labels[-1:]] += number
    yield from _differences(
        names.REQUESTS, requests, delta.by(names.REQUESTS.exposed, "model", "tier", "band", "outcome")
    )
    yield from _differences(status_names.OUTCOMES, outcomes, delta.by(status_names.OUTCOMES.exposed, "outcome"))
    yield from _differences(names.MODEL_TOKENS, tokens, delta.by(names.MODEL_TOKENS.exposed, "model", "type"))
    recovered = status_names.GATEWAY_COUNTERS["recoveries"]
    yield from _differences(recovered, {(): recoveries}, {(): delta.total(recovered.exposed)})


def _differences(
    metric: Metric, traces: Mapping[tuple[str, ...], float], metrics: Mapping[tuple[str, ...], float]
) -> Iterator[str]:
    for key in sorted(traces.keys() | metrics.keys()):
        one, other = traces.get(key, 0), metrics.get(key, 0.0)
        if one != other:
            yield f"{metric.exposed} {' '.join(key)}: {one} by the traces, {other:g} by the scrape"


def _first_s(trace: Recorded) -> float | None:
    return trace.summary.ttft_s if trace.summary.outcome == Outcome.COMPLETED else None


def _per_token_s(trace: Recorded) -> float | None:
    first_s, tokens = _first_s(trace), trace.number(traced.GEN_AI_OUTPUT_TOKENS)
    if first_s is None or tokens is None or tokens < 2:
        return None
    return (trace.summary.duration_s - first_s) / (tokens - 1)


_TIMES: Final[tuple[tuple[Metric, Callable[[Recorded], float | None]], ...]] = (
    (names.REQUEST_DURATION, lambda trace: trace.summary.duration_s),
    (names.TIME_TO_FIRST_TOKEN, _first_s),
    (names.TIME_PER_OUTPUT_TOKEN, _per_token_s),
    (names.REQUEST_PROMPT_TOKENS, lambda trace: trace.number(traced.GEN_AI_INPUT_TOKENS)),
    (names.REQUEST_OUTPUT_TOKENS, lambda trace: trace.number(traced.GEN_AI_OUTPUT_TOKENS)),
)


def _histograms(traces: Iterable[Recorded], delta: Scraped) -> Iterator[str]:
    known = tuple(traces)
    for metric, value_of in _TIMES:
        values = [value for trace in known if (value := value_of(trace)) is not None]
        found = delta.buckets(metric.name)
        edges = sorted(found) or [*metric.buckets, float("inf")]
        expected = [0] * len(edges)
        for value in values:
            expected[bisect_left(edges, value)] += 1
        running = 0
        for edge, count in zip(edges, expected, strict=True):
            running += count
            if running != found.get(edge, 0.0):
                yield f"{metric.name} up to {edge:g}: {running} by the traces, {found.get(edge, 0.0):g} by the scrape"


# ---- all scrapes ----


def _conservation(books: Sequence[Book]) -> Iterator[str]:
    first = round(books[0].scraped.total(status_names.ARRIVALS.exposed))
    for number, book in enumerate(books):
        scraped = book.scraped
        arrivals = round(scraped.total(status_names.ARRIVALS.exposed))
        outcomes = round(scraped.total(status_names.OUTCOMES.exposed))
        is_open = round(scraped.total(status_names.OPEN_REQUESTS.exposed))
        if arrivals != outcomes + is_open:
            yield f"scrape {number}: {arrivals} arrivals, {outcomes} outcomes, {is_open} open"
        if not book.answered <= arrivals - first <= book.sent:
            yield f"scrape {number}: {arrivals - first} arrivals, but {book.answered} answered and {book.sent} sent"
        gap = scraped.total(status_names.CONSERVATION_GAP.exposed)
        if gap:
            yield f"scrape {number}: {gap:g} arrivals of gateways that are gone are not accounted for"


def _backwards(books: Sequence[Book]) -> Iterator[str]:
    for number, (before, after) in enumerate(pairwise(books)):
        yield from (f"scrape {number + 1}: {what}" for what in after.scraped.fallen(before.scraped))
