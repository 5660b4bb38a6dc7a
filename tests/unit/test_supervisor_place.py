"""A place through its life, with processes on paper: deaths, hangs, orders, and what is told of each."""

from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest

from spillway.settings import RestartSettings
from spillway.supervisor.lifecycle import Event, State
from spillway.supervisor.place import Death, Place
from spillway.supervisor.run import Asked
from spillway_wire.messages import LastWords
from spillway_wire.plane import ExitCause

ABOARD = (("gateway-0", "x", 1, 0),)


@dataclass
class Told:
    """A witness who writes down what it is told, in order."""

    in_rotation: bool = True
    innocent: bool = False
    story: list[Any] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    def changed(self, place: Place) -> None:
        self.story.append(place.state.value)

    def loaded(self, _: Place) -> bool:
        return self.in_rotation

    def died(self, _: Place, death: Death) -> bool:
        self.story.append(death)
        return self.innocent

    def delay(self, _: Place, wait_s: float) -> float:
        self.waits.append(wait_s)
        return wait_s

    @property
    def deaths(self) -> list[Death]:
        return [fact for fact in self.story if isinstance(fact, Death)]


class House:
    """A place with all its surroundings."""

    def __init__(self, fakes: ModuleType) -> None:
        self.time, self.launch, self.told = fakes.FakeTime(), fakes.FakeLaunch(), Told()
        self.place = Place(
            "engine-0", self.launch, policy=RestartSettings(), world=self.time.world(), witness=self.told
        )

    @property
    def run(self) -> Any:
        return self.launch.last

    def is_in(self, state: State) -> bool:
        return self.place.state is state

    def ready(self) -> "House":
        self.place.start()
        self.run.signs.ready()
        self.told.story.clear()
        return self


@pytest.fixture
def house(fake_runs: ModuleType) -> House:
    return House(fake_runs)


def test_a_start_goes_through_loading_and_warming_to_ready(house: House) -> None:
    house.place.start()
    house.run.signs.moved(Event.LOAD, "weights 50%")
    assert house.place.progress == "weights 50%"
    house.run.signs.moved(Event.LOAD, "weights 90%")
    house.run.signs.moved(Event.WARM, "warm-up")
    house.run.signs.ready()
    assert house.told.story == ["spawning", "loading", "loading", "warming", "ready"]
    assert (house.place.progress, house.place.incarnation, house.place.pid) == ("", 1, 100)


def test_a_killed_process_is_declared_dead_at_once_and_started_again_after_its_wait(house: House) -> None:
    run = house.ready().run
    run.step = ABOARD
    run.end(-9)
    (death,) = house.told.deaths
    assert (death.incarnation, death.exit.cause, death.aboard, death.asked) == (1, ExitCause.SIGNAL, ABOARD, False)
    assert house.told.story == [death, "backoff"]
    assert run.closed
    house.time.pass_s(0.09)
    assert house.is_in(State.BACKOFF)
    house.time.pass_s(0.01)
    assert (house.place.state, house.place.incarnation) == (State.SPAWNING, 2)
    assert house.place.restarts == {ExitCause.SIGNAL: 1}


def test_a_death_between_steps_names_nobody(house: House) -> None:
    house.ready().run.end(-9)
    assert house.told.deaths[0].aboard == ()


def test_last_words_give_the_cause(house: House) -> None:
    house.ready().run.end(70, words=LastWords(cause="device", message="CUDA error"))
    assert house.told.deaths[0].exit.cause is ExitCause.DEVICE
    assert house.place.last_exit is not None
    assert house.place.last_exit.exit.message == "exit status 70: device: CUDA error"


def test_a_hung_one_is_killed_and_declared_before_its_process_is_gone(house: House) -> None:
    run = house.ready().run
    run.step, run.lateness = ABOARD, "no sign of life for 2.1 s"
    house.place.watch(house.time.now_ns)
    (death,) = house.told.deaths
    assert (death.exit.cause, death.aboard, run.asked) == (ExitCause.HANG, ABOARD, [Asked.KILL])
    assert house.told.story == [death, "hung"]
    house.place.watch(house.time.now_ns)
    run.end(-9)
    assert house.told.story == [death, "hung", "backoff"]  # told once
    assert house.place.restarts == {ExitCause.HANG: 1}


def test_one_that_does_not_get_ready_is_killed_at_the_deadline(house: House) -> None:
    house.place.start()
    house.time.pass_s(600)
    house.place.watch(house.time.now_ns)
    assert house.is_in(State.SPAWNING)
    house.time.pass_s(0.1)
    house.place.watch(house.time.now_ns)
    assert (house.place.state, house.run.asked) == (State.HUNG, [Asked.KILL])
    assert house.told.deaths[0].exit.cause is ExitCause.FAILED_START
    house.run.end(-9)
    assert house.place.failed_starts == 1


def test_another_deadline_for_starts_holds_from_now_on(house: House) -> None:
    house.place.start()
    house.place.policy = RestartSettings(start_timeout_s=5)
    house.time.pass_s(5.1)
    house.place.watch(house.time.now_ns)
    assert house.told.deaths[0].exit.message == "not ready within 5 s; killed"


def test_signs_of_an_earlier_run_are_not_heard(house: House) -> None:
    first = house.ready().run
    first.end(-9)
    house.time.pass_s(1)
    house.told.story.clear()
    first.signs.ready()
    first.signs.moved(Event.WARM, "late")
    first.end(0)
    assert (house.place.state, house.told.story) == (State.SPAWNING, [])


def test_one_that_dies_too_often_is_parked_and_tried_every_minute(house: House) -> None:
    house.place.start()
    for _ in range(5):
        house.run.end(1)
        assert house.is_in(State.BACKOFF)
        house.time.pass_s(house.time.next_due_s)
    house.run.end(1)
    assert house.is_in(State.PARKED)
    assert house.told.waits[-1] == 60.0
    assert house.place.failed_starts == 6
    house.time.pass_s(59.9)
    assert house.is_in(State.PARKED)
    house.time.pass_s(0.1)
    assert house.is_in(State.SPAWNING)
    house.run.end(1)
    assert house.is_in(State.PARKED)


def test_a_parked_one_that_holds_is_as_good_as_new(house: House) -> None:
    house.place.start()
    for _ in range(6):
        house.run.end(1)
        house.time.pass_s(house.time.next_due_s)
    house.run.signs.ready()
    house.time.pass_s(5)
    house.run.end(-9, served=True)
    assert house.is_in(State.BACKOFF)
    assert house.place.history.deaths == ()


def test_innocent_deaths_never_park(house: House) -> None:
    house.told.innocent = True
    house.place.start()
    for _ in range(50):
        house.run.signs.ready()
        house.run.end(-9)
        assert house.is_in(State.BACKOFF)
        house.time.pass_s(house.time.next_due_s)


def test_forgiveness_brings_a_parked_one_back_at_once(house: House) -> None:
    house.place.start()
    for _ in range(6):
        house.run.end(1)
        house.time.pass_s(house.time.next_due_s if house.is_in(State.BACKOFF) else 0)
    house.place.forgive(house.time.now_ns)
    assert house.is_in(State.SPAWNING)
    assert len(house.place.history.deaths) == 5
    house.place.check_integrity()


def test_a_drained_one_stays_stopped_until_it_is_started(house: House) -> None:
    run = house.ready().run
    house.place.end(Asked.DRAIN)
    assert (house.place.state, run.asked) == (State.DRAINING, [Asked.DRAIN])
    run.step = ABOARD
    run.end(0, words=LastWords(cause="drained", message="everything known is finished"))
    (death,) = house.told.deaths
    assert (death.exit.cause, death.asked, death.aboard) == (ExitCause.CLEAN, True, ())
    assert house.time.next_due_s is None
    assert house.place.history.deaths == ()
    house.place.start()
    assert (house.place.state, house.place.incarnation) == (State.SPAWNING, 2)


def test_a_restarted_one_starts_again_as_soon_as_it_is_done(house: House) -> None:
    house.ready()
    house.place.end(Asked.DRAIN, again=True)
    house.run.end(0)
    assert (house.place.state, house.place.incarnation) == (State.SPAWNING, 2)
    assert house.place.restarts == {ExitCause.CLEAN: 1}


def test_an_engine_killed_while_draining_tells_whom_it_carried(house: House) -> None:
    run = house.ready().run
    house.place.end(Asked.DRAIN, again=True)
    run.step = ABOARD
    run.end(-9)
    assert (house.told.deaths[0].exit.cause, house.told.deaths[0].aboard) == (ExitCause.SIGNAL, ABOARD)
    assert house.is_in(State.SPAWNING)


def test_one_that_hangs_while_draining_is_killed_and_what_was_ordered_follows(house: House) -> None:
    run = house.ready().run
    house.place.end(Asked.DRAIN, again=True)
    run.lateness = "no sign of life for 2.1 s"
    house.place.watch(house.time.now_ns)
    run.end(-9)
    assert (house.place.state, house.place.incarnation) == (State.SPAWNING, 2)


def test_asking_harder_is_passed_on_and_asking_softer_is_not(house: House) -> None:
    run = house.ready().run
    for asked in (Asked.STOP, Asked.DRAIN, Asked.STOP, Asked.KILL, Asked.STOP):
        house.place.end(asked)
    assert run.asked == [Asked.STOP, Asked.STOP, Asked.KILL]


@pytest.mark.parametrize("again", [False, True])
def test_ending_one_that_rests_takes_effect_at_once(house: House, *, again: bool) -> None:
    house.ready().run.end(-9)
    house.place.end(Asked.STOP, again=again)
    assert house.is_in(State.SPAWNING if again else State.STOPPED)
    house.time.pass_s(1_000)
    assert house.place.incarnation == (2 if again else 1)  # the pause that it was in does not end any more
    house.place.check_integrity()


def test_one_that_loads_is_asked_too_and_gets_ready_in_vain(house: House) -> None:
    house.place.start()
    house.place.end(Asked.STOP)
    house.run.signs.ready()
    assert house.is_in(State.DRAINING)
    house.run.end(-15)
    assert house.told.deaths[0].exit.cause is ExitCause.CLEAN
    assert house.place.failed_starts == 0


def test_one_that_is_not_needed_stands_by_until_it_is_promoted(house: House) -> None:
    house.told.in_rotation = False
    assert house.ready().place.state is State.STANDBY
    house.place.promote()
    assert house.told.story == ["ready"]


def test_one_that_drains_of_its_own_accord_is_started_again(house: House) -> None:
    run = house.ready().run
    run.signs.moved(Event.DRAIN)
    assert house.is_in(State.DRAINING)
    run.end(0)
    assert (house.told.deaths[0].exit.cause, house.place.state) == (ExitCause.CLEAN, State.BACKOFF)


def test_a_fault_of_ours_at_a_start_is_a_failed_start_too(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_incarnation: int, _signs: Any) -> Any:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(house.place, "_launch", fail)
        house.place.start()
    assert house.is_in(State.BACKOFF)
    assert house.told.deaths[0].exit.message == "exit status 127: RuntimeError: can't start new thread"
    house.time.pass_s(1)
    assert house.is_in(State.SPAWNING)


def test_a_program_that_cannot_be_run_is_a_failed_start(house: House) -> None:
    house.launch.broken = True
    house.place.start()
    assert house.is_in(State.BACKOFF)
    assert house.told.deaths[0].exit.message == "exit status 127: FileNotFoundError: no such program"
    assert house.told.story[-1] == "backoff"
    house.launch.broken = False
    house.time.pass_s(1)
    assert house.is_in(State.SPAWNING)
