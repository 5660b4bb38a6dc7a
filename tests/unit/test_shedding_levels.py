"""The guard of last resort, and the budget for retries."""

from spillway.admission.contract import ANONYMOUS_ID, Ask, Band, Objective
from spillway.admission.shedding.dagor import BUCKETS, LEVELS, Dagor, level_of
from spillway.admission.shedding.retry_budget import MOST, RetryBudget


def ask(tenant: str, band: Band = Band.DEFAULT, request: str = "r") -> Ask:
    return Ask(
        request_id=request,
        model="m",
        tenant_id=tenant,
        key_id="k",
        band=band,
        weight=1.0,
        objective=Objective(ttft_s=1.0, tpot_s=0.1),
    )


def test_levels_go_by_band_then_by_tenant_and_are_drawn_anew_each_hour() -> None:
    levels = {band: level_of(ask("acme", band), 0.0) for band in Band}
    assert sorted(levels.values()) == list(levels.values())
    assert all(level // BUCKETS == band for band, level in levels.items())
    assert level_of(ask("acme", request="other"), 10.0) == levels[Band.DEFAULT]
    assert len({level_of(ask("acme"), hour * 3600.0) for hour in range(24)}) > 12


def test_of_the_anonymous_tenant_some_get_in() -> None:
    assert len({level_of(ask(ANONYMOUS_ID, request=str(number)), 0.0) for number in range(500)}) > 100


def play(dagor: Dagor, seconds: range, *, wait: float, lag: float = 0.0) -> int:
    """Play arrivals of all levels of the bulk band and of the first of each other; return how many were admitted."""
    admitted = 0
    for second in seconds:
        dagor.lagged(lag)
        for level in (0, BUCKETS, 2 * BUCKETS, *range(3 * BUCKETS, LEVELS)):
            if dagor.arrive(level, float(second)):
                admitted += 1
                dagor.waited(wait)
    return admitted


def test_it_stays_out_of_the_way_when_waits_are_as_allowed() -> None:
    dagor = Dagor()
    assert play(dagor, range(100), wait=0.9) == 100 * 131
    assert not dagor.sheds


def test_a_moment_of_long_waits_is_left_to_the_door() -> None:
    dagor = Dagor()
    play(dagor, range(2), wait=5.0)
    play(dagor, range(2, 6), wait=0.1)
    assert not dagor.sheds


def test_long_waits_lower_the_threshold_step_by_step_and_never_to_the_system_band() -> None:
    dagor = Dagor()
    play(dagor, range(5), wait=2.0)  # the fourth arrival of a second closes the one before
    first = dagor.threshold
    assert first == LEVELS - 1 - 14  # of 131 levels that arrive 5 %, twice
    play(dagor, range(5, 9), wait=2.0)
    assert LEVELS - 50 < dagor.threshold < first
    play(dagor, range(10, 500), wait=2.0)
    assert dagor.threshold >= BUCKETS - 1
    assert dagor.arrive(0, 501.0)


def test_it_recovers_slowly_to_all() -> None:
    dagor = Dagor()
    play(dagor, range(20), wait=2.0)
    low = dagor.threshold
    play(dagor, range(20, 24), wait=0.1)
    assert low < dagor.threshold < LEVELS - 1
    play(dagor, range(22, 400), wait=0.1)
    assert not dagor.sheds


def test_a_late_loop_counts_like_a_long_wait() -> None:
    dagor = Dagor()
    play(dagor, range(10), wait=0.0, lag=2.0)
    assert dagor.sheds


def test_a_flood_closes_a_window_early() -> None:
    dagor = Dagor()
    for _ in range(20_000):
        dagor.arrive(LEVELS - 1, 0.0)
        dagor.waited(3.0)
    assert dagor.sheds


def test_retries_are_a_share_of_first_tries_while_load_is_refused() -> None:
    budget = RetryBudget(0.1)
    while budget.retry(refusing=True):
        pass
    passed = 0
    for _ in range(1000):
        budget.first_try()
        passed += budget.retry(refusing=True)
    assert 95 <= passed <= 100


def test_while_nothing_is_refused_no_retry_is() -> None:
    budget = RetryBudget(0.1)
    assert all(budget.retry(refusing=False) for _ in range(100))
    for _ in range(1000):
        budget.first_try()
    assert budget.left == MOST
