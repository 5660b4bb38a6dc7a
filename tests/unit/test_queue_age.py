"""CoDel by age: what is a burst and what stands, and what wait each allows."""

import pytest

from spillway.admission.contract import Band
from spillway.admission.queue.age import MIN_INTERVAL_S, MIN_TARGET_S, AgeControl
from spillway.admission.queue.bands import FreshLine
from spillway.pool.contract import Work
from spillway.pool.journal import Entry
from spillway_wire.sampling import SamplingParams


def test_a_burst_may_wait_an_interval_and_a_queue_that_stands_only_the_target() -> None:
    control = AgeControl()
    control.joined(0.0, 1.0)
    assert control.target_s == pytest.approx(0.1)
    assert (control.look(0.05, 0.05).standing, control.look(0.05, 0.05).allowed_wait_s) == (False, 0.1)
    for number in range(1, 10):
        control.left(0.1 * number, 0.2, 5)
    age = control.look(1.0, 0.2)
    assert (age.standing, age.oldest_s) == (True, 0.2)
    assert age.allowed_wait_s == pytest.approx(0.1)


def test_what_leaves_young_shows_that_the_queue_moves() -> None:
    control = AgeControl()
    control.joined(0.0, 2.0)
    control.left(5.0, 0.1, 5)
    assert not control.look(5.1, 0.1).standing
    assert control.look(5.3, 0.3).standing


def test_an_empty_queue_does_not_stand_whether_it_was_sent_or_given_up() -> None:
    control = AgeControl()
    control.joined(0.0, None)
    assert control.look(9.0, 9.0).standing
    control.left(9.0, 9.0, 0)
    assert not control.look(99.0, 0.0).standing
    control.joined(100.0, None)
    control.dropped(1)
    assert control.look(109.0, 9.0).standing
    control.dropped(0)
    assert not control.look(110.0, 0.0).standing


def test_bounds_hold_where_objectives_are_tight_and_engines_slow() -> None:
    control = AgeControl()
    control.joined(0.0, 0.001)
    assert control.target_s == MIN_TARGET_S
    assert control.interval_s == MIN_INTERVAL_S
    control.prefill_s = 0.7
    assert control.interval_s == 0.7
    for _ in range(200):
        control.joined(0.0, 30.0)
    assert control.target_s == pytest.approx(3.0, rel=0.01)
    assert control.interval_s == control.target_s, "a queue is given at least as long as its target"


def test_bands_age_apart() -> None:
    line: FreshLine[Entry] = FreshLine()
    for number, band in enumerate((Band.BULK, Band.INTERACTIVE)):
        work = Work(
            request_id=str(number), model="m", prompt_token_ids=[0], params=SamplingParams(), band=band, ttft_due=1.0
        )
        line.push(Entry(work, number, float(number), ()))
    line.set_prefill_s(0.3)
    bulk, interactive = (line.age(band, 1.2) for band in (Band.BULK, Band.INTERACTIVE))
    assert (bulk.standing, bulk.oldest_s) == (True, 1.2)
    assert (interactive.standing, interactive.allowed_wait_s) == (False, 0.3)
    assert line.age(Band.SYSTEM, 1.2).oldest_s == 0.0
