"""Arrivals: as many as the curve says, at the times it says, as even or bursty as asked, and the same for a seed."""

import math
import random
import statistics
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway_load.arrivals import Even, Gamma, Poisson, arrivals
from spillway_load.shapes import Curve, Diurnal, Herd, Ramp, Shape, Spike, Steady, Steps, crowds, curve

SHAPES: tuple[Shape, ...] = (
    Steady(),
    Ramp(start=0.0, end=2.0),
    Ramp(start=1.0, end=0.0),
    Steps(levels=(1.0, 0.0, 3.0)),
    Spike(begins=0.25, lasts=0.25, times=8.0),
    Diurnal(low=0.0, high=1.0, periods=2),
    Herd(size=10, at=(0.5,)),
)
knots = st.lists(st.tuples(st.floats(0, 10), st.floats(0, 50)), min_size=2, max_size=8)


@given(knots, st.floats(0, 1))
def test_when_is_the_inverse_of_what_is_expected_until_then(steps: list[tuple[float, float]], share: float) -> None:
    times = tuple(sum(step for step, _ in steps[: n + 1]) for n in range(len(steps)))
    line = Curve(times, tuple(rate for _, rate in steps))
    total = line.cumulative()[-1]
    (at,) = line.when([share * total])
    assert times[0] <= at <= times[-1]
    place = next((n for n in range(1, len(times)) if times[n] >= at), len(times) - 1)
    begin, end, low, high = times[place - 1], times[place], line.rates[place - 1], line.rates[place]
    slope = (high - low) / (end - begin) if end > begin else 0.0
    reached = line.cumulative()[place - 1] + (at - begin) * (low + slope * (at - begin) / 2)
    assert reached == pytest.approx(share * total, rel=1e-6, abs=1e-6 * max(1.0, total))


@given(st.sampled_from(SHAPES), st.lists(st.floats(0, 10), min_size=2, max_size=20))
def test_the_rate_at_a_moment_is_that_of_its_stretch(shape: Shape, moments: list[float]) -> None:
    line = curve(shape, 20.0, 10.0)
    num_slices = 2000
    middles = [(n + 0.5) * 10.0 / num_slices for n in range(num_slices)]
    area = sum(line.at(middle) for middle in middles) * 10.0 / num_slices
    assert area == pytest.approx(line.cumulative()[-1], abs=0.05 * max(line.rates))
    assert all(min(line.rates) <= line.at(moment) <= max(line.rates) for moment in moments)
    assert line.at(11.0) == line.rates[-1]


@given(st.sampled_from(SHAPES), st.sampled_from([Poisson, Even, Gamma]), st.integers())
def test_arrivals_are_in_order_within_the_campaign_and_the_same_for_a_seed(
    shape: Shape, process: type[Poisson] | type[Even] | type[Gamma], seed: int
) -> None:
    line = curve(shape, 20.0, 10.0)
    times = arrivals(process(rate=20.0), line, random.Random(seed))
    assert times == sorted(times)
    assert all(0 <= at <= 10.0 for at in times)
    assert times == arrivals(process(rate=20.0), line, random.Random(seed))


@given(st.sampled_from(SHAPES), st.integers())
def test_even_arrivals_are_as_many_as_the_curve_says(shape: Shape, seed: int) -> None:
    line = curve(shape, 20.0, 10.0)
    assert len(arrivals(Even(rate=20.0), line, random.Random(seed))) == pytest.approx(line.cumulative()[-1], abs=1)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: type(shape).__name__)
def test_poisson_arrivals_are_as_many_and_as_spread_as_the_curve_says(shape: Shape) -> None:
    line = curve(shape, 50.0, 400.0)
    times = arrivals(Poisson(rate=50.0), line, random.Random(7))
    total = line.cumulative()[-1]
    assert abs(len(times) - total) < 4 * math.sqrt(total)
    half = sum(at < 200.0 for at in times)
    expected = [reached for at, reached in zip(line.times, line.cumulative(), strict=True) if at <= 200.0][-1]
    exact = line.when([expected])[0]
    if exact == pytest.approx(200.0):
        assert abs(half - expected) < 4 * math.sqrt(max(1.0, expected))


@pytest.mark.parametrize(
    ("process", "variation"),
    [(Poisson(rate=50.0), 1.0), (Gamma(rate=50.0, burstiness=0.25), 2.0), (Gamma(rate=50.0, burstiness=4.0), 0.5)],
    ids=["poisson", "bursty", "even"],
)
def test_gaps_vary_as_their_process_says(process: Poisson | Gamma, variation: float) -> None:
    times = arrivals(process, curve(Steady(), 50.0, 1000.0), random.Random(3))
    gaps = [after - before for before, after in pairwise(times)]
    assert statistics.fmean(gaps) == pytest.approx(1 / 50.0, rel=0.05)
    assert statistics.stdev(gaps) / statistics.fmean(gaps) == pytest.approx(variation, rel=0.06)


def test_a_herd_comes_at_once() -> None:
    assert crowds(Herd(size=3, at=(0.25, 0.5)), 20.0) == [5.0] * 3 + [10.0] * 3
    assert crowds(Steady(), 20.0) == []


def test_a_spike_is_as_high_and_as_long_as_asked() -> None:
    times = arrivals(Even(rate=10.0), curve(Spike(begins=0.4, lasts=0.2, times=5.0), 10.0, 10.0), random.Random(1))
    assert sum(4.0 <= at < 6.0 for at in times) == pytest.approx(100, abs=1)
    assert sum(at < 4.0 for at in times) == pytest.approx(40, abs=1)
