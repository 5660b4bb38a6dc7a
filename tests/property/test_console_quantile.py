"""Percentiles of histograms: the true one lies in the bucket that is told, and the interpolation is Prometheus's."""

import math
from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.ops.console.quantile import latency, quantile

BOUNDS = (0.1, 0.5, 1.0, 5.0)
VALUES = st.lists(st.floats(0.0, 9.0, allow_nan=False), min_size=1, max_size=60)
SHARES = st.sampled_from((0.5, 0.95, 0.99))


def counts_of(values: list[float]) -> list[float]:
    counts = [0.0] * (len(BOUNDS) + 1)
    for value in values:
        counts[bisect_left(BOUNDS, value)] += 1
    return counts


@given(VALUES, SHARES)
def test_the_true_percentile_lies_where_it_is_told(values: list[float], share: float) -> None:
    found = quantile(share, BOUNDS, counts_of(values))
    true = sorted(values)[max(0, math.ceil(share * len(values)) - 1)]

    assert found is not None
    assert found.low <= true
    assert found.low <= found.value
    if found.high is None:
        assert true > BOUNDS[-1] == found.value
    else:
        assert true <= found.high
        assert found.value <= found.high


@given(VALUES)
def test_percentiles_do_not_cross_and_the_mean_is_exact(values: list[float]) -> None:
    found = latency(BOUNDS, [*counts_of(values), sum(values)])

    assert found.count == len(values)
    assert found.mean == pytest.approx(sum(values) / len(values))
    assert found.p50 is not None
    assert found.p95 is not None
    assert found.p99 is not None
    assert found.p50.value <= found.p95.value <= found.p99.value


def test_of_nothing_there_is_no_percentile() -> None:
    found = latency(BOUNDS, [0.0] * 6)

    assert (found.count, found.mean, found.p50, found.p99) == (0, None, None, None)


def test_it_is_interpolated_as_prometheus_does() -> None:
    # 10 in (0.1, 0.5], 10 in (0.5, 1]: rank 15 is half through the second of them
    found = quantile(0.75, BOUNDS, [0.0, 10.0, 10.0, 0.0, 0.0])

    assert found is not None
    assert (found.value, found.low, found.high) == (0.75, 0.5, 1.0)
