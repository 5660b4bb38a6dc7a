"""A world for the pool's core: a clock, wires that only note what is asked, engines and readers.

Nothing happens by itself: a test says what an engine takes in, computes and says, and when a connection ends.
"""

from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from spillway.pool.contract import Refused, Work
from spillway.pool.core import PoolCore
from spillway.pool.dispatcher import Recovered
from spillway.pool.members import EngineConnection, Key
from spillway.pool.policies import PoolPolicies
from spillway.settings import LimitSettings
from spillway_wire.codec import FrameTooLargeError
from spillway_wire.links import Ending
from spillway_wire.messages import Submit
from spillway_wire.plane import EngineDied, EngineStatus, ExitCause, Member, Membership, ServedModel
from spillway_wire.sampling import SamplingParams

from .fake_pool_engines import SimEngine
from .fake_pool_readers import Reader

MAX_TICKS = 1000
"""In one stretch of time; each has something to do."""


@dataclass
class SimWires:
    """Notes what the core asks."""

    world: "World"
    wanted: dict[Key, Member] = field(default_factory=dict)
    sent: list[tuple[Key, msgspec.Struct]] = field(default_factory=list)
    """All that ever went on a request channel."""
    wake: float | None = None
    told_soon: bool = False
    too_large: bool = False
    unread: bool = False

    def connect(self, member: Member) -> None:
        self.wanted[member.engine_id, member.incarnation] = member

    def disconnect(self, key: Key, reason: str) -> None:
        assert reason
        self.wanted.pop(key, None)
        engine = self.world.engines.get(key)
        if engine is not None and engine.connection is not None:
            engine.connection = None  # the end of its output channel: it aborts what was on it
            engine.running.clear()
            engine.inbox.clear()

    def send(self, key: Key, message: msgspec.Struct) -> bool:
        engine = self.world.engines[key]
        if isinstance(message, Submit) and self.too_large:
            raise FrameTooLargeError("too large")
        if self.unread:
            return False
        if engine.connection is not None:
            engine.inbox.append(message)
            self.sent.append((key, message))
        return True

    def wake_at(self, when: float) -> None:
        self.wake = when if self.wake is None else min(when, self.wake)

    def soon(self) -> None:
        self.told_soon = True


class World:
    """A core with its surroundings."""

    def __init__(
        self, *, policies: PoolPolicies | None = None, models: tuple[str, ...] = ("m",), **limits: Any
    ) -> None:
        self.now = 100.0
        self.wires = SimWires(self)
        self.engines: dict[Key, SimEngine] = {}
        self.said: list[tuple[EngineConnection, Any]] = []
        """All frames that were ever sent, to be sent again."""
        self.recovered: list[Recovered] = []
        self.log: list[tuple[str, dict[str, object]]] = []
        self.models = {name: ServedModel(name=name, path="") for name in models}
        self.version = 0
        self._numbers = 0
        self.core = PoolCore(
            self.wires,
            limits=LimitSettings(**limits),
            clock=lambda: self.now,
            log=lambda event, **fields: self.log.append((event, fields)),
            on_recovery=self.recovered.append,
            policies=policies or PoolPolicies(),
        )
        self.publish()

    # ---- the supervisor ----

    def publish(self) -> None:
        self.version += 1
        self.core.set_membership(
            Membership(
                version=self.version,
                members=tuple(engine.member for engine in self.engines.values() if engine.alive),
                models=tuple(self.models.values()),
            )
        )

    def start(self, engine_id: str = "e0", model: str = "m", *, credit: int = 100, connect: bool = True) -> SimEngine:
        """A new incarnation becomes ready; connected and with credits, unless asked otherwise."""
        incarnation = 1 + max((i for name, i in self.engines if name == engine_id), default=0)
        member = Member(
            engine_id=engine_id,
            incarnation=incarnation,
            model=model,
            address=f"unix:/{engine_id}.{incarnation}",
            status=EngineStatus.READY,
        )
        engine = SimEngine(member, self.hear)
        self.engines[engine.key] = engine
        self.publish()
        if connect:
            self.connect(engine)
            if credit:
                engine.grant(credit)
        return engine

    def status(self, engine: SimEngine, status: EngineStatus) -> None:
        engine.member = msgspec.structs.replace(engine.member, status=status)
        self.publish()

    # ---- the engines ----

    def hear(self, connection: EngineConnection, message: Any) -> None:
        """An engine says something."""
        self.said.append((connection, message))
        self.core.received(connection, message)

    def connect(self, engine: SimEngine) -> None:
        del self.wires.wanted[engine.key]
        self._numbers += 1
        name = f"gw.{self._numbers}"
        engine.begin()
        # The edge knows the connection before the core hears of it; a core that sends at once must reach the engine.
        view = self.core.roster.views[engine.key]
        engine.connection = EngineConnection(view, name, engine.welcome())
        engine.connection = self.core.connected(engine.key, name, engine.welcome())

    def cut(self, engine: SimEngine, ending: Ending = Ending.CUT) -> None:
        """The connection ends; what the engine had of it is aborted."""
        assert engine.connection is not None
        connection = engine.connection
        self.core.disconnected(connection, ending, "the words")
        engine.connection = None if engine.connection is connection else engine.connection

    def kill(self, engine: SimEngine, *, cut_first: bool = True, aboard: Any = None) -> None:
        """The engine dies, and the supervisor says so; then it leaves the membership."""
        died = EngineDied(
            engine_id=engine.member.engine_id,
            incarnation=engine.member.incarnation,
            cause=ExitCause.SIGNAL,
            message="killed by SIGKILL",
            aboard=engine.aboard() if aboard is None else aboard,
            detected_ns=0,
        )
        engine.alive = False
        if cut_first and engine.connection is not None:
            self.cut(engine)
        self.core.engine_died(died)
        engine.connection = None
        self.publish()

    def crash(self, engine_id: str, *readers: Reader) -> SimEngine:
        """An engine starts, takes everything in, and dies in a step that has only `readers` aboard."""
        engine = self.start(engine_id)
        engine.take_in()
        names = {reader.name for reader in readers}
        self.kill(engine, aboard=tuple(entry for entry in engine.aboard() if entry[1] in names))
        return engine

    @staticmethod
    def run(*engines: SimEngine) -> None:
        """Let engines read and compute until they have nothing left."""
        for _ in range(60):
            for engine in engines:
                if engine.connection is not None:
                    engine.take_in()
                    engine.step()

    # ---- clients ----

    def submit(self, prompt: list[int] | None = None, **fields: Any) -> Reader:
        self._numbers += 1
        params = fields.pop("params", None) or SamplingParams(
            max_tokens=fields.pop("max_tokens", 5), ignore_eos=fields.pop("ignore_eos", True)
        )
        work = Work(
            request_id=fields.pop("request_id", f"r{self._numbers}"),
            model=fields.pop("model", "m"),
            prompt_token_ids=[1, 2, 3] if prompt is None else prompt,
            params=params,
            **fields,
        )
        return Reader(work, self.core.submit(work))

    def try_submit(self, prompt: list[int], **fields: Any) -> tuple[Reader, None] | tuple[None, Refused]:
        try:
            return self.submit(prompt, **fields), None
        except Refused as refused:
            return None, refused

    def refused(self, prompt: list[int] | None = None, **fields: Any) -> Refused:
        """Submit what has to be turned away at once."""
        with pytest.raises(Refused) as raised:
            self.submit(prompt, **fields)
        return raised.value

    # ---- time ----

    def flush(self) -> None:
        """The events of this moment are over."""
        if self.wires.told_soon:
            self.wires.told_soon = False
            self.core.dispatcher.tell_backlogs()

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with every tick that was asked for."""
        end = self.now + seconds
        num_ticks = 0
        while self.wires.wake is not None and self.wires.wake <= end:
            num_ticks += 1
            assert num_ticks < MAX_TICKS, "the core asks to be woken again and again, and does nothing"
            self.now = max(self.now, self.wires.wake)
            self.wires.wake = None
            self.core.tick()
            self.flush()
        self.now = end
