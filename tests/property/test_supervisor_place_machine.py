"""A pool of places driven at random through starts, deaths, hangs, orders and time: the table and the books hold."""

from collections import Counter
from types import ModuleType
from typing import Any

import pytest
from hypothesis import Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from spillway.settings import RestartSettings
from spillway.supervisor.lifecycle import ALIVE, LISTENING, STARTING, Event, State
from spillway.supervisor.place import Death, Place
from spillway.supervisor.run import Asked
from spillway_wire.messages import LastWords
from spillway_wire.plane import ExitCause
from spillway_wire.states import IllegalTransitionError

POLICY = RestartSettings(start_timeout_s=30)
WORDS = st.none() | st.sampled_from(["exception", "device", "out_of_memory", "drained"]).map(
    lambda cause: LastWords(cause=cause, message="")
)


def machine(fakes: ModuleType) -> type[RuleBasedStateMachine]:  # noqa: C901 - a class with its doubles around it
    class Life(RuleBasedStateMachine):
        """Also its own witness: `told` is what gateways would have heard."""

        def __init__(self) -> None:
            super().__init__()
            self.time, self.launch = fakes.FakeTime(), fakes.FakeLaunch()
            self.in_rotation = True
            self.innocent = False
            self.deaths: Counter[int] = Counter()
            self.shown = State.STOPPED
            self.wanted = False
            """Whether a process is to be there, sooner or later, as far as orders go."""
            self.place = Place("engine-0", self.launch, policy=POLICY, world=self.time.world(), witness=self)

        # ---- the witness ----

        def changed(self, place: Place) -> None:
            self.shown = place.state

        def loaded(self, _: Place) -> bool:
            return self.in_rotation

        def died(self, place: Place, death: Death) -> bool:
            self.deaths[death.incarnation] += 1
            assert place.state in ALIVE, "told before it is shown"
            assert death.incarnation == place.incarnation
            return self.innocent

        def delay(self, _: Place, wait_s: float) -> float:
            assert 0 <= wait_s <= max(POLICY.backoff_cap_s, POLICY.retry_parked_s)
            return wait_s

        @property
        def running(self) -> Any:
            return self.place.run

        # ---- what can happen ----

        @rule(seconds=st.sampled_from([0.01, 0.5, 5.0, 29.0, 61.0]), share=st.floats(0, 1))
        def time_passes(self, seconds: float, share: float) -> None:
            self.time.share = share
            self.time.pass_s(seconds)

        @rule()
        def start(self) -> None:
            had = self.running is not None
            self.place.start()
            if not had:
                self.wanted = True
                assert self.launch.broken or self.running is not None

        @rule(asked=st.sampled_from(Asked), again=st.booleans())
        def end(self, asked: Asked, again: bool) -> None:
            self.place.end(asked, again=again)
            self.wanted = again
            if self.running is None and not again:
                assert self.place.state is State.STOPPED

        @rule()
        def hurry(self) -> None:
            asked = self.place._asked
            self.place.hurry()
            if asked is not None:
                assert self.running.asked[-1] is Asked.KILL

        @precondition(lambda self: self.running is not None)
        @rule(event=st.sampled_from([Event.LOAD, Event.WARM, Event.DRAIN]))
        def report(self, event: Event) -> None:
            self.running.signs.moved(event, "detail")

        @precondition(lambda self: self.running is not None)
        @rule(in_rotation=st.booleans())
        def get_ready(self, in_rotation: bool) -> None:
            self.in_rotation = in_rotation
            starting = self.place.state in STARTING
            self.running.signs.ready()
            if starting:
                assert self.place.state is (State.READY if in_rotation else State.STANDBY)

        @precondition(lambda self: self.place.state is State.STANDBY)
        @rule()
        def promote(self) -> None:
            self.place.promote()

        @precondition(lambda self: self.running is not None)
        @rule(
            status=st.sampled_from([0, 1, 2, 70, -9, -11, -15]),
            words=WORDS,
            served=st.booleans(),
            innocent=st.booleans(),
            kernel_kills=st.integers(0, 1),
        )
        def die(self, status: int, words: LastWords | None, innocent: bool, **left: Any) -> None:
            self.innocent = innocent
            incarnation, ordered = self.place.incarnation, self.place._asked is not None
            self.running.end(status, words=words, **left)
            self.innocent = False  # a program that cannot be started is no request's fault
            assert self.deaths[incarnation] == 1
            assert self.launch.runs[-1].closed or self.running is not None
            if ordered and not self.wanted:
                assert self.place.state is State.STOPPED

        @precondition(lambda self: self.running is not None)
        @rule(late=st.booleans())
        def watch(self, late: bool) -> None:
            self.running.lateness = "no sign of life" if late else None
            before = self.place.state
            self.place.watch(self.time.now_ns)
            if late and before in LISTENING and before is not State.DRAINING:
                assert self.place.state is State.HUNG
                assert self.running.asked[-1] is Asked.KILL

        @rule(seconds=st.sampled_from([0.0, 1.0, 100.0]))
        def forgive(self, seconds: float) -> None:
            self.place.forgive(self.time.now_ns - int(seconds * 1e9))

        @rule(which=st.integers(0, 50))
        def hear_the_dead(self, which: int) -> None:
            gone = [run for run in self.launch.runs if run.closed]
            if gone:
                before = (self.place.state, self.place.incarnation, +self.deaths)
                run = gone[which % len(gone)]
                run.signs.ready()
                run.signs.moved(Event.DRAIN)
                run.end(0)
                assert before == (self.place.state, self.place.incarnation, +self.deaths)

        @rule(broken=st.booleans())
        def break_the_program(self, broken: bool) -> None:
            self.launch.broken = broken

        # ---- what holds always ----

        @invariant()
        def the_books_are_in_order(self) -> None:
            self.place.check_integrity()
            assert self.shown is self.place.state
            assert self.place.state is not State.CRASHED

        @invariant()
        def at_most_one_process_lives(self) -> None:
            assert [run for run in self.launch.runs if not run.closed] == ([self.running] if self.running else [])

        @invariant()
        def every_incarnation_dies_at_most_once(self) -> None:
            assert all(count == 1 for count in self.deaths.values())
            assert set(self.deaths) <= set(range(1, self.place.incarnation + 1))

        @invariant()
        def what_is_wanted_comes_back(self) -> None:
            if self.wanted and self.running is None:
                assert self.time.next_due_s is not None
            if not self.wanted:
                assert self.running is not None or self.place.state is State.STOPPED

        @invariant()
        def every_restart_has_a_cause(self) -> None:
            assert sum(self.place.restarts.values()) <= self.place.incarnation
            assert set(self.place.restarts) <= set(ExitCause)

    return Life


def test_a_place_survives_any_life(fake_runs: ModuleType) -> None:
    run_state_machine_as_test(
        machine(fake_runs), settings=hypothesis_settings(deadline=None, max_examples=60, stateful_step_count=40)
    )


def test_the_machine_sees_a_pause_that_is_not_called_off(
    fake_runs: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Place, "_unschedule", lambda _: None)
    first_found = hypothesis_settings(
        deadline=None,
        max_examples=500,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        report_multiple_bugs=False,
    )
    with pytest.raises((AssertionError, IllegalTransitionError)):
        run_state_machine_as_test(machine(fake_runs), settings=first_found)
