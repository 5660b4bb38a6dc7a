"""All engine places together: rotation and standby, the order of what gateways hear, and shared fate."""

from types import ModuleType

from spillway.supervisor.lifecycle import Event, State
from spillway_wire.plane import EngineDied, ExitCause, Membership

POISON = (("gateway-0", "poison", 1, 0),)


def shown(membership: Membership) -> list[tuple[str, int, str]]:
    return [(member.engine_id, member.incarnation, member.status.value) for member in membership.members]


def test_a_death_is_told_before_the_membership_that_shows_it(fake_runs: ModuleType) -> None:
    pool = fake_runs.Pool().ready()
    version = pool.engines.membership.version
    pool.run(0).step = POISON
    pool.run(0).end(-9)
    died, membership = pool.published
    assert isinstance(died, EngineDied)
    assert (died.engine_id, died.incarnation, died.cause, died.aboard) == ("engine-0", 1, ExitCause.SIGNAL, POISON)
    assert died.detected_ns == pool.time.now_ns
    assert shown(membership) == [("engine-0", 1, "backoff"), ("engine-1", 1, "ready")]
    assert membership.version == version + 1


def test_members_have_an_address_of_their_incarnation(fake_runs: ModuleType) -> None:
    pool = fake_runs.Pool().ready()
    pool.run(1).end(-9)
    pool.time.pass_s(1)
    assert [member.address for member in pool.engines.membership.members] == [
        "unix:/run/s/engine-0.1.sock",
        "unix:/run/s/engine-1.2.sock",
    ]


def test_what_changes_nothing_for_gateways_is_not_told_to_them(fake_runs: ModuleType) -> None:
    pool = fake_runs.Pool()
    pool.engines.start()
    pool.run(0).signs.moved(Event.LOAD, "weights 10%")
    before = len(pool.published)
    pool.run(0).signs.moved(Event.LOAD, "weights 20%")
    assert len(pool.published) == before


def test_the_last_to_load_stands_by_and_takes_over_in_the_same_breath(fake_runs: ModuleType) -> None:
    pool = fake_runs.Pool(engines=2, standby=1).ready()
    assert pool.states == ["ready", "ready", "standby"]
    pool.run(0).end(-9)
    died, membership = pool.published
    assert isinstance(died, EngineDied)
    assert shown(membership) == [("engine-0", 1, "backoff"), ("engine-1", 1, "ready"), ("engine-2", 1, "ready")]
    pool.time.pass_s(1)
    pool.run(0).signs.ready()
    assert pool.states == ["standby", "ready", "ready"]


def test_a_draining_engine_is_replaced_by_the_standby(fake_runs: ModuleType) -> None:
    pool = fake_runs.Pool(engines=1, standby=1).ready()
    pool.engines.restart("engine-0")
    assert pool.states == ["draining", "ready"]


def test_a_restart_of_one_that_waits_for_its_turn_never_says_that_nobody_comes(fake_runs: ModuleType) -> None:
    pool = fake_runs.Pool(engines=1).ready()
    pool.run(0).end(-9)
    pool.published.clear()
    pool.engines.restart("engine-0")
    (told,) = pool.published  # gateways would end all that waits for a model without hope
    assert shown(told) == [("engine-0", 2, "spawning")]
    assert not told.models[0].hopeless


def test_a_parked_engine_is_told_with_when_it_is_tried_again(fake_runs: ModuleType) -> None:
    pool = fake_runs.Pool(engines=1)
    pool.engines.start()
    for _ in range(6):
        pool.run(0).end(1)
        if pool.engines.places["engine-0"].state is State.BACKOFF:
            pool.time.pass_s(pool.time.next_due_s)
    (model,) = pool.engines.membership.models
    assert (pool.states, model.hopeless, model.retry_s) == (["parked"], True, 60.0)
    pool.engines.drain("engine-0")
    (model,) = pool.engines.membership.models
    assert (pool.states, model.hopeless, model.retry_s) == (["stopped"], True, None)


def test_a_model_without_hope_says_so(fake_runs: ModuleType) -> None:
    pool = fake_runs.Pool(engines=2).ready()
    assert not pool.engines.membership.models[0].hopeless
    pool.engines.drain("engine-0")
    pool.run(0).end(0)
    assert not pool.engines.membership.models[0].hopeless
    pool.engines.drain("engine-1")
    pool.run(1).end(0)
    assert pool.engines.membership.models[0].hopeless


def test_a_request_that_kills_engine_after_engine_parks_none(fake_runs: ModuleType) -> None:
    pool = fake_runs.Pool().ready()
    for number in (0, 1) * 10:
        pool.run(number).step = POISON
        pool.run(number).end(-9)
        assert pool.engines.places[f"engine-{number}"].state is State.BACKOFF
        pool.time.pass_s(3)
        pool.run(number).signs.ready()
    assert pool.engines.places["engine-1"].history.deaths == ()
    assert len(pool.engines.places["engine-0"].history.deaths) == 1


def test_engines_that_die_together_are_forgiven_together(fake_runs: ModuleType) -> None:
    pool = fake_runs.Pool().ready()
    pool.run(0).step = pool.run(1).step = POISON
    pool.run(0).end(-9)
    assert len(pool.engines.places["engine-0"].history.deaths) == 1
    pool.time.pass_s(0.05)
    pool.run(1).end(-9)
    assert [place.history.deaths for place in pool.engines.places.values()] == [(), ()]
    kinds = [type(message).__name__ for message in pool.published]
    assert kinds == ["EngineDied", "Membership", "EngineDied", "Membership"]
