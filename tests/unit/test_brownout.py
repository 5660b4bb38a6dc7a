"""The ladder: who gets less, when, and that it is told."""

import pytest

from spillway.admission.contract import Band
from spillway.admission.shedding.brownout import Brownout, Degraded, Wish
from spillway.settings import BrownoutStep, Settings

STEPS = Settings().brownout
WISH = Wish(max_tokens=1000, choices=3, logprobs=True)


def press(ladder: Brownout, start_s: float, seconds: float, pressure: float) -> float:
    """Press for so long, ten times a second; return the end."""
    for number in range(int(seconds * 10)):
        ladder.observe(pressure, start_s + number / 10)
    ladder.advance(start_s + seconds)
    return start_s + seconds


def test_nothing_is_changed_without_pressure() -> None:
    ladder = Brownout(STEPS)
    press(ladder, 0.0, 10.0, 0.7)
    assert ladder.level == 0
    assert ladder.apply(WISH, "bronze", Band.BULK) == Degraded(wish=WISH)


def test_it_is_up_within_a_second_and_a_half_and_down_after_calm_step_by_step() -> None:
    ladder = Brownout(STEPS)
    now = press(ladder, 0.0, 1.5, 1.5)
    assert ladder.level == 3
    levels = []
    for second in range(20):
        ladder.advance(now + second)
        levels.append(ladder.level)
    assert levels[4] == 3
    assert levels[7] == 2
    assert sorted(levels, reverse=True) == levels
    assert levels[-1] == 0


def test_one_bad_moment_is_no_pressure() -> None:
    ladder = Brownout(STEPS)
    press(ladder, 0.0, 5.0, 0.3)
    ladder.observe(100.0, 5.0)
    press(ladder, 5.1, 2.0, 0.3)
    assert ladder.level == 0


def test_it_does_not_swing_around_a_step() -> None:
    ladder = Brownout((BrownoutStep(name="only", at=1.0),))
    press(ladder, 0.0, 3.0, 1.05)
    changes = 0
    for number in range(20):
        before = ladder.level
        press(ladder, 3.0 + number, 1.0, 0.97 if number % 2 else 1.03)
        changes += ladder.level != before
    assert changes == 0
    assert ladder.active == ("only",)


def test_a_step_takes_from_whom_it_concerns_and_says_so() -> None:
    ladder = Brownout(STEPS)
    press(ladder, 0.0, 5.0, 1.5)
    assert ladder.apply(WISH, "gold", Band.DEFAULT).steps == ()
    assert ladder.apply(WISH, "gold", Band.BULK) == Degraded(
        wish=Wish(max_tokens=256, choices=3, logprobs=True), steps=("bulk-short",)
    )
    assert ladder.apply(WISH, "bronze", Band.DEFAULT) == Degraded(
        wish=Wish(max_tokens=256, choices=1, logprobs=False), steps=("bronze-plain", "bronze-short")
    )
    assert ladder.apply(Wish(max_tokens=10), "bronze", Band.BULK).steps == ()


@pytest.mark.parametrize("idle_s", [30.0, 1e7])
def test_silence_is_calm(idle_s: float) -> None:
    ladder = Brownout(STEPS)
    now = press(ladder, 0.0, 5.0, 1.5)
    ladder.advance(now + idle_s)
    assert ladder.level == 0
    assert ladder.pressure < 0.01


def test_another_ladder_begins_at_the_height_of_the_old_one() -> None:
    ladder = Brownout(STEPS)
    press(ladder, 0.0, 5.0, 1.5)
    ladder.reload((BrownoutStep(name="b", at=1.1), BrownoutStep(name="a", at=0.5)))
    assert ladder.active == ("a", "b")
