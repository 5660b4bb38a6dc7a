"""Delivery: turns what happened to sequences into the deltas that their clients get."""

from spillway_engine.memory.blocks import IntegrityError
from spillway_engine.plan import StepPlan, StepResult
from spillway_engine.registry import Key, Registry
from spillway_engine.request import Sequence
from spillway_wire.messages import Delta, Moment, MomentKind, PositionLogprobs

Addressed = tuple[str, Delta]
"""A delta and the client it is for."""


class Delivery:
    """Deltas in the order in which they have to be sent, and prompt log-probabilities until their first token."""

    def __init__(self) -> None:
        self._deltas: list[Addressed] = []
        self._prompt_logprobs: dict[Sequence, list[PositionLogprobs]] = {}

    def __len__(self) -> int:
        return len(self._deltas)

    def take(self) -> list[Addressed]:
        """Return all deltas and start anew."""
        deltas, self._deltas = self._deltas, []
        return deltas

    def drop(self, key: Key, choice: int | None = None) -> None:
        """Forget what was to be said of a request, or of one choice of it."""
        self._deltas = [
            (client_id, delta)
            for client_id, delta in self._deltas
            if (client_id, delta.request_id, delta.attempt) != key or choice not in {None, delta.choice}
        ]

    def collect_prompt_logprobs(self, plan: StepPlan, result: StepResult) -> None:
        """Keep what a chunk found; a prompt that is computed again after a preemption starts anew."""
        for index, logprobs in result.prompt_logprobs.items():
            row = plan.rows[index]
            if row.sequence.wants_prompt_logprobs:
                if row.start == 0:
                    self._prompt_logprobs[row.sequence] = []
                self._prompt_logprobs.setdefault(row.sequence, []).extend(logprobs)

    def add_token(self, sequence: Sequence, token: int, logprobs: tuple[PositionLogprobs, ...], now_ns: int) -> None:
        """Report the token just sampled, and the end if it was the last."""
        position = sequence.reported - sequence.num_prompt
        sequence.reported += 1
        prompt_logprobs: tuple[PositionLogprobs, ...] = ()
        if position == sequence.num_resumed:
            sequence.moments.append(Moment(kind=MomentKind.FIRST_TOKEN, at_ns=now_ns))
            if self._prompt_logprobs:
                prompt_logprobs = tuple(self._prompt_logprobs.pop(sequence, ()))
        if sequence.finish is not None:
            sequence.moments.append(Moment(kind=MomentKind.LAST_TOKEN, at_ns=now_ns))
        moments: tuple[Moment, ...] = ()
        if sequence.moments:
            moments = tuple(sequence.moments)
            sequence.moments.clear()
        client_id, request_id, attempt = sequence.request.key
        delta = Delta(
            request_id=request_id,
            attempt=attempt,
            choice=sequence.choice,
            position=position,
            token_ids=(token,),
            logprobs=logprobs,
            prompt_logprobs=prompt_logprobs,
            moments=moments,
            finish=sequence.finish,
        )
        self._deltas.append((client_id, delta))

    def add_end(self, sequence: Sequence) -> None:
        """Report the end of a sequence that got no token with it."""
        self.forget(sequence)
        client_id, request_id, attempt = sequence.request.key
        delta = Delta(
            request_id=request_id,
            attempt=attempt,
            choice=sequence.choice,
            position=sequence.reported - sequence.num_prompt,
            moments=tuple(sequence.moments),
            finish=sequence.finish,
        )
        sequence.moments.clear()
        self._deltas.append((client_id, delta))

    def forget(self, sequence: Sequence) -> None:
        """Drop what was collected for a sequence that ends before its first token."""
        self._prompt_logprobs.pop(sequence, None)

    def check_integrity(self, registry: Registry) -> None:
        """Raise `IntegrityError` if anything is kept for a request that has finished."""
        gone: list[Key] = [s.request.key for s in self._prompt_logprobs if s.request.key not in registry]
        if gone:
            raise IntegrityError(f"prompt log-probabilities are kept for finished requests: {gone}")
