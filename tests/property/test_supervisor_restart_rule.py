"""Rules of restarting that hold for any history: bounds of the wait, of the rate, and of what is remembered."""

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from spillway.settings import RestartSettings
from spillway.supervisor.restart import Death, History, PoolIntensity, decide

deaths = st.builds(
    lambda gap, ready_s, served, exempt: (gap, ready_s, served, exempt),
    st.floats(0, 100),
    st.none() | st.floats(0, 20),
    st.booleans(),
    st.booleans(),
)
policies = st.builds(
    RestartSettings,
    backoff_base_s=st.floats(0.01, 2),
    backoff_cap_s=st.floats(0.01, 60),
    intensity=st.integers(1, 8),
    period_s=st.floats(1, 100),
    pool_intensity=st.integers(1, 10),
    stable_after_s=st.floats(0, 10),
)


@hypothesis_settings(deadline=None)
@given(policies, st.lists(deaths, max_size=40), st.floats(0, 1))
def test_a_wait_is_bounded_and_parking_has_its_reason(
    policy: RestartSettings, life: list[tuple[float, float | None, bool, bool]], share: float
) -> None:
    history, now = History(), 0.0
    for gap, ready_s, served, exempt in life:
        now += gap
        before = history
        verdict = decide(policy, before, Death(at=now, ready_s=ready_s, served=served, exempt=exempt), lambda: share)
        history = verdict.history
        assert len(history.deaths) <= len(before.deaths) + 1
        if verdict.parked:
            assert verdict.wait_s == policy.retry_parked_s
            assert before.parked or len(history.deaths) > policy.intensity
        else:
            assert 0 <= verdict.wait_s <= policy.backoff_cap_s
        if not exempt:
            assert all(now - policy.period_s < at <= now for at in history.deaths)


@hypothesis_settings(deadline=None)
@given(policies, st.lists(st.tuples(st.floats(0, 30), st.floats(0, 30)), max_size=60))
def test_a_pool_never_restarts_more_often_than_its_intensity(
    policy: RestartSettings, asked: list[tuple[float, float]]
) -> None:
    pool, now, booked = PoolIntensity(policy), 0.0, list[float]()
    for gap, wait_s in asked:
        now += gap
        allowed_s = pool.book(now, wait_s)
        assert allowed_s >= wait_s - 1e-9
        booked.append(now + allowed_s)
    booked.sort()
    for first, later in zip(booked, booked[policy.pool_intensity :], strict=False):
        assert later - first >= policy.period_s * (1 - 1e-9) - 1e-6
