"""Percentiles of a histogram: the bucket is exact, the place within it is interpolated, and both are told."""

from collections.abc import Sequence

from spillway.ops.console.facts import Latency, Quantile


def quantile(share: float, bounds: Sequence[float], counts: Sequence[float]) -> Quantile | None:
    """Return the value below which `share` of all observations lie; None if there are none.

    `counts` are those of each bucket by itself, the infinite one last; `bounds` their upper bounds, without it. As
    Prometheus's `histogram_quantile` does, it takes observations as spread evenly over their bucket.
    """
    total = sum(counts)
    if total <= 0:
        return None
    rank, below, low = share * total, 0.0, 0.0
    for bound, count in zip(bounds, counts, strict=False):
        if count > 0 and below + count >= rank:
            part = max(0.0, rank - below) / count
            return Quantile(value=low + (bound - low) * part, low=low, high=bound)
        below, low = below + count, bound
    return Quantile(value=low, low=low, high=None)


def latency(bounds: Sequence[float], numbers: Sequence[float]) -> Latency:
    """Describe a histogram; `numbers` are each bucket's count, then the sum of all values."""
    counts, total = numbers[:-1], sum(numbers[:-1])
    return Latency(
        count=round(total),
        mean=numbers[-1] / total if total > 0 else None,
        p50=quantile(0.5, bounds, counts),
        p95=quantile(0.95, bounds, counts),
        p99=quantile(0.99, bounds, counts),
    )
