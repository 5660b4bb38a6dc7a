"""What a run comes to, in numbers."""

from collections import Counter
from dataclasses import dataclass

from spillway.bench.simulation.traffic import Request
from spillway.bench.simulation.world import Run


def percentile(values: list[float], share: float) -> float:
    """Return the nearest-rank percentile, 0.0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of the requests that arrived in a span of time."""

    asked: int
    admitted: int
    good: int
    goodput_per_s: float
    p50_ttft_s: float
    p99_ttft_s: float
    """Of what was admitted."""
    p99_tpot_s: float
    reasons: dict[str, int]
    """Refusals by the limit that was met."""
    oldest_s: float
    """The oldest that ever waited in the first gateway."""


def figures(run: Run, start_s: float = 0.0, end_s: float | None = None, *, of: str | None = None) -> Figures:
    """Return what became of the requests that came between two moments; `of`: of one tenant."""
    end_s = run.scenario.duration_s if end_s is None else end_s

    def counts(request: Request) -> bool:
        return start_s <= request.at < end_s and (of is None or request.source.tenant_id == of)

    requests = [request for request in run.requests if counts(request)]
    admitted = [request for request in requests if request.admitted_at is not None]
    good = sum(request.good for request in requests)
    reasons = Counter((refused.limit or "").split("=")[0] for _, request, refused in run.refusals if counts(request))
    return Figures(
        asked=len(requests),
        admitted=len(admitted),
        good=good,
        goodput_per_s=good / (end_s - start_s),
        p50_ttft_s=percentile([request.ttft_s for request in admitted], 0.5),
        p99_ttft_s=percentile([request.ttft_s for request in admitted], 0.99),
        p99_tpot_s=percentile([request.tpot_s for request in admitted], 0.99),
        reasons=dict(reasons),
        oldest_s=max((sample.oldest_s for sample in run.samples if start_s <= sample.at < end_s), default=0.0),
    )


def per_second(run: Run) -> list[tuple[float, float, float]]:
    """Return (second, arrivals, good ones among them) for each second."""
    seconds = int(run.scenario.duration_s)
    asked, good = [0] * (seconds + 1), [0] * (seconds + 1)
    for request in run.requests:
        asked[int(request.at)] += 1
        good[int(request.at)] += request.good
    return [(second, asked[second], good[second]) for second in range(seconds)]
