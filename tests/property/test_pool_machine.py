"""The pool's core, driven by everything that can happen to it (see `fake_pool_world`).

Whatever comes, in whatever order: each reader sees exactly the right tokens and exactly one end, nothing is lost or
counted twice, and when all is over every book is empty.
"""

from types import ModuleType
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from spillway.pool.contract import Refused
from spillway.pool.lifecycle import State
from spillway_wire.links import Ending
from spillway_wire.outcomes import Outcome
from spillway_wire.plane import EngineStatus, ServedModel

MAX_QUEUED = 6
ENGINE_WAIT_S = 5.0


class PoolMachine(RuleBasedStateMachine):
    fake: ModuleType

    @initialize(num_engines=st.integers(0, 2))
    def begin(self, num_engines: int) -> None:
        self.world = self.fake.World(max_queued_requests=MAX_QUEUED, engine_wait_s=ENGINE_WAIT_S)
        self.readers: list[Any] = []
        self.aborted: set[str] = set()
        self.crashes_aboard: dict[str, int] = {}
        self.expiring: set[str] = set()
        self.was_hopeless = False
        for number in range(num_engines):
            self.world.start(f"e{number}", credit=8)

    # ---- clients ----

    @rule(
        prompt=st.lists(st.integers(1, 9), min_size=1, max_size=3),
        num_choices=st.sampled_from([1, 1, 1, 2, 3]),
        max_tokens=st.integers(1, 9),
        ignore_eos=st.booleans(),
        priority=st.integers(0, 2),
        patience=st.none() | st.integers(1, 20),
    )
    def submit(  # noqa: PLR0917 - hypothesis names them all
        self,
        prompt: list[int],
        num_choices: int,
        max_tokens: int,
        ignore_eos: bool,
        priority: int,
        patience: int | None,
    ) -> None:
        world = self.world
        deadline = None if patience is None else world.now + patience
        full = world.core.queue.num_fresh >= MAX_QUEUED
        hopeless = world.models["m"].hopeless
        reader, refused = world.try_submit(
            prompt,
            num_choices=num_choices,
            max_tokens=max_tokens,
            ignore_eos=ignore_eos,
            priority=priority,
            deadline=deadline,
        )
        if refused is None:
            assert not full
            assert not hopeless
            self.readers.append(reader)
            if deadline is not None:
                self.expiring.add(reader.name)
        elif hopeless:
            assert refused.outcome is Outcome.NO_ENGINE
        elif refused.outcome is Outcome.OVERLOADED:
            assert full
            assert 1.0 <= refused.retry_after_s <= 120.0
        else:
            assert refused.outcome is Outcome.ENGINE_FAILED
            assert refused.should_retry is False

    @precondition(lambda self: any(not reader.entry.is_over for reader in self.readers))
    @rule(data=st.data())
    def abort(self, data: st.DataObject) -> None:
        reader = data.draw(st.sampled_from([r for r in self.readers if not r.entry.is_over]))
        reader.ticket.abort()
        reader.ticket.abort()
        self.aborted.add(reader.name)

    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        if self.readers:
            data.draw(st.sampled_from(self.readers)).read()

    # ---- engines ----

    def alive(self) -> list[Any]:
        return [engine for engine in self.world.engines.values() if engine.alive]

    def connected(self) -> list[Any]:
        return [engine for engine in self.alive() if engine.connection is not None]

    @precondition(lambda self: self.connected())
    @rule(data=st.data(), num_tokens=st.integers(1, 3), times=st.integers(1, 3))
    def work(self, data: st.DataObject, num_tokens: int, times: int) -> None:
        engine = data.draw(st.sampled_from(self.connected()))
        for _ in range(times):
            if engine.connection is not None:
                engine.take_in()
                engine.step(num_tokens)

    @precondition(lambda self: self.connected())
    @rule(data=st.data(), number=st.integers(1, 4))
    def grant(self, data: st.DataObject, number: int) -> None:
        data.draw(st.sampled_from(self.connected())).grant(number)

    @precondition(lambda self: self.world.said)
    @rule(data=st.data())
    def say_again(self, data: st.DataObject) -> None:
        """A frame comes a second time, or late: from a dead engine, of an attempt that is over."""
        self.world.core.received(*data.draw(st.sampled_from(self.world.said)))

    @precondition(lambda self: len(self.alive()) < 3)
    @rule(name=st.sampled_from(["e0", "e1", "e2"]), connect=st.booleans(), credit=st.sampled_from([0, 1, 8]))
    def start(self, name: str, connect: bool, credit: int) -> None:
        if name not in {engine.member.engine_id for engine in self.alive()}:
            self.world.start(name, connect=connect, credit=credit)

    @precondition(lambda self: self.world.wires.wanted)
    @rule(data=st.data(), credit=st.sampled_from([0, 8]))
    def connect(self, data: st.DataObject, credit: int) -> None:
        key = data.draw(st.sampled_from(sorted(self.world.wires.wanted)))
        engine = self.world.engines[key]
        if not engine.alive or engine.member.status is EngineStatus.HUNG:
            return
        self.world.connect(engine)
        if credit:
            engine.grant(credit)

    @precondition(lambda self: self.alive())
    @rule(data=st.data(), cut_first=st.booleans(), between_steps=st.booleans(), warned=st.booleans())
    def kill(self, data: st.DataObject, cut_first: bool, between_steps: bool, warned: bool) -> None:
        engine = data.draw(st.sampled_from(self.alive()))
        aboard = () if between_steps else engine.aboard()
        for request_id in {request_id for _, request_id, _, _ in aboard}:
            self.crashes_aboard[request_id] = self.crashes_aboard.get(request_id, 0) + 1
        if warned:
            self.world.status(engine, EngineStatus.HUNG)
        self.world.kill(engine, cut_first=cut_first, aboard=aboard)

    @precondition(lambda self: self.connected())
    @rule(data=st.data(), ending=st.sampled_from(list(Ending)))
    def cut(self, data: st.DataObject, ending: Ending) -> None:
        self.world.cut(data.draw(st.sampled_from(self.connected())), ending)

    @precondition(lambda self: self.alive())
    @rule(data=st.data(), told=st.booleans())
    def drain(self, data: st.DataObject, told: bool) -> None:
        engine = data.draw(st.sampled_from(self.alive()))
        engine.draining = True
        if told:
            self.world.status(engine, EngineStatus.DRAINING)

    @precondition(lambda self: self.connected())
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        """An engine is told to end at once: it hands back what it has, and leaves."""
        engine = data.draw(st.sampled_from(self.connected()))
        engine.draining = True
        engine.take_in()
        if engine.connection is not None:
            engine.end_all(Outcome.DRAINING)
        if engine.connection is not None:
            self.world.cut(engine, Ending.LAST_WORDS)
        engine.alive = False
        self.world.publish()

    @precondition(lambda self: self.connected())
    @rule(data=st.data())
    def fill_the_request_channel(self, data: st.DataObject) -> None:
        self.world.wires.unread = True
        data.draw(st.sampled_from(self.connected())).grant()
        self.world.flush()
        self.world.wires.unread = False

    # ---- the world ----

    @rule()
    def end_of_moment(self) -> None:
        self.world.flush()

    @rule(seconds=st.sampled_from([0.5, 2.0, 7.0]))
    def pass_time(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @rule(hopeless=st.sampled_from([False, False, True]))
    def judge_the_model(self, hopeless: bool) -> None:
        if hopeless and self.alive():
            return
        self.was_hopeless |= hopeless
        self.world.models["m"] = ServedModel(name="m", path="", hopeless=hopeless)
        self.world.publish()

    # ---- what has to be true ----

    @invariant()
    def the_books_are_right(self) -> None:
        core = self.world.core
        core.check_integrity()
        snapshot = core.snapshot()
        assert snapshot.num_open == snapshot.num_queued + snapshot.num_running + snapshot.num_recovering
        assert core.queue.num_fresh <= MAX_QUEUED
        alone = [
            entry
            for engine in self.connected()
            for entry in engine.connection.entries.values()
            if entry.alone and entry is core.dispatcher.alone
        ]
        assert len(alone) <= 1
        for reader in self.readers:
            reader.check()

    def check_end(self, reader: Any) -> None:
        name = reader.name
        if reader.refused is None:
            assert reader.completed
            return
        outcome = reader.refused.outcome
        if outcome is Outcome.CLIENT_GONE:
            assert name in self.aborted
        elif outcome is Outcome.EXPIRED:
            assert name in self.expiring
        elif outcome is Outcome.ENGINE_FAILED:
            assert self.crashes_aboard[name] >= 4, "an innocent was put in quarantine"
        else:
            assert outcome is Outcome.NO_ENGINE

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        for engine in self.alive():
            world.kill(engine, aboard=())
        world.models["m"] = ServedModel(name="m", path="")
        engine = world.start("last", credit=1000)
        for _ in range(500):
            engine.take_in()
            engine.step()
            world.flush()
            if not len(world.core.journal):
                break
        for reader in self.readers:
            reader.read()
            reader.check()
            assert reader.num_ends == 1
            assert reader.entry.state is State.FINISHED
            self.check_end(reader)
            with pytest.raises((StopAsyncIteration, Refused)):
                reader.ticket.__anext__().send(None)
        assert not len(world.core.journal)
        assert not len(world.core.queue)
        assert not engine.running
        world.core.check_integrity()


def test_whatever_happens_every_reader_sees_its_own_tokens_and_one_end(pool_world: ModuleType) -> None:
    class Machine(PoolMachine):
        fake = pool_world

    run_state_machine_as_test(Machine, settings=settings(max_examples=150, stateful_step_count=40, deadline=None))
