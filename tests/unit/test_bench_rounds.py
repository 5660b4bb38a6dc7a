"""What rounds say: paired differences, medians that leave a spoilt round out, and which rounds count."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.bench.load import Run, Timing
from spillway.bench.rounds import MOST_ROBBED, MOST_TRIES, Round, compare, counted, is_enough

QUIET, BUSY = 0.0, MOST_ROBBED + 0.01
MILLISECONDS = st.lists(st.integers(1, 10_000), min_size=1, max_size=20)


def run(milliseconds: Sequence[float]) -> Run:
    return Run(seconds=1.0, timings=[Timing(first=ms / 1e3, whole=2 * ms / 1e3) for ms in milliseconds])


def one(through: Sequence[float], direct: Sequence[float], robbed: float = QUIET) -> Round:
    return Round(run(through), run(direct), robbed)


def test_a_round_that_was_disturbed_on_one_side_does_not_count_for_more_than_one() -> None:
    rounds = [one([3, 3], [1, 1]), one([90, 95], [1, 1]), one([3, 4], [2, 2])]
    found = compare(rounds, "first")
    assert (found.added_p50, found.added_p99) == pytest.approx((2, 2))
    assert (found.through.p50, found.direct.p50, found.through.p99) == pytest.approx((3, 1, 4))
    assert found.through.count == 6


def test_differences_are_taken_within_a_round() -> None:
    rounds = [one([11], [10]), one([2], [1]), one([31], [30])]
    found = compare(rounds, "whole")
    assert found.added_p50 == pytest.approx(2)  # the drift from round to round meets both
    assert found.through.p50 == pytest.approx(22)


@given(st.lists(MILLISECONDS, min_size=1, max_size=7), st.integers(0, 1000))
def test_what_is_added_to_every_request_is_found(rounds: list[list[int]], added: int) -> None:
    slower = [one([ms + added for ms in direct], direct) for direct in rounds]
    found = compare(slower, "first")
    assert (found.added_p50, found.added_p99) == pytest.approx((added, added), abs=1e-6)


def test_disturbed_rounds_are_taken_again_and_left_out() -> None:
    rounds = [one([1], [1], robbed) for robbed in (QUIET, BUSY, QUIET)]
    assert not is_enough(rounds[:2], wanted=2)
    assert is_enough(rounds, wanted=2)
    assert counted(rounds, wanted=2) == (rounds[0], rounds[2])


def test_on_a_machine_that_is_never_quiet_all_count_in_the_end() -> None:
    rounds = [one([1], [1], BUSY) for _ in range(2 * MOST_TRIES)]
    assert not is_enough(rounds[:-1], wanted=2)
    assert is_enough(rounds, wanted=2)
    assert counted(rounds, wanted=2) == tuple(rounds)
