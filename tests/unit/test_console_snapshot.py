"""What a console shows, from what was counted then and now."""

from typing import Any

import pytest

from spillway.ops.console.counts import counts_of
from spillway.ops.console.facts import POINT
from spillway.ops.console.snapshot import KINDS, Sample, point, snapshot
from spillway.ops.console.window import Window
from spillway_wire import names
from spillway_wire.outcomes import Outcome
from spillway_wire.series_reader import Read, Series, Values

LADDER = ("first", "second")


def histogram(metric: Any, *places: int, total: float) -> Values:
    counts = [0.0] * (metric.num_values - 1)
    for place in places:
        counts[place] += 1
    return Values((*counts, total))


def gateway_page(*, completed: int, refused: int, ttft: Values, level: float = 0.0) -> Read:
    kept: Series = {
        (names.REQUESTS.id, ("demo", "gold", "default", "chat", "completed")): Values((float(completed),)),
        (names.REQUESTS.id, ("demo", "gold", "bulk", "chat", "completed")): Values((1.0,)),
        (names.REQUESTS.id, ("demo", "bronze", "bulk", "chat", "overloaded")): Values((float(refused),)),
        (names.ADMISSION_DECISIONS.id, ("admitted", "", "gold", "default")): Values((float(completed + 1),)),
        (names.ADMISSION_DECISIONS.id, ("refused", "ttft", "bronze", "bulk")): Values((float(refused),)),
        (names.TIME_TO_FIRST_TOKEN.id, ("chat", "spillway", "demo", "gold")): ttft,
    }
    gauges: Series = {
        (names.QUEUED_REQUESTS.id, ("demo", "bulk")): Values((4.0,)),
        (names.BROWNOUT_LEVEL.id, ("demo",)): Values((level,)),
        (names.LOAD_PRESSURE.id, ("demo",)): Values((0.85,)),
    }
    return Read(kept, gauges)


def status(*, arrivals: int, completed: int, refused: int, tokens: int, **engine: Any) -> dict[str, Any]:
    counters = {"arrivals": arrivals, "outcome_completed": completed, "outcome_overloaded": refused, "recoveries": 1}
    facts = {"engine_limit.engine-0": 8.0, "queued_requests": 4.0}
    first = {
        "id": "engine-0",
        "model": "demo",
        "state": "ready",
        "incarnation": 2,
        "pid": 7,
        "running": 3,
        "waiting": 1,
        "kv_blocks": {"total": 100, "free": 75},
        "counters": {"output_tokens": tokens},
        "restarts": {"signal": 1},
    }
    return {
        "ready": True,
        "phase": "serving",
        "models": [{"name": "demo"}],
        "engines": [first | engine],
        "gateways": [{"id": "gateway-0", "state": "ready", "pid": 8, "counters": counters, "facts": facts}],
    }


def sample(at: float, page: Read, said: dict[str, Any], **more: Any) -> Sample:
    places = {"gateway-0": page}
    return Sample(at=1000.0 + at, counts=counts_of(at, places, said), status=said, places=places, **more)


THEN = sample(
    10.0,
    gateway_page(completed=5, refused=0, ttft=histogram(names.TIME_TO_FIRST_TOKEN, 3, total=0.015)),
    status(arrivals=6, completed=6, refused=0, tokens=100),
)
NOW = sample(
    20.0,
    gateway_page(completed=25, refused=10, ttft=histogram(names.TIME_TO_FIRST_TOKEN, 3, 8, 8, total=0.4), level=1.0),
    status(arrivals=40, completed=26, refused=10, tokens=700),
)


def test_the_last_while_is_what_was_counted_in_between() -> None:
    shown = snapshot(NOW, THEN.counts, LADDER)

    assert shown.window_s == 10.0
    assert (shown.arrivals.recent, shown.arrivals.total, shown.open_requests) == (34.0, 40, 4)
    assert (shown.tokens.recent, shown.engines[0].tokens_per_s) == (600.0, 60.0)
    assert [(row.outcome, row.kind, row.count.recent, row.count.total) for row in shown.outcomes] == [
        ("completed", "completed", 20.0, 26.0),
        ("overloaded", "refused", 10.0, 10.0),
    ]
    assert shown.outcomes[0].tiers["gold"].recent == 20.0  # both bands together
    assert shown.outcomes[0].tiers["gold"].total == 26.0
    assert shown.outcomes[1].tiers["bronze"].recent == 10.0
    ttft = shown.latencies[0]
    assert (ttft.recent.count, ttft.total.count) == (2, 3)
    assert ttft.recent.mean == pytest.approx(0.1925)
    assert ttft.recent.p50 is not None
    assert (ttft.recent.p50.low, ttft.recent.p50.high) == (0.1, 0.25)


def test_admission_says_whom_it_refused_and_why() -> None:
    shown = snapshot(NOW, THEN.counts, LADDER).admission

    assert (shown.admitted.recent, shown.refused.recent) == (20.0, 10.0)
    assert [(row.reason, row.count.recent) for row in shown.reasons] == [("ttft", 10.0)]
    assert shown.queued == {"bulk": 4}
    assert [(one.model, one.level, one.pressure) for one in shown.brownout] == [("demo", 1, 0.85)]
    assert shown.ladder == LADDER


def test_the_first_look_has_nothing_to_compare_with() -> None:
    shown = snapshot(NOW, None, LADDER)

    assert (shown.window_s, shown.arrivals.recent, shown.arrivals.total) == (0.0, 0.0, 40)
    assert shown.engines[0].tokens_per_s is None
    drawn = dict(zip(POINT, point(NOW, None, shown), strict=True))
    assert drawn["arrivals"] is None
    assert drawn["ttft_p95"] is None
    assert drawn["kv"] == 0.25


def test_a_point_has_rates_and_how_things_are() -> None:
    shown = snapshot(NOW, THEN.counts, LADDER)
    drawn = dict(zip(POINT, point(NOW, THEN.counts, shown), strict=True))

    assert (drawn["at"], drawn["arrivals"], drawn["completed"], drawn["refused"]) == (1020.0, 3.4, 2.0, 1.0)
    assert (drawn["open"], drawn["running"], drawn["waiting"]) == (4.0, 3.0, 5.0)
    assert (drawn["kv"], drawn["engines"], drawn["tokens"]) == (0.25, 1.0, 60.0)


@pytest.mark.parametrize("state", ["crashed", "loading", "parked", "hung"])
def test_what_the_dead_held_is_not_told(state: str) -> None:
    said = status(arrivals=0, completed=0, refused=0, tokens=0, state=state)
    (engine,) = snapshot(sample(1.0, Read({}, {}), said), None, LADDER).engines

    assert (engine.state, engine.running, engine.kv_total, engine.kv_used) == (state, 0, 0, 0)


def test_a_silent_supervisor_is_why_it_is_not_ready() -> None:
    said = status(arrivals=0, completed=0, refused=0, tokens=0)
    shown = snapshot(sample(1.0, Read({}, {}), said, problem="it did not answer", stale_s=3.0), None, LADDER)

    assert (shown.ready, shown.reasons, shown.problem, shown.stale_s) == (
        False,
        ("it did not answer",),
        "it did not answer",
        3.0,
    )


def test_of_nothing_at_all_something_is_shown() -> None:
    empty = Sample(at=1.0, counts=counts_of(1.0, {}, {}), status={}, problem="silent")
    shown = snapshot(empty, None, ())

    assert (shown.engines, shown.gateways, shown.outcomes, shown.redis.state) == ((), (), (), "absent")


def test_every_outcome_has_a_kind() -> None:
    assert set(KINDS) == set(Outcome)


def test_a_window_begins_so_long_ago_or_as_early_as_it_can() -> None:
    window = Window(longest_s=60.0)
    assert window.before(10.0) is None
    for at in range(100):
        window.add(counts_of(float(at), {}, {}))

    long, short = window.before(60.0), window.before(10.0)
    assert long is not None
    assert short is not None
    assert (long.at, short.at) == (39.0, 89.0)
    assert len(window) == 61
    window.forget()
    window.add(counts_of(200.0, {}, {}))
    assert window.before(60.0) is None
