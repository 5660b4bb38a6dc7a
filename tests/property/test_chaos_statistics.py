"""Intervals that hold what they say, toxics that lose nothing, and a goodput that adds up."""

import random

from hypothesis import given
from hypothesis import strategies as st

from spillway_chaos.judging.statistics import spread, wilson
from spillway_chaos.stage.toxics import Bandwidth, Corrupt, Latency, Slicer, pieces

TIMES = st.lists(st.one_of(st.none(), st.floats(0.0, 100.0)), min_size=1, max_size=60)


@given(st.integers(0, 200), st.integers(0, 200))
def test_the_share_lies_in_its_interval(hits: int, misses: int) -> None:
    low, high = wilson(hits, hits + misses)
    assert 0.0 <= low <= high <= 1.0
    if hits + misses:
        assert low - 1e-9 <= hits / (hits + misses) <= high + 1e-9


@given(TIMES)
def test_percentiles_are_times_that_were_measured_or_never(times: list[float | None]) -> None:
    found = spread(times)
    known = sorted(time for time in times if time is not None)
    assert found.never == len(times) - len(known)
    for value in (found.p50, found.p99):
        assert value is None or value in known
    assert found.longest == (None if found.never else known[-1])
    low, high = found.p50_interval
    if low is not None and found.p50 is not None:
        assert low <= found.p50
    if high is not None and found.p50 is not None:
        assert found.p50 <= high


def test_the_median_of_few_runs_is_not_known() -> None:
    assert spread([1.0, 2.0, 3.0]).p50_interval == (None, None)
    assert spread([float(n) for n in range(1, 21)]).p50_interval == (6.0, 15.0)


@given(st.binary(max_size=500), st.integers(1, 50), st.integers(0, 60), st.integers())
def test_slices_are_the_data(data: bytes, size: int, variation: int, seed: int) -> None:
    toxic = Slicer(average_size=size, size_variation=variation, delay=10.0)
    found = list(pieces([toxic], data, 0.0, random.Random(seed)))
    assert b"".join(piece.data for piece in found) == data
    assert all(0 < len(piece.data) <= 2 * size for piece in found)


@given(st.binary(min_size=1, max_size=500), st.integers(1, 80), st.integers())
def test_corruption_turns_one_bit_of_every_so_many_bytes(data: bytes, every: int, seed: int) -> None:
    (piece,) = pieces([Corrupt(every=every)], data, 0.0, random.Random(seed))
    turned = [(a ^ b).bit_count() for a, b in zip(data, piece.data, strict=True)]
    for start in range(0, len(data), every):
        assert sum(turned[start : start + every]) == 1


@given(st.floats(0, 1000), st.floats(0, 1000), st.floats(0, 2), st.binary(min_size=1, max_size=100), st.integers())
def test_latency_is_late_by_what_is_left_of_it(ms: float, jitter: float, waited: float, data: bytes, seed: int) -> None:
    (piece,) = pieces([Latency(latency=ms, jitter=jitter)], data, waited, random.Random(seed))
    assert piece.data == data
    assert 0.0 <= piece.delay_s <= max(0.0, (ms + jitter) / 1e3 - waited) + 1e-9


@given(st.binary(min_size=1, max_size=5000), st.floats(0.1, 1000))
def test_a_narrow_link_takes_as_long_as_its_rate_says(data: bytes, rate: float) -> None:
    (piece,) = pieces([Bandwidth(rate=rate)], data, 0.0, random.Random(1))
    assert abs(piece.delay_s - len(data) / (rate * 1000)) < 1e-9
