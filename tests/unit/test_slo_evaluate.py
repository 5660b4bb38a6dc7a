"""Sums, windows and slices as ops keeps them, and what is left of them after a restart."""

from collections.abc import Iterator
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway_slo import memory
from spillway_slo.alerts import AlertBook, fingerprint, notifications
from spillway_slo.collect import Collector, Sample
from spillway_slo.evaluate import Evaluator, Standing
from spillway_slo.history import Ring
from spillway_slo.ledger import Ledger
from spillway_slo.loading import load
from spillway_slo.objective import Stream
from spillway_slo.windows import TICK_S
from spillway_wire import names

JUDGED = names.JUDGED_REQUESTS.exposed
OBJECTIVES = load("laptop")


def judged(**counts: float) -> list[Sample]:
    return [
        Sample(JUDGED, (("tier", "gold"), ("kind", "chat"), ("verdict", verdict)), None, count)
        for verdict, count in counts.items()
    ]


class Load:
    """Ten requests a tick, some of them failing."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator, self.step = evaluator, 0
        self.good = self.failed = 0.0

    def ticks(self, number: int, *, failing: float = 0.0) -> Iterator[float]:
        """Yield each moment after it was taken in."""
        for _ in range(number):
            self.good, self.failed = self.good + 10 * (1 - failing), self.failed + 10 * failing
            self.evaluator.observe(self.step * TICK_S, self.samples())
            yield self.step * TICK_S
            self.step += 1

    def samples(self) -> list[Sample]:
        return judged(good=self.good, failed=self.failed, shed=0.0)


def standing(evaluator: Evaluator, name: str) -> Standing:
    return next(each for each in evaluator.standings() if each.objective.name == name)


@given(st.lists(st.integers(0, 100), min_size=2, max_size=40))
def test_a_sum_never_shrinks_and_counts_from_the_first_value_on(values: list[int]) -> None:
    stream = Stream(JUDGED, (("verdict", ("failed",)),))
    collector = Collector([stream])
    expected, before = 0.0, float(values[0])
    for value in values:
        collector.observe(judged(failed=value, good=7))
        expected += value - before if value >= before else value
        before = value
        assert collector.sums == [expected]


@given(st.integers(1, 6), st.integers(1, 40))
def test_a_ring_keeps_the_last_moments_in_order(capacity: int, number: int) -> None:
    ring = Ring(capacity, 1)
    for time in range(number):
        ring.append(float(time), [time * 2.0])
    kept = list(range(max(0, number - len(ring)), number))
    assert len(ring) in {min(number, capacity), min(number, capacity) - 1}
    assert list(ring.times) == kept
    assert [row[0] for row in ring.rows] == [2.0 * time for time in kept]
    assert ring.edge(float(number)) is None
    assert ring.edge(-1.0) == 0


def test_a_burn_pages_and_its_end_is_told() -> None:
    load_, book = Load(Evaluator(OBJECTIVES)), AlertBook()

    def changed(number: int, failing: float = 0.0) -> set[tuple[str, str]]:
        return {
            (alert.name, alert.status)
            for now in load_.ticks(number, failing=failing)
            for alert in book.update(load_.evaluator.standings(), now)
        }

    assert changed(240) == set()
    began = changed(20, failing=0.9)
    assert {("GoldAvailabilityPageQuick", "firing"), ("GoldAvailabilityByMinutePageQuick", "firing")} <= began
    assert not [name for name, _ in began if name.startswith(("Silver", "GoldShed", "GoldStream"))]
    assert ("GoldAvailabilityPageQuick", "resolved") in changed(30)
    assert "GoldAvailabilityPageQuick" in [alert.name for alert in book.past]


def test_one_failure_alone_is_no_alert() -> None:
    evaluator = Evaluator(OBJECTIVES)
    evaluator.observe(0.0, judged(good=0, failed=0))
    evaluator.observe(15.0, judged(good=1, failed=1))
    assert standing(evaluator, "gold-availability").counted["1h"].bad == 1
    assert not any(standing(evaluator, "gold-availability").burning.values())
    evaluator.observe(30.0, judged(good=1, failed=3))
    assert standing(evaluator, "gold-availability").burning["GoldAvailabilityPageQuick"]


def test_a_failure_of_nobody_knows_whom_is_charged_to_every_tier() -> None:
    evaluator = Evaluator(OBJECTIVES)
    for count in (0.0, 5.0):
        unknown = [Sample(JUDGED, (("tier", ""), ("kind", ""), ("verdict", "failed")), None, count)]
        evaluator.observe(count * 3, [*unknown, *judged(good=count)])
    for tier in ("gold", "silver", "bronze"):
        assert standing(evaluator, f"{tier}-availability").counted["5m"].bad == 5


def test_all_windows_scale_by_one_factor() -> None:
    scaled, plain = Evaluator(OBJECTIVES, Fraction(1, 60)), Evaluator(OBJECTIVES)
    for step in range(500):
        samples = judged(good=step * 10, failed=max(0, step - 480) * 5, shed=0)
        plain.observe(step * TICK_S, samples)
        scaled.observe(step * TICK_S / 60, samples)
    for one, other in zip(plain.standings(), scaled.standings(), strict=True):
        assert (one.counted, one.burning, one.budget_left) == (other.counted, other.burning, other.budget_left)


def test_what_is_remembered_is_gone_on_with() -> None:
    first, ledger, book = Load(Evaluator(OBJECTIVES)), Ledger(), AlertBook()
    for now in first.ticks(100, failing=0.5):
        book.update(first.evaluator.standings(), now)
        ledger.note(now, {("tenant", "acme", "gold", "completed"): now})
    data = memory.dump(first.evaluator, ledger, book, scale="1", profile="laptop")
    second, again = Evaluator(OBJECTIVES), Ledger()
    restored = memory.restore(data, second, again, scale="1")
    assert memory.made_with(data) == ("laptop", "1")
    assert book.firing
    assert restored.firing == book.firing
    assert again.between(0, 1e9) == ledger.between(0, 1e9)
    (now,) = first.ticks(1)
    second.observe(now, first.samples())
    for one, other in zip(first.evaluator.standings(), second.standings(), strict=True):
        assert one.burning == other.burning
        for window, counted in one.counted.items():
            assert other.counted[window].total == pytest.approx(counted.total, abs=1e-6)


def test_other_objectives_keep_what_they_share_and_a_spoilt_file_is_refused() -> None:
    whole = Evaluator(OBJECTIVES)
    list(Load(whole).ticks(30))
    data = memory.dump(whole, Ledger(), AlertBook(), scale="1")
    part = Evaluator([each for each in OBJECTIVES if each.name == "gold-shed"])
    memory.restore(data, part, Ledger(), scale="1")
    assert standing(part, "gold-shed").counted["5m"].total == standing(whole, "gold-shed").counted["5m"].total
    for spoilt, scale in ((b"", "1"), (data[:-9], "1"), (data, "1/60")):
        with pytest.raises(memory.UnreadableError):
            memory.restore(spoilt, Evaluator(OBJECTIVES), Ledger(), scale=scale)


def test_the_ledger_keeps_growth_by_cause_and_hours_after_a_day() -> None:
    ledger, cause = Ledger(), ("outcome", "gold", "engine_failed")
    for mark in range(12 * 30):
        ledger.note(mark * 300.0, {cause: float(mark)})
    assert ledger.between(0, 1e9)[cause] == 12 * 30 - 1
    assert ledger.between(28 * 3600.0, 29 * 3600.0)[cause] == 12
    assert len(ledger.entries) < 12 * 25 + 10


def test_a_notification_is_alertmanagers() -> None:
    evaluator, book = Evaluator(OBJECTIVES), AlertBook()
    evaluator.observe(0.0, judged(good=0, failed=0))
    evaluator.observe(15.0, judged(good=0, failed=50))
    bodies = notifications(book.update(evaluator.standings(), 1.7e9), receiver="pager", external_url="http://ops")
    body = next(each for each in bodies if each["groupLabels"] == {"sloth_slo": "gold-availability"})
    assert (body["version"], body["status"], body["receiver"], body["truncatedAlerts"]) == ("4", "firing", "pager", 0)
    assert body["commonLabels"]["tier"] == "gold"
    alert = body["alerts"][0]
    assert alert["labels"]["alertname"] == "GoldAvailabilityPageQuick"
    assert (alert["startsAt"], alert["endsAt"]) == ("2023-11-14T22:13:20.000Z", "0001-01-01T00:00:00Z")
    assert alert["fingerprint"] == fingerprint(alert["labels"])
    assert alert["generatorURL"] == "http://ops/slo"
