"""The pace of an engine, learned from steps of synthetic engines: noisy, paused, sped up and slowed down."""

from collections.abc import Callable
from random import Random

import pytest

from spillway.admission.load.model_load import Pace
from spillway.admission.load.pace import MIN_STEPS, PaceFit, prefill_per_s

FAST = Pace(0.004, 0.0002, 0.00005)


def scaled(pace: Pace, factor: float) -> Pace:
    return Pace(pace.fixed_s * factor, pace.per_row_s * factor, pace.per_token_s * factor)


def mixed(draw: Random) -> tuple[int, int]:
    return draw.randint(0, 32), draw.choice([1, 0, 0, 100, 500])


def decodes_only(_: Random) -> tuple[int, int]:
    return 8, 0


class Steps:
    """Feeds a fit for a time, with 5 % of noise."""

    def __init__(self, seed: int, fit: PaceFit | None = None) -> None:
        self.fit = PaceFit() if fit is None else fit
        self.draw = Random(seed)

    def run(
        self,
        pace: Pace,
        seconds: float,
        shape: Callable[[Random], tuple[int, int]] = mixed,
        pauses: float = 0.0,
    ) -> Pace:
        passed = 0.0
        while passed < seconds:
            rows, tokens = shape(self.draw)
            duration_s = pace.step_s(rows, tokens) * max(0.5, self.draw.gauss(1.0, 0.05))
            if self.draw.random() < pauses:
                duration_s += 0.5
            self.fit.observe(duration_s, rows, tokens)
            passed += duration_s
        found = self.fit.pace
        assert found is not None
        return found


def close(found: Pace, pace: Pace, rel: float) -> bool:
    shapes = [(1, 0), (8, 0), (32, 0), (0, 100), (16, 500)]
    return all(found.step_s(*shape) == pytest.approx(pace.step_s(*shape), rel=rel) for shape in shapes)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("factor", [0.1, 1.0, 20.0])
def test_it_finds_the_line_through_noise_at_any_speed(seed: int, factor: float) -> None:
    assert close(Steps(seed).run(scaled(FAST, factor), 2.0 * max(1.0, factor / 2)), scaled(FAST, factor), 0.12)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("factor", [0.2, 0.6, 1.6, 3.0, 5.0])
def test_a_sudden_change_of_speed_is_learned_within_two_seconds(seed: int, factor: float) -> None:
    steps = Steps(seed)
    steps.run(FAST, 3.0)
    assert close(steps.run(scaled(FAST, factor), 2.0), scaled(FAST, factor), 0.2)
    assert close(steps.run(FAST, 2.0), FAST, 0.2)


def test_a_pause_of_the_machine_is_not_the_engines_pace() -> None:
    steps = Steps(1)
    assert close(steps.run(FAST, 5.0, pauses=0.02), FAST, 0.2)
    steps.run(FAST, 2.0)
    steps.fit.observe(0.5, 8, 0)
    steps.fit.observe(1.5 * FAST.step_s(8), 8, 0)  # nor does it make the fit forget what it knew
    found = steps.fit.pace
    assert found is not None
    assert close(found, FAST, 0.1)


def test_what_the_steps_do_not_show_stays_as_it_was() -> None:
    steps = Steps(2)
    before = steps.run(FAST, 2.0)
    found = steps.run(FAST, 60.0, decodes_only)
    assert found.per_token_s == pytest.approx(before.per_token_s, rel=0.15)
    assert close(found, FAST, 0.15)
    slow = steps.run(scaled(FAST, 2.0), 2.0, decodes_only)
    assert slow.step_s(8) == pytest.approx(2.0 * FAST.step_s(8), rel=0.1)
    assert close(steps.run(scaled(FAST, 2.0), 2.0), scaled(FAST, 2.0), 0.2)


def test_no_coefficient_is_ever_negative_or_absurd() -> None:
    draw = Random(3)
    fit = PaceFit()
    for _ in range(3000):
        fit.observe(draw.uniform(1e-6, 2.0), draw.randint(0, 3) * 100, draw.randint(0, 3) * 1000)
        found = fit.pace
        if found is not None:
            assert min(found.fixed_s, found.per_row_s, found.per_token_s) >= 0.0
            assert found.step_s(300, 3000) < 100.0


def test_nothing_is_said_before_there_were_enough_steps_and_empty_ones_do_not_count() -> None:
    fit = PaceFit()
    for _ in range(MIN_STEPS - 1):
        fit.observe(0.01, 4, 0)
    for duration_s, rows in ((0.01, 0), (0.0, 4), (-1.0, 4), (float("nan"), 4), (float("inf"), 4)):
        fit.observe(duration_s, rows, 0)
    before = fit.pace
    fit.observe(0.01, 4, 0)
    found = fit.pace
    assert before is None
    assert found is not None
    assert found.step_s(4) == pytest.approx(0.01, rel=0.01)


def test_a_successor_says_what_was_known_until_it_knows_better() -> None:
    fit = PaceFit(FAST)
    assert fit.pace == FAST
    assert close(Steps(4, fit).run(scaled(FAST, 4.0), 2.0), scaled(FAST, 4.0), 0.2)


def test_prefill_runs_in_what_decodes_leave_of_a_step() -> None:
    assert prefill_per_s(FAST, 12, 512) == pytest.approx(500 / FAST.step_s(12, 500))
    assert prefill_per_s(FAST, 600, 512) == pytest.approx(1 / FAST.step_s(600, 1))
