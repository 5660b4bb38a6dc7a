"""The queue in its pool: room under an engine's limit, due times, what admission is told, and what engines are."""

from types import ModuleType
from typing import Any

import pytest

from spillway.admission.contract import Band
from spillway.admission.load.model_load import Waiting
from spillway.pool.dispatcher import engine_priority
from spillway.pool.journal import Entry
from spillway_wire.messages import StepOutput, Submit
from spillway_wire.outcomes import Outcome


class Spy:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, float]] = []

    def dispatched(self, entry: Entry, now: float) -> None:
        self.heard.append((f"dispatched {entry.attempt}", entry.request_id, now))

    def first_token(self, entry: Entry, now: float) -> None:
        self.heard.append(("first token", entry.request_id, now))

    def of(self, name: str) -> list[tuple[str, float]]:
        return [(what, when) for what, who, when in self.heard if who == name]


def watch(world: Any) -> Spy:
    spy = Spy()
    world.core._observer = world.core.dispatcher._observer = spy
    return spy


def names(engine: Any) -> list[str]:
    return [message.request_id for message in engine.inbox if isinstance(message, Submit)]


def measured(engine: Any, number: int, seconds: float, rows: int, tokens: int = 0) -> None:
    """The engine takes steps that bring this gateway nothing."""
    for _ in range(number):
        engine.steps += 1
        started_ns = engine.steps * 10**9
        engine.say(
            StepOutput(
                sequence=engine.steps,
                step=engine.steps,
                started_ns=started_ns,
                ended_ns=started_ns + int(seconds * 1e9),
                load=engine.load(),
                deltas=(),
                received=engine.num_received,
                decode_rows=rows,
                prefill_tokens=tokens,
            )
        )


def test_fresh_work_goes_to_an_engine_only_as_far_as_its_limit(pool_world: ModuleType) -> None:
    world = pool_world.World()
    engine = world.start(credit=100)
    for name in "abcdef":
        world.submit(request_id=name, max_tokens=2 if name == "a" else 5)
    assert names(engine) == ["a", "b", "c", "d"], "what fits, whatever the credits"
    engine.take_in()
    engine.step()
    assert names(engine) == []
    engine.step()
    assert names(engine) == ["e"], "the step that ended one made room, and says so"


def test_an_idle_engine_takes_what_is_larger_than_its_limit(pool_world: ModuleType) -> None:
    world = pool_world.World()
    engine = world.start()
    world.submit(request_id="small", max_tokens=1)
    world.submit(request_id="large", num_choices=7)
    world.submit(request_id="behind")
    assert names(engine) == ["small"]
    engine.take_in()
    engine.step()
    assert names(engine) == ["large"], "what stands behind it does not overtake it"


def test_engines_of_two_models_have_limits_of_their_own(pool_world: ModuleType) -> None:
    world = pool_world.World(models=("m", "n"))
    first, second = world.start("e0", model="m"), world.start("e1", model="n")
    for number in range(6):
        world.submit(request_id=f"m{number}")
    world.submit(request_id="n0", model="n")
    assert len(names(first)) == 4
    assert names(second) == ["n0"]
    assert world.core.load("m").num_waiting == 2
    assert world.core.load("n").num_waiting == 0


def test_what_was_learned_of_an_engine_serves_its_next_incarnation(pool_world: ModuleType) -> None:
    world = pool_world.World()
    engine = world.start()
    measured(engine, 20, 0.02, 2)
    measured(engine, 5, 0.05, 2, 100)
    (before,) = world.core.load("m").engines
    assert before.pace.step_s(2) == pytest.approx(0.02, rel=0.1)
    world.kill(engine)
    assert world.core.load("m").engines == ()
    world.start()
    (after,) = world.core.load("m").engines
    assert (after.pace, after.limit) == (before.pace, before.limit)
    world.start("e1")
    assert [each.pace is None for each in world.core.load("m").engines] == [False, True]


def test_a_step_that_comes_in_two_frames_is_measured_once(pool_world: ModuleType) -> None:
    world = pool_world.World()
    engine = world.start()
    measured(engine, 7, 0.01, 1)
    for _ in range(5):
        engine.steps -= 1
        measured(engine, 1, 0.01, 1)
    assert world.core.load("m").engines[0].pace is None
    measured(engine, 1, 0.01, 1)
    assert world.core.load("m").engines[0].pace is not None
    (snapshot,) = world.core.snapshot().engines
    assert (snapshot.step_s, snapshot.limit) == (pytest.approx(0.01), 4.0)


def test_what_waits_past_the_use_of_its_first_token_is_refused(pool_world: ModuleType) -> None:
    world = pool_world.World()
    world.start(credit=0)
    first, second = world.submit(ttft_due=world.now + 1.0), world.submit(ttft_due=world.now + 2.0)
    never = world.submit()
    world.pass_time(0.9)
    assert not first.entry.is_over
    world.pass_time(0.2)
    refusal = first.read().refused
    assert (refusal.outcome, refusal.limit, refusal.measured) == (Outcome.OVERLOADED, "ttft=1s", "waited 1.00 s")
    assert refusal.retry_after_s == 120.0
    assert not second.entry.is_over
    world.pass_time(100.0)
    assert second.read().refused.outcome is Outcome.OVERLOADED
    assert not never.entry.is_over


def test_what_could_no_longer_come_in_time_is_not_sent(pool_world: ModuleType) -> None:
    world = pool_world.World()
    engine = world.start(credit=1)
    measured(engine, 10, 0.1, 1, 100)
    measured(engine, 10, 0.2, 1, 200)
    world.submit(request_id="busy")
    hasty = world.submit([0] * 300, ttft_due=world.now + 0.2)
    patient = world.submit([0] * 3, ttft_due=world.now + 0.2)
    engine.grant()
    assert hasty.read().refused.outcome is Outcome.OVERLOADED, "its prompt alone takes 0.3 s"
    assert names(engine) == ["busy", patient.name]


def test_an_idle_engine_is_tried_whatever_was_measured(pool_world: ModuleType) -> None:
    world = pool_world.World()
    engine = world.start()
    measured(engine, 20, 30.0, 1, 10)
    reader = world.submit([0] * 50, ttft_due=world.now + 0.2)
    assert names(engine) == [reader.name], "else nothing would ever show that it is fast again"


def test_a_request_that_has_been_sent_is_not_refused_for_its_due_time(pool_world: ModuleType) -> None:
    world = pool_world.World()
    engine = world.start()
    reader = world.submit(ttft_due=world.now + 1.0)
    world.pass_time(5.0)
    world.crash("e1", reader)
    world.kill(engine)
    world.pass_time(5.0)
    world.run(world.start("e2"))
    assert reader.read().completed


def test_tenants_take_turns_and_pay_for_their_output(pool_world: ModuleType) -> None:
    world = pool_world.World()
    engine = world.start(credit=0)
    for number in range(3):
        world.submit(request_id=f"a{number}", tenant_id="a", max_tokens=9)
    for number in range(3):
        world.submit(request_id=f"b{number}", tenant_id="b", max_tokens=9)
    engine.grant(2)
    assert names(engine) == ["a0", "b0"]
    engine.take_in()
    engine.step(5)
    world.core.abort(world.core.journal.get("b0"), Outcome.CLIENT_GONE)
    engine.grant()
    assert names(engine) == ["a1"], "both have had as much: the first to come"
    engine.take_in()
    engine.step(2)
    engine.grant(2)
    assert names(engine) == ["b1", "b2"]


def test_what_ended_before_its_first_token_costs_its_tenant_nothing(pool_world: ModuleType) -> None:
    world = pool_world.World()
    engine = world.start(credit=0)
    for number in range(3):
        world.submit(request_id=f"a{number}", tenant_id="a")
        world.submit(request_id=f"b{number}", tenant_id="b")
    engine.grant(2)
    world.core.abort(world.core.journal.get("a0"), Outcome.CLIENT_GONE)
    engine.grant(2)
    assert names(engine)[2:] == ["a1", "a2"]


def test_admission_sees_what_engines_have_and_what_waits(pool_world: ModuleType) -> None:
    world = pool_world.World()
    assert world.core.load("unheard") is None
    assert world.core.queue_age("unheard", Band.BULK) is None
    engine = world.start(credit=2)
    world.submit([1] * 40, tenant_id="a")
    world.submit([1] * 8, num_choices=2, tenant_id="b")
    for _ in range(2):
        world.submit([1] * 5, num_choices=3, tenant_id="a", band=Band.BULK)
    load = world.core.load("m")
    (seen,) = load.engines
    assert (seen.engine_id, seen.sequences, seen.prefill_tokens, seen.limit) == ("e0", 3, 48, 4.0)
    assert (seen.free_blocks, seen.pace, seen.free_slots) == (64 - 3 - 1, None, 1.0)
    assert load.waiting[Band.BULK] == {"a": Waiting(2, 6, 10)}
    assert load.waiting[Band.DEFAULT] == {}
    assert (load.own_running, load.resumed, load.num_waiting) == (3, 0, 2)
    world.pass_time(0.5)
    age = world.core.queue_age("m", Band.BULK)
    assert (age.standing, age.oldest_s) == (True, 0.5)
    assert not world.core.queue_age("m", Band.DEFAULT).standing
    engine.take_in()
    engine.step()
    world.cut(engine)
    load = world.core.load("m")
    assert (load.engines, load.own_running, load.resumed) == ((), 0, 3)


def test_choices_that_end_are_not_counted_as_running(pool_world: ModuleType) -> None:
    world = pool_world.World()
    engine = world.start()
    reader = world.submit(num_choices=3)
    engine.take_in()
    engine.step()
    reader.ticket.end_choice(1)
    assert world.core.load("m").own_running == 2
    world.core.check_integrity()
    world.run(engine)
    assert world.core.load("m").own_running == 0
    world.core.check_integrity()


def test_an_observer_hears_of_each_requests_way_once(pool_world: ModuleType) -> None:
    world = pool_world.World()
    spy = watch(world)
    first = world.start("e0")
    reader = world.submit(num_choices=2, request_id="x")
    start = world.now
    first.take_in()
    world.pass_time(1.0)
    first.step()
    first.step()
    second = world.start("e1")
    world.kill(first)
    world.run(second)
    assert reader.read().completed
    later = world.now
    assert spy.of("x") == [
        ("dispatched 1", start),
        ("first token", start + 1.0),
        ("dispatched 2", later),
    ]
    world.submit(request_id="gone").ticket.abort()
    assert [what for what, _ in spy.of("gone")] == ["dispatched 1"]
    world.kill(second)
    world.submit(request_id="lone", ttft_due=world.now + 1.0)
    world.pass_time(2.0)
    assert spy.of("lone") == []


@pytest.mark.parametrize(
    ("band", "priority", "there"),
    [
        (Band.SYSTEM, 0, 0),
        (Band.INTERACTIVE, -3, 997),
        (Band.DEFAULT, 5000, 2499),
        (Band.BULK, -5000, 2501),
    ],
)
def test_engines_keep_bands_apart_whatever_a_requests_own_priority(
    pool_world: ModuleType, band: Band, priority: int, there: int
) -> None:
    world = pool_world.World()
    engine = world.start()
    reader = world.submit(band=band, priority=priority)
    (message,) = [message for message in engine.inbox if isinstance(message, Submit)]
    assert message.priority == there == engine_priority(reader.entry.work)
