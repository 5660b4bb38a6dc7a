"""Engines' ways back, as stories for traces: every phase with its time, one story for each."""

from collections.abc import Callable
from itertools import pairwise
from types import ModuleType
from typing import Any

import pytest

from spillway.supervisor.lifecycle import Event
from spillway.supervisor.state_lines import StateLines
from spillway.telemetry.restarts import RestartTraces
from spillway.telemetry.tracing.engine_spans import build_life
from spillway.telemetry.tracing.span import StatusCode
from spillway_wire import trace_names as names
from spillway_wire.plane import EngineLife, EngineStatus, ExitCause


@pytest.fixture
def pool(fake_runs: ModuleType) -> Any:
    return fake_runs.Pool(engines=1).ready()


def stories(pool: Any) -> list[EngineLife]:
    return [message for message in pool.published if isinstance(message, EngineLife)]


def phases(life: EngineLife) -> list[tuple[str, float]]:
    return [(phase.name, round((phase.end_ns - phase.start_ns) / 1e9, 3)) for phase in life.phases]


def start(pool: Any) -> None:
    """What an engine says while it starts, a second apart."""
    signs = pool.run(0).signs
    for event in (Event.LOAD, Event.WARM):
        pool.time.pass_s(1)
        signs.moved(event)
    pool.time.pass_s(1)
    signs.ready()


def test_a_crash_is_a_story_of_its_phases(pool: Any) -> None:
    pool.time.pass_s(60)
    pool.run(0).end(-9)
    wait_s = pool.time.next_due_s
    pool.time.pass_s(wait_s)
    start(pool)
    (life,) = stories(pool)
    assert phases(life) == [("detect", 0.0), ("backoff", round(wait_s, 3)), ("spawn", 1), ("load", 1), ("warm", 1)]
    assert (life.cause, life.asked, life.end, life.incarnation) == (ExitCause.SIGNAL, False, EngineStatus.READY, 2)
    assert list(pool.engines.chronicle.lately)[-1] == life


def test_a_hang_was_noticed_later_than_it_began(pool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = pool.run(0)
    last_ns = pool.time.now_ns
    monkeypatch.setattr(type(run), "last_sign_ns", lambda _: last_ns, raising=False)
    pool.time.pass_s(2)
    run.lateness = "no progress"
    pool.engines.watch(pool.time.now_ns)
    pool.time.pass_s(0.5)
    run.end(-9)
    pool.time.pass_s(pool.time.next_due_s)
    start(pool)
    (life,) = stories(pool)
    assert life.cause is ExitCause.HANG
    assert phases(life)[:2] == [("detect", 2), ("kill", 0.5)]


def test_starts_that_fail_on_the_way_are_part_of_the_story(pool: Any) -> None:
    pool.run(0).end(-9)
    for _ in range(2):
        pool.time.pass_s(pool.time.next_due_s)
        pool.run(0).end(1)
    pool.time.pass_s(pool.time.next_due_s)
    start(pool)
    (life,) = stories(pool)
    assert [name for name, _ in phases(life)].count("backoff") == 3
    assert life.cause is ExitCause.SIGNAL  # what it began with


def test_a_restart_that_was_asked_for_drains_first(pool: Any) -> None:
    pool.engines.restart("engine-0")
    pool.time.pass_s(3)
    pool.run(0).end(0)
    start(pool)
    (life,) = stories(pool)
    assert phases(life) == [("drain", 3), ("spawn", 1), ("load", 1), ("warm", 1)]
    assert life.asked


def test_the_first_start_is_a_story_too(fake_runs: ModuleType) -> None:
    pool = fake_runs.Pool(engines=1)
    pool.engines.start()
    start(pool)
    (life,) = stories(pool)
    assert (life.cause, phases(life)) == (None, [("spawn", 1), ("load", 1), ("warm", 1)])
    trace = build_life(life, 0)
    assert trace is not None
    assert trace.spans[0].name == names.START
    assert trace.spans[0].status is StatusCode.UNSET


def test_a_parked_engine_has_a_story_that_ends_there(pool: Any) -> None:
    for _ in range(100):
        if pool.states == ["parked"]:
            break
        if pool.states == ["backoff"]:
            pool.time.pass_s(pool.time.next_due_s)
        else:
            pool.run(0).end(-9)
    life = stories(pool)[-1]
    assert life.end is EngineStatus.PARKED
    trace = build_life(life, 0)
    assert trace is not None
    assert trace.summary.failed
    assert not trace.summary.recovered


@pytest.fixture
def life(pool: Any) -> EngineLife:
    pool.run(0).end(-9)
    pool.time.pass_s(pool.time.next_due_s)
    start(pool)
    return stories(pool)[0]


def test_a_story_becomes_a_trace_whose_phases_tile_it(life: EngineLife) -> None:
    trace = build_life(life, 1_000)
    assert trace is not None
    root, *children = trace.spans
    assert [span.name for span in children] == ["detect", "backoff", "spawn", "load", "warm"]
    assert children[0].start_ns == root.start_ns
    assert children[-1].end_ns == root.end_ns
    assert all(before.end_ns == after.start_ns for before, after in pairwise(children))
    assert {span.parent_id for span in children} == {root.span_id}
    assert root.attributes[names.CAUSE] == "signal"
    assert root.attributes[names.RECOVER_S] == pytest.approx(root.duration_s)
    assert [event.name for event in root.events] == [names.EVENT_ENGINE_DIED, names.EVENT_ENGINE_READY]
    assert build_life(life, 1_000) == trace  # told twice, it is the same


def test_ops_makes_one_trace_of_a_story_however_often_it_is_told(life: EngineLife) -> None:
    stored: set[str] = set()
    offered: list[Any] = []

    class Store:
        def get(self, trace_id: str) -> list[str]:
            return [trace_id] if trace_id in stored else []

    make: Callable[[], Any] = lambda: RestartTraces(offered.append, Store())  # type: ignore[arg-type]  # noqa: E731
    first = make()
    first.received(life)
    first.received(life)
    assert len(offered) == 1
    trace = offered[0].build()
    stored.add(trace.summary.trace_id)
    make().received(life)  # the next ops process hears it again
    assert offered[1].build() is None


def test_every_change_of_state_is_a_line(fake_runs: ModuleType) -> None:
    pool = fake_runs.Pool(engines=1)
    said: list[tuple[str, str, str | None]] = []
    place = pool.engines.places["engine-0"]
    state_lines = StateLines(lambda event, **fields: said.append((event, fields["state"], fields.get("was"))))
    pool.engines._notify = state_lines.look
    pool.engines.start()
    pool.run(0).signs.moved(Event.LOAD, "1%")
    pool.run(0).signs.moved(Event.LOAD, "2%")
    pool.run(0).signs.ready()
    assert said == [
        ("child_state", "spawning", None),
        ("child_state", "loading", "spawning"),
        ("child_state", "ready", "loading"),
    ]
    assert place.progress == ""
