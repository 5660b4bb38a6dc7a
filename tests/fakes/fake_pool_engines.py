"""Engines for the pool's core that know every token, and compute only when told.

Position i of choice c of a prompt is `token_at(prompt, c, i)`, whatever the engine, the batch and the attempt.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from spillway.pool.contract import Work
from spillway.pool.members import EngineConnection, Key
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
from spillway_wire.plane import Member

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
    """One incarnation. It is told what to do; what it says, `deliver` brings to the pool."""

    def __init__(self, member: Member, deliver: Callable[[EngineConnection, Any], None]) -> None:
        self.member = member
        self._deliver = deliver
        self.alive = True
        self.draining = False
        self.connection: EngineConnection | None = None
        self.inbox: list[msgspec.Struct] = []
        self.running: dict[tuple[str, int], tuple[Submit, dict[int, list[int]]]] = {}
        self.begin()
        self.submits: list[Submit] = []
        """All that ever came."""
        self.steps = 0

    @property
    def key(self) -> Key:
        return self.member.engine_id, self.member.incarnation

    def begin(self) -> None:
        """Count anew: each connection has books of its own."""
        self.num_received = self.num_fresh = self.granted = 0
        self.backlog = Backlog(waiting=0)

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
        self._deliver(self.connection, message)

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
                self.num_fresh += message.attempt == 1
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
        """All that it has runs, and holds the blocks of its tokens."""
        tokens = [len(m.prompt_token_ids) + len(t) for m, outputs in self.running.values() for t in outputs.values()]
        blocks = sum(-(-number // CAPACITY.block_size) for number in tokens)
        free = max(0, CAPACITY.num_blocks - blocks)
        return Load(running=len(tokens), waiting=0, free_blocks=free, waiting_prefill_tokens=0)

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
