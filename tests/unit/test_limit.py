"""The adaptive limit, on engines in virtual time: it finds capacity by itself, and again when that changes."""

from collections.abc import Callable
from random import Random

import pytest

from spillway.admission.load.limit import FIRST, LEAST, AdaptiveLimit

StepTime = Callable[[int, int, float], float]
"""Of (rows that decode, prompt tokens, time)."""
CHUNK = 512


def line(fixed: float, per_row: float, per_token: float = 0.00005) -> StepTime:
    return lambda rows, tokens, _: fixed + per_row * rows + per_token * tokens


class Engine:
    """An engine that is always asked for more than its limit allows, unless told otherwise."""

    def __init__(self, limit: AdaptiveLimit, step_s: StepTime, *, objective_s: float | None, seed: int = 0) -> None:
        self.limit, self.step_s, self.objective_s = limit, step_s, objective_s
        self.draw = Random(seed)
        self.now = 0.0
        self.demand: Callable[[float], bool] = lambda _: True
        self.running: list[list[int]] = []
        """[tokens to decode, prompt tokens to compute] of each sequence."""
        self.trace: list[tuple[float, float, int, float, int]] = []
        """(time, limit, in flight, duration, rows) of each step."""
        limit.expect(objective_s)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            if self.demand(self.now):
                while len(self.running) + 1 <= self.limit.value:
                    self.running.append([self.draw.randint(30, 90), 100])
            if not self.running:
                self.now += 0.01
                continue
            self.step()

    def step(self) -> None:
        decoding = [each for each in self.running if not each[1]]
        tokens = 0
        for each in self.running:
            if each[1] and tokens + each[1] <= CHUNK:
                tokens, each[1] = tokens + each[1], 0
        duration_s = self.step_s(len(decoding), tokens, self.now) * max(0.5, self.draw.gauss(1.0, 0.04))
        self.now += duration_s
        for each in decoding:
            each[0] -= 1
        self.running = [each for each in self.running if each[0] > 0]
        self.limit.observe(
            self.now,
            duration_s,
            len(decoding),
            tokens,
            in_flight=len(self.running),
            objective_s=self.objective_s,
            demand=self.demand(self.now),
        )
        self.trace.append((self.now, self.limit.value, len(self.running), duration_s, len(decoding)))

    def since(self, start: float) -> list[tuple[float, float, int, float, int]]:
        return [each for each in self.trace if each[0] >= start]

    def mean_step_s(self, start: float) -> float:
        steps = [duration for _, _, _, duration, _ in self.since(start)]
        return sum(steps) / len(steps)

    def tokens_per_s(self, start: float) -> float:
        return sum(rows for _, _, _, _, rows in self.since(start)) / (self.now - start)


@pytest.mark.parametrize("objective_s", [0.02, 0.05, 0.1])
@pytest.mark.parametrize("speed", [0.5, 1.0, 4.0])
def test_it_finds_what_the_objective_allows_and_stays_there(objective_s: float, speed: float) -> None:
    engine = Engine(AdaptiveLimit(256), line(0.004 / speed, 0.0005 / speed), objective_s=objective_s)
    engine.run(30.0)
    mean_s = engine.mean_step_s(15.0)
    assert mean_s <= objective_s
    assert mean_s >= 0.6 * objective_s or engine.limit.value > 0.95 * 256


def test_it_finds_capacity_again_when_the_engine_slows_down_and_recovers() -> None:
    def step_s(rows: int, tokens: int, now: float) -> float:
        return line(0.004, 0.0005)(rows, tokens, now) * (3.0 if 15.0 <= now < 30.0 else 1.0)

    engine = Engine(AdaptiveLimit(256), step_s, objective_s=0.05)
    engine.run(15.0)
    before = engine.limit.value
    engine.run(15.0)
    assert engine.limit.value < before / 2
    assert engine.mean_step_s(20.0) <= 0.05
    engine.run(15.0)
    assert engine.limit.value > 0.85 * before


@pytest.mark.parametrize("seed", range(4))
def test_it_goes_where_most_tokens_come_out_when_more_in_flight_brings_less(seed: int) -> None:
    def thrash(rows: int, tokens: int, _: float) -> float:
        return 0.004 + 0.0002 * rows + 0.00004 * max(0, rows - 40) ** 2 + 0.00005 * tokens

    engine = Engine(AdaptiveLimit(256), thrash, objective_s=0.5, seed=seed)
    engine.run(60.0)
    best = 40 / thrash(40, 0, 0.0)
    assert engine.tokens_per_s(30.0) > 0.55 * best, "prefills take their part of it"
    assert all(28 <= value <= 60 for _, value, _, _, _ in engine.since(30.0))


def test_without_an_objective_it_is_what_fits() -> None:
    engine = Engine(AdaptiveLimit(64), line(0.004, 0.0005), objective_s=None)
    engine.run(20.0)
    assert {value for _, value, _, _, _ in engine.trace} == {64.0}


def test_where_everything_fits_it_grows_to_that() -> None:
    engine = Engine(AdaptiveLimit(256), line(0.02, 0.0001), objective_s=0.2)
    engine.run(12.0)
    assert engine.limit.value == 256.0


def test_it_does_not_grow_while_nobody_wants_more() -> None:
    limit = AdaptiveLimit(256)
    engine = Engine(limit, line(0.004, 0.0001), objective_s=0.2)
    first = limit.value
    engine.demand = lambda now: int(now) % 5 == 0 and not engine.running
    engine.run(30.0)
    assert engine.trace
    limit_after = limit.value
    engine.demand = lambda _: False
    engine.run(5.0)
    assert limit.value == limit_after
    assert limit_after <= 2 * first


def test_it_does_not_grow_while_it_is_not_what_holds_work_back() -> None:
    def grown(in_flight: int) -> float:
        limit = AdaptiveLimit(256, start=64.0)
        for number in range(200):
            limit.observe(number / 100, 0.01, in_flight, 0, in_flight=in_flight, objective_s=0.1, demand=True)
        return limit.value

    assert grown(31) == 64.0
    assert grown(60) > 64.0


def test_a_preemption_lowers_it_once_until_what_is_there_has_gone() -> None:
    limit = AdaptiveLimit(100, start=50.0)
    now = 0.0

    def steps(number: int, in_flight: int) -> None:
        nonlocal now
        for _ in range(number):
            now += 0.01
            limit.observe(now, 0.01, in_flight, 0, in_flight=in_flight, objective_s=0.1, demand=False)

    steps(5, 40)
    limit.note_preemption()
    steps(20, 40)
    assert limit.value == pytest.approx(36.0), "of the 40 that did not fit"
    limit.note_preemption()
    steps(30, 40)
    assert limit.value == pytest.approx(36.0)


def test_long_prefill_chunks_do_not_cut_it_while_the_mean_is_within_the_objective() -> None:
    engine = Engine(AdaptiveLimit(64), line(0.005, 0.0001, 0.0004), objective_s=0.1)
    engine.run(10.0)
    chunks = [duration for _, _, _, duration, _ in engine.trace if duration > 0.1]
    assert len(chunks) > 10, "single steps do take longer than the objective"
    assert engine.limit.value > 30


def test_an_objective_that_cannot_be_kept_leaves_the_least() -> None:
    engine = Engine(AdaptiveLimit(64), line(0.05, 0.001), objective_s=0.01)
    engine.run(20.0)
    assert engine.limit.value == LEAST
    assert AdaptiveLimit(2).least == 2.0
    assert AdaptiveLimit(1).value == 1.0


def test_it_begins_low_when_an_objective_is_heard_of_and_where_its_predecessor_was() -> None:
    fresh, small, successor = AdaptiveLimit(256), AdaptiveLimit(16), AdaptiveLimit(256, start=99.0)
    assert fresh.value == 256.0
    for limit in (fresh, small, successor):
        limit.expect(None)
        limit.expect(0.1)
    assert (fresh.value, small.value, successor.value) == (64.0, float(FIRST), 99.0)
    assert AdaptiveLimit(16, start=99.0).value == 16.0


def test_what_others_fill_beyond_it_raises_it_where_all_is_well() -> None:
    mine = AdaptiveLimit(64, 16.0)
    at = [0.0]

    def steps(number: int, duration_s: float, in_flight: int) -> None:
        for _ in range(number):
            at[0] += duration_s
            mine.observe(at[0], duration_s, in_flight, 0, in_flight=in_flight, objective_s=0.1, demand=False)

    steps(20, 0.05, 30)  # another gateway has filled it, and it is well within the objective
    assert 30.0 <= mine.value <= 36.0, "it was full at 30, and all was well"
    before = mine.value
    steps(20, 0.12, 40)  # and here it is not
    assert mine.value <= before
