"""When what died is started again: backoff, intensity, parking, the pool's window, and whose deaths do not count."""

import pytest

from spillway.settings import RestartSettings
from spillway.supervisor.blame import Blame, EngineDeath
from spillway.supervisor.restart import Death, History, PoolIntensity, backoff_s, decide

POLICY = RestartSettings()


def longest() -> float:
    return 1.0


def crash(at: float, *, ready_s: float | None = 1.0, served: bool = True, exempt: bool = False) -> Death:
    return Death(at=at, ready_s=ready_s, served=served, exempt=exempt)


def after(deaths: list[Death]) -> tuple[History, list[float]]:
    history, waits = History(), []
    for death in deaths:
        verdict = decide(POLICY, history, death, longest)
        history = verdict.history
        waits.append(verdict.wait_s)
    return history, waits


def test_the_longest_wait_doubles_up_to_the_cap() -> None:
    waits = [backoff_s(POLICY, k, longest) for k in range(1, 12)]
    assert waits[:5] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6])
    assert waits[8:] == pytest.approx([25.6, 30.0, 30.0])
    assert backoff_s(POLICY, 100_000, longest) == 30.0


def test_jitter_is_full() -> None:
    assert backoff_s(POLICY, 4, lambda: 0.0) == 0.0
    assert backoff_s(POLICY, 4, lambda: 0.5) == pytest.approx(0.4)


def test_more_than_five_deaths_a_minute_park() -> None:
    history, waits = after([crash(at) for at in (0, 10, 20, 30, 40)])
    assert not history.parked
    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6])
    verdict = decide(POLICY, history, crash(59), longest)
    assert verdict.parked
    assert verdict.wait_s == 60.0


def test_deaths_that_are_a_minute_old_do_not_count_any_more() -> None:
    history, _ = after([crash(at) for at in (0, 10, 20, 30, 40)])
    assert not decide(POLICY, history, crash(60), longest).parked
    history, _ = after([crash(at) for at in range(0, 1200, 12)])
    assert not history.parked


def test_a_parked_one_stays_parked_until_a_stable_run() -> None:
    history, _ = after([crash(at) for at in range(6)])
    assert history.parked
    later = decide(POLICY, history, crash(1000), longest)
    assert later.parked
    stable = decide(POLICY, later.history, crash(2000, ready_s=5.0), longest)
    assert stable.history == History()
    assert stable.wait_s == 0.1


@pytest.mark.parametrize(
    ("ready_s", "served", "forgotten"),
    [(5.0, True, True), (4.9, True, False), (9.0, False, False), (None, True, False)],
)
def test_only_a_run_that_was_ready_five_seconds_and_served_forgets(
    ready_s: float | None, served: bool, forgotten: bool
) -> None:
    history, _ = after([crash(0), crash(1)])
    verdict = decide(POLICY, history, crash(2, ready_s=ready_s, served=served), longest)
    assert (verdict.history == History()) == forgotten
    assert verdict.wait_s == pytest.approx(0.1 if forgotten else 0.4)


def test_a_death_that_is_a_requests_fault_does_not_count() -> None:
    history, _ = after([crash(0), crash(1)])
    for at in range(2, 50):
        verdict = decide(POLICY, history, crash(at, exempt=True), longest)
        assert verdict.history == history
        assert verdict.wait_s == pytest.approx(0.2)


def test_forgiven_deaths_are_as_if_they_had_not_been() -> None:
    history, _ = after([crash(at) for at in range(6)])
    assert history.forgive(since=5.0) == History(deaths=(0, 1, 2, 3, 4), num_in_a_row=5)
    assert history.forgive(since=0.0) == History()


def test_the_pools_restarts_beyond_its_intensity_wait_for_room_in_the_window() -> None:
    pool = PoolIntensity(RestartSettings(pool_intensity=3, period_s=60))
    assert [pool.book(at, 0.5) for at in (0.0, 1.0, 2.0)] == pytest.approx([0.5, 0.5, 0.5])
    assert pool.book(3.0, 0.5) == pytest.approx(57.5)  # 60 s after the first, which was at 0.5
    assert pool.book(3.0, 0.5) == pytest.approx(58.5)
    assert pool.book(200.0, 0.5) == pytest.approx(0.5)


def death(at: float, engine_id: str, *requests: str, model: str = "demo") -> EngineDeath:
    aboard = tuple(("gateway-0", request, 1, 0) for request in requests)
    return EngineDeath(at=at, engine_id=engine_id, model=model, aboard=aboard)


def test_a_request_aboard_two_deaths_takes_the_blame() -> None:
    blame = Blame()
    assert blame.add(death(0, "engine-0", "x", "poison"), 2) == frozenset()
    assert blame.add(death(5, "engine-1", "poison"), 2) == {"engine-1"}
    assert blame.add(death(9, "engine-1", "poison"), 2) == {"engine-1"}
    assert blame.add(death(12, "engine-0", "y"), 2) == frozenset()


def test_a_request_of_the_same_name_from_another_gateway_is_another() -> None:
    blame = Blame()
    blame.add(death(0, "engine-0", "x"), 2)
    stranger = EngineDeath(at=1, engine_id="engine-1", model="demo", aboard=(("gateway-1", "x", 1, 0),))
    assert blame.add(stranger, 3) == frozenset()


def test_a_story_is_over_after_a_minute() -> None:
    blame = Blame()
    blame.add(death(0, "engine-0", "poison"), 2)
    assert blame.add(death(60, "engine-1", "poison"), 2) == frozenset()


def test_engines_of_a_model_that_die_together_of_one_request_are_all_innocent() -> None:
    blame = Blame()
    assert blame.add(death(10.0, "engine-0", "a", "poison"), 3) == frozenset()
    assert blame.add(death(10.3, "engine-1", "b", "poison"), 3) == {"engine-1"}
    assert blame.add(death(10.9, "engine-2", "poison"), 3) == {"engine-0", "engine-1", "engine-2"}


def test_engines_that_die_together_with_nothing_in_common_share_a_fault_that_counts() -> None:
    blame = Blame()
    assert blame.add(death(10.0, "engine-0", "a"), 2) == frozenset()
    assert blame.add(death(10.1, "engine-1", "b"), 2) == frozenset()


@pytest.mark.parametrize(
    ("last", "num_engines"),
    [
        (death(10.5, "engine-1"), 2),  # nothing aboard
        (death(10.5, "engine-1", "b", model="other"), 2),
        (death(10.5, "engine-0", "b"), 1),  # alone
        (death(10.5, "engine-0", "b"), 2),  # the same again
    ],
)
def test_other_deaths_close_together_count(last: EngineDeath, num_engines: int) -> None:
    blame = Blame()
    blame.add(death(10.0, "engine-0", "a"), num_engines)
    assert blame.add(last, num_engines) == frozenset()
