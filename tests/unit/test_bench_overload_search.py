"""How capacity is found, and how long a step takes to settle: on made-up servers, without one."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.admission.contract import Objective
from spillway.bench.overload.capacity import MOST_TRIES, NEAR, NoCapacityError, Probe, Search, find_capacity, ramp
from spillway.bench.overload.plan import Record, Run
from spillway.bench.overload.settling import GRID_S, WINDOW_S, good_tokens, settled_after_s

MINUTE = 60.0


def steady(begin: float, end: float, per_s: float = 100.0) -> list[tuple[float, float]]:
    return [(begin + number / per_s, 1.0) for number in range(math.floor((end - begin) * per_s))]


@given(st.floats(1.0, 1000.0), st.floats(0.5, 1.3))
def test_the_highest_good_rate_is_found(true: float, closed_share: float) -> None:
    found = find_capacity(true * closed_share, lambda rate: Probe(rate, float(rate <= true), min(rate, true)))
    assert true / NEAR / 1.001 <= found.rate <= true
    assert len(found.probes) <= MOST_TRIES


def test_nothing_good_is_told() -> None:
    with pytest.raises(NoCapacityError, match="give objectives"):
        find_capacity(10.0, lambda rate: Probe(rate, 0.5, 1.0))


def test_a_search_goes_up_until_it_fails_and_then_between() -> None:
    search = Search(8.0)
    assert search.next() == 8.0
    search.note(8.0, 0.97)
    assert search.next() == 10.0
    search.note(10.0, 0.94)
    assert search.next() == pytest.approx(math.sqrt(80))
    assert not search.is_done


def test_the_ramp_ends_where_more_clients_bring_no_more() -> None:
    asked: list[int] = []

    def answers_per_s(clients: int) -> float:
        asked.append(clients)
        return min(clients, 20.0)

    assert ramp(answers_per_s) == 20.0
    assert asked == [8, 16, 32, 64]


def test_what_is_steady_from_the_start_has_settled_at_once() -> None:
    assert settled_after_s(steady(0, MINUTE), MINUTE) == 0.0


@given(st.floats(1.0, 20.0))
def test_a_silence_is_over_when_a_twentieth_of_the_window_is_left_of_it(silence: float) -> None:
    settled = settled_after_s(steady(silence, MINUTE), MINUTE)
    assert settled is not None
    assert silence - 0.05 * WINDOW_S - GRID_S <= settled <= silence + GRID_S


def test_a_dip_later_on_counts() -> None:
    settled = settled_after_s(steady(0, 20) + steady(22, MINUTE), MINUTE)
    assert settled is not None
    assert 21.0 <= settled <= 22.0


def test_a_rate_that_fades_at_the_end_has_not_settled() -> None:
    assert settled_after_s(steady(0, 54), MINUTE) is None


def test_a_little_chance_is_allowed_for_where_it_goes_on() -> None:
    wavering = [(at, 1.0 if at % 10 < 5 else 0.88) for at, _ in steady(0, MINUTE)]
    assert settled_after_s(wavering, MINUTE) == 0.0
    assert settled_after_s(wavering, MINUTE, strict=True) != 0.0


def test_chance_excuses_no_more_than_its_share() -> None:
    swinging = [(at, 1.0 if at % 10 < 5 else 0.5) for at, _ in steady(0, MINUTE)]
    settled = settled_after_s(swinging, MINUTE)
    assert settled is None or settled > MINUTE / 2


@pytest.mark.parametrize("seconds", [2 * WINDOW_S - 0.1, 1.0])
def test_too_short_a_level_tells_nothing(seconds: float) -> None:
    assert settled_after_s(steady(0, seconds), seconds) is None


def test_nothing_good_settles_never() -> None:
    assert settled_after_s([], MINUTE) is None


def test_noise_of_single_seconds_does_not_hide_that_it_has_settled() -> None:
    randomness = random.Random(3)
    tokens = [(randomness.uniform(0, MINUTE), 1.0) for _ in range(40_000)]
    settled = settled_after_s(tokens, MINUTE)
    assert settled is not None
    assert settled <= 2.0


def test_only_good_answers_have_good_tokens_and_events_share_them() -> None:
    common = {"number": 0, "group": "", "attempt": 0, "due_s": 9.0, "sent_s": 9.0, "status": 200, "is_done": True}
    good = Record(**common, ended_s=11.0, events_s=[9.5, 10.5], output_tokens=6, is_exact=True)  # type: ignore[arg-type]
    wrong = Record(**common, ended_s=11.0, events_s=[9.6], output_tokens=1)  # type: ignore[arg-type]
    run = Run([good, wrong], 11.0, 0.0, "")
    assert good_tokens(run, lambda _: Objective(ttft_s=1.0, tpot_s=1.0), 10.0) == [(-0.5, 3.0), (0.5, 3.0)]
