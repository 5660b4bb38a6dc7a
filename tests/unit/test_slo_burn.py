"""The arithmetic of budgets: exact where it is written down, and as Prometheus has it where it is measured."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway_slo.burn import (
    Counted,
    budget_left,
    burn_rate,
    decimal,
    events_for_patience,
    is_burning,
    is_reachable,
    quantile,
    threshold,
)

FAST, SLOW = Fraction(72, 5), Fraction(6)


@pytest.mark.parametrize(
    ("factor", "target", "above", "reachable", "events"),
    [
        (FAST, "0.90", "1.44", False, 1),
        (SLOW, "0.90", "0.6", True, 2),
        (FAST, "0.95", "0.72", True, 2),
        (FAST, "0.99", "0.144", True, 7),
        (SLOW, "0.99", "0.06", True, 17),
        (FAST, "0.995", "0.072", True, 14),
        (SLOW, "0.995", "0.03", True, 34),
        (FAST, "0.999", "0.0144", True, 70),
        (SLOW, "0.999", "0.006", True, 167),
        (FAST, "0.9999", "0.00144", True, 695),
    ],
)
def test_thresholds_are_exact(factor: Fraction, target: str, above: str, reachable: bool, events: int) -> None:
    goal = Fraction(target)
    assert decimal(threshold(factor, goal)) == above
    assert is_reachable(factor, goal) is reachable
    assert events_for_patience(factor, goal) == events


@given(st.fractions(min_value=0, max_value=1000, max_denominator=10**6))
def test_a_decimal_is_the_fraction(value: Fraction) -> None:
    said = decimal(value)
    number = Fraction(said) if "/" not in said else Fraction(said.strip("()").replace(" ", ""))
    assert number == value


@given(st.integers(0, 1000), st.integers(1, 1000), st.sampled_from(["0.9", "0.99", "0.999"]))
def test_what_is_left_and_what_burns_are_the_same_number(bad: int, more: int, target: str) -> None:
    goal, counted = Fraction(target), Counted(bad, bad + more)
    burn = burn_rate(counted.ratio, goal)
    assert burn is not None
    assert budget_left(counted.ratio, goal) == pytest.approx(1 - burn)


def test_without_requests_nothing_burns() -> None:
    assert Counted(0, 0).ratio is None
    assert burn_rate(None, Fraction("0.99")) is None
    assert budget_left(None, Fraction("0.99")) == 1
    assert not is_burning(None, Counted(0, 0), FAST, Fraction("0.99"))


def test_both_windows_must_burn_and_one_failure_can_be_too_few() -> None:
    goal = Fraction("0.99")
    assert is_burning(0.2, Counted(20, 100), FAST, goal)
    assert not is_burning(0.1, Counted(20, 100), FAST, goal)
    assert not is_burning(0.2, Counted(10, 100), FAST, goal)
    assert is_burning(1.0, Counted(1, 2), FAST, goal)
    assert not is_burning(1.0, Counted(1, 2), FAST, goal, min_failures=2)
    assert is_burning(1.0, Counted(2, 2), FAST, goal, min_failures=2)


def test_a_quantile_is_linear_inside_its_bucket() -> None:
    assert quantile(0.5, (1.0, 2.0), (0, 10, 10)) == 1.5
    assert quantile(0.5, (1.0, 2.0), (10, 10, 10)) == 0.5
    assert quantile(0.99, (1.0, 2.0), (0, 0, 10)) == 2.0
    assert quantile(0.5, (1.0, 2.0), (0, 0, 0)) is None


@given(st.lists(st.integers(0, 50), min_size=4, max_size=4), st.floats(0.01, 0.99))
def test_a_quantile_above_a_bound_means_that_too_few_are_below_it(counts: list[int], q: float) -> None:
    bounds = (0.1, 0.5, 1.0)
    cumulative = [float(sum(counts[: place + 1])) for place in range(4)]
    value = quantile(q, bounds, cumulative)
    for bound, below in zip(bounds, cumulative, strict=False):
        if value is not None and value > bound:
            assert below < q * cumulative[-1] + 1e-9
