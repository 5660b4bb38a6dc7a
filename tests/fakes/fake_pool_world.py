"""A world for the pool's core: a clock, wires that only note what is asked, and engines that know every token.

Position i of choice c of a prompt is `token_at(prompt, c, i)`, whatever the engine, the batch and the attempt. Nothing
happens by itself: a test says what an engine takes in, computes and says, and when a connection ends.
"""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from spillway.pool.contract import Piece, Refused, Work
from spillway.pool.core import PoolCore
from spillway.pool.dispatcher import Recovered
from spillway.pool.members import EngineConnection, Key
from spillway.pool.policies import PoolPolicies
from spillway.pool.ticket import PoolTicket
from spillway.settings import LimitSettings
from spillway_wire.codec import FrameTooLargeError
from spillway_wire.links import Ending
from spillway_wire.messages import (
    Abort,
    Backlog,
    Capacity,
    Credit,
    Delta,
    Exactness,
    Finish,
    Load,
    Moment,
    MomentKind,
    Rejected,
    StepOutput,
    Submit,
    Usage,
    Welcome,
)
from spillway_wire.outcomes import FinishReason, Outcome
from spillway_wire.plane import EngineDied, EngineStatus, ExitCause, Member, Membership, ServedModel
from spillway_wire.sampling import SamplingParams

EOS = 0
VOCAB = 23
CAPACITY = Capacity(max_num_seqs=4, max_num_batched_tokens=64, max_model_len=64, num_blocks=64, block_size=16)


def token_at(prompt: list[int], choice: int, position: int) -> int:
    return (sum(prompt) * 7 + choice * 5 + position * 3 + position * position) % VOCAB


def expected(work: Work, choice: int) -> tuple[list[int], FinishReason]:
    """The whole output of a choice, as an undisturbed engine gives it."""
    tokens: list[int] = []
    most = min(work.params.max_tokens or CAPACITY.max_model_len, CAPACITY.max_model_len - len(work.prompt_token_ids))
    while True:
        tokens.append(token_at(work.prompt_token_ids, choice, len(tokens)))
        if tokens[-1] == EOS and not work.params.ignore_eos and len(tokens) > work.params.min_tokens:
            return tokens, FinishReason.STOP
        if len(tokens) >= most:
            return tokens, FinishReason.LENGTH


class SimEngine:
    """One incarnation. It is told what to do, and says it through the world."""

    def __init__(self, world: "World", member: Member) -> None:
        self.world = world
        self.member = member
        self.alive = True
        self.draining = False
        self.connection: EngineConnection | None = None
        self.inbox: list[msgspec.Struct] = []
        self.running: dict[tuple[str, int], tuple[Submit, dict[int, list[int]]]] = {}
        self.num_received = 0
        self.granted = 0
        self.backlog = Backlog(waiting=0)
        self.submits: list[Submit] = []
        """All that ever came."""
        self.steps = 0

    @property
    def key(self) -> Key:
        return self.member.engine_id, self.member.incarnation

    def welcome(self) -> Welcome:
        return Welcome(
            engine_id=self.member.engine_id,
            incarnation=self.member.incarnation,
            model=self.member.model,
            vocab_size=VOCAB,
            eos_token_ids=(EOS,),
            exactness=Exactness.EXACT,
            capacity=CAPACITY,
            engine_version="0",
        )

    def say(self, message: Any) -> None:
        assert self.connection is not None
        self.world.said.append((self.connection, message))
        self.world.core.received(self.connection, message)

    def grant(self, number: int = 1) -> None:
        self.granted += number
        self.say(Credit(total=self.granted))

    def take_in(self) -> None:
        """Read the request channel."""
        inbox, self.inbox = self.inbox, []
        for message in inbox:
            if isinstance(message, Submit):
                self.submits.append(message)
                self.num_received += 1
                if self.draining:
                    self.reject(message, Outcome.DRAINING)
                else:
                    assert (message.request_id, message.attempt) not in self.running
                    outputs = {choice.index: list(choice.output_token_ids) for choice in message.choices}
                    self.running[message.request_id, message.attempt] = message, outputs
            elif isinstance(message, Abort) and message.choice is not None:
                _, outputs = self.running.get((message.request_id, message.attempt), (None, {}))
                outputs.pop(message.choice, None)
            elif isinstance(message, Abort):
                self.running.pop((message.request_id, message.attempt), None)
            elif isinstance(message, Backlog):
                self.backlog = message

    def reject(self, message: Submit, outcome: Outcome, text: str = "no") -> None:
        self.say(
            Rejected(sequence=0, request_id=message.request_id, attempt=message.attempt, outcome=outcome, message=text)
        )

    def load(self) -> Load:
        return Load(running=len(self.running), waiting=0, free_blocks=60, waiting_prefill_tokens=0)

    def step(self, num_tokens: int = 1) -> None:
        """Add tokens to everything that runs, and say so in one frame."""
        self.steps += 1
        deltas = []
        for key, (message, outputs) in list(self.running.items()):
            for index, tokens in list(outputs.items()):
                deltas.append(self._advance(message, index, tokens, num_tokens))
                if deltas[-1].finish is not None:
                    del outputs[index]
            if not outputs:
                del self.running[key]
        self.say_step(deltas)

    def say_step(self, deltas: list[Delta]) -> None:
        self.say(
            StepOutput(
                sequence=self.steps,
                step=self.steps,
                started_ns=0,
                ended_ns=0,
                load=self.load(),
                deltas=tuple(deltas),
                received=self.num_received,
            )
        )

    def _advance(self, message: Submit, index: int, tokens: list[int], num_tokens: int) -> Delta:
        work = Work(
            request_id=message.request_id,
            model="m",
            prompt_token_ids=message.prompt_token_ids,
            params=message.params,
        )
        whole, reason = expected(work, index)
        position = len(tokens)
        tokens += whole[position : position + num_tokens]
        finish = None
        if len(tokens) == len(whole):
            usage = Usage(
                prompt_tokens=len(message.prompt_token_ids), cached_tokens=message.attempt, output_tokens=len(tokens)
            )
            finish = Finish(outcome=Outcome.COMPLETED, reason=reason, usage=usage)
        return Delta(
            request_id=message.request_id,
            attempt=message.attempt,
            choice=index,
            position=position,
            token_ids=tuple(tokens[position:]),
            moments=(Moment(kind=MomentKind.SCHEDULED, at_ns=self.steps, value=message.attempt),),
            finish=finish,
        )

    def end_all(self, outcome: Outcome, text: str = "the engine was stopped") -> None:
        """End everything that runs with an outcome that is no completion."""
        deltas = []
        for message, outputs in self.running.values():
            for index, tokens in outputs.items():
                usage = Usage(prompt_tokens=1, cached_tokens=0, output_tokens=len(tokens))
                finish = Finish(outcome=outcome, reason=None, usage=usage, message=text)
                deltas.append(
                    Delta(
                        request_id=message.request_id,
                        attempt=message.attempt,
                        choice=index,
                        position=len(tokens),
                        finish=finish,
                    )
                )
        self.running.clear()
        self.say_step(deltas)

    def aboard(self) -> tuple[tuple[str, str, int, int], ...]:
        name = "" if self.connection is None else self.connection.client_id
        return tuple(
            (name, request_id, attempt, index)
            for (request_id, attempt), (_, outputs) in self.running.items()
            for index in outputs
        )


@dataclass
class SimWires:
    """Notes what the core asks."""

    world: "World"
    wanted: dict[Key, Member] = field(default_factory=dict)
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
        engine = SimEngine(
            self,
            Member(
                engine_id=engine_id,
                incarnation=incarnation,
                model=model,
                address=f"unix:/{engine_id}.{incarnation}",
                status=EngineStatus.READY,
            ),
        )
        self.engines[engine.key] = engine
        self.publish()
        if connect:
            self.connect(engine)
            if credit:
                engine.grant(credit)
        return engine

    def connect(self, engine: SimEngine) -> None:
        del self.wires.wanted[engine.key]
        self._numbers += 1
        name = f"gw.{self._numbers}"
        engine.granted = engine.num_received = 0
        # The edge knows the connection before the core hears of it; a core that sends at once must reach the engine.
        view = self.core.roster.views[engine.key]
        engine.connection = EngineConnection(view, name, engine.welcome())
        engine.connection = self.core.connected(engine.key, name, engine.welcome())

    def status(self, engine: SimEngine, status: EngineStatus) -> None:
        engine.member = msgspec.structs.replace(engine.member, status=status)
        self.publish()

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

    # ---- clients ----

    def submit(self, prompt: list[int] | None = None, **fields: Any) -> "Reader":
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

    def try_submit(self, prompt: list[int], **fields: Any) -> "tuple[Reader, None] | tuple[None, Refused]":
        try:
            return self.submit(prompt, **fields), None
        except Refused as refused:
            return None, refused

    def flush(self) -> None:
        """The events of this moment are over."""
        if self.wires.told_soon:
            self.wires.told_soon = False
            self.core.dispatcher.tell_backlogs()

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with every tick that was asked for."""
        end = self.now + seconds
        while self.wires.wake is not None and self.wires.wake <= end:
            self.now = max(self.now, self.wires.wake)
            self.wires.wake = None
            self.core.tick()
            self.flush()
        self.now = end


class Reader:
    """Reads a ticket without an event loop, and knows how it has to end."""

    def __init__(self, work: Work, ticket: PoolTicket) -> None:
        self.work = work
        self.ticket = ticket
        self.tokens: dict[int, list[int]] = {index: [] for index in range(work.num_choices)}
        self.pieces: list[Piece] = []
        self.finishes: dict[int, Finish] = {}
        self.refused: Refused | None = None
        self.num_ends = 0

    @property
    def entry(self) -> Any:
        return self.ticket.entry

    def read(self) -> "Reader":
        """Take everything there is."""
        while not self.num_ends and (self.entry.news or self.entry.is_over):
            try:
                self.ticket.__anext__().send(None)
            except StopIteration as stop:
                self._keep(stop.value)
            except StopAsyncIteration:
                self.num_ends += 1
            except Refused as refused:
                self.num_ends += 1
                self.refused = refused
        return self

    def _keep(self, piece: Piece) -> None:
        assert piece.choice not in self.finishes, "a piece after the end of its choice"
        self.pieces.append(piece)
        self.tokens[piece.choice] += piece.token_ids
        if piece.finish is not None:
            self.finishes[piece.choice] = piece.finish

    @property
    def completed(self) -> bool:
        return self.num_ends == 1 and self.refused is None

    def check(self) -> None:
        """What was read is the beginning of the truth, and all of it at the end."""
        for index, tokens in self.tokens.items():
            whole, reason = expected(self.work, index)
            assert tokens == whole[: len(tokens)], f"choice {index} of {self.work}"
            finish = self.finishes.get(index)
            if finish is not None:
                assert (tokens, finish.reason, finish.usage.output_tokens) == (whole, reason, len(whole))
        assert self.num_ends <= 1
        if self.completed:
            assert len(self.finishes) == self.work.num_choices
