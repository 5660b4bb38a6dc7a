"""One request as its client sees it: what has come so far, what is still to come, and how to go on elsewhere."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from spillway_engine.errors import EngineError, InvalidRequestError, RequestFailedError, RequestTooLargeError
from spillway_wire.continuity import Gap, fresh_part
from spillway_wire.messages import Choice, Delta, Finish, Moment, PositionLogprobs, Submit
from spillway_wire.outcomes import Outcome


@dataclass(slots=True)
class ChoiceOutput:
    """What is known of one answer. Lists run from output position 0, those of earlier attempts included."""

    index: int
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[PositionLogprobs] = field(default_factory=list)
    """Empty if none were asked for; of this attempt's tokens only."""
    prompt_logprobs: list[PositionLogprobs] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    finish: Finish | None = None


def continuation(request: Submit, outputs: dict[int, ChoiceOutput]) -> Submit:
    """Return the message with which another engine goes on where `outputs` ends: the next attempt."""
    return msgspec.structs.replace(
        request,
        attempt=request.attempt + 1,
        choices=tuple(
            Choice(index=output.index, output_token_ids=tuple(output.token_ids))
            for output in outputs.values()
            if output.finish is None
        ),
    )


class Generation:
    """A request in flight. Await `result()`, or iterate over what each step adds; both may be done.

    Iteration ends when every choice has ended, and raises like `result` if one did not end well.
    """

    def __init__(
        self,
        request: Submit,
        on_abort: Callable[["Generation"], None],
        outputs: dict[int, ChoiceOutput] | None = None,
    ) -> None:
        self.request = request
        self.outputs = outputs or {
            choice.index: ChoiceOutput(choice.index, list(choice.output_token_ids)) for choice in request.choices
        }
        self._on_abort = on_abort
        self._unread: deque[Delta] = deque()
        self._news = asyncio.Event()
        self._over = asyncio.Event()
        self._failure: EngineError | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self._over.is_set()

    async def result(self) -> list[ChoiceOutput]:
        """Wait for all choices and return them by index. Cancelling it aborts the request.

        Raises `RequestFailedError` if one ended with another outcome than `completed`, `RequestError` if the request
        can never succeed, `EngineDeadError` if the engine is gone.
        """
        try:
            await self._over.wait()
        except asyncio.CancelledError:
            self.abort()
            raise
        if self._failure is not None:
            raise self._failure
        return [self.outputs[index] for index in sorted(self.outputs)]

    def __aiter__(self) -> "Generation":
        return self

    async def __anext__(self) -> Delta:
        while not self._unread:
            if self._over.is_set():
                if self._failure is not None:
                    raise self._failure
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._unread.popleft()

    def abort(self) -> None:
        """Have the engine forget it. Idempotent; nothing happens if it is over."""
        if not self.is_over:
            self.fail(RequestFailedError(Outcome.CLIENT_GONE, "aborted by this client"))
            self._on_abort(self)

    # ---- what the client does with it ----

    def fail(self, error: EngineError) -> None:
        """End it with an error; the first end counts."""
        if not self.is_over:
            self._failure = error
            self._over.set()
            self._news.set()

    def accept(self, delta: Delta) -> Gap | None:
        """Take in what is new of `delta`; a gap is returned and changes nothing."""
        output = self.outputs.get(delta.choice)
        if output is None or output.finish is not None or self.is_over:
            return None
        part = fresh_part(delta, len(output.token_ids))
        if isinstance(part, Gap):
            return part
        output.token_ids.extend(part.token_ids)
        output.logprobs.extend(part.logprobs)
        output.prompt_logprobs.extend(part.prompt_logprobs)
        output.moments.extend(part.moments)
        output.finish = part.finish
        self._unread.append(part)
        self._news.set()
        if part.finish is not None:
            self._check_over()
        return None

    def _check_over(self) -> None:
        ends = [output.finish for output in self.outputs.values() if output.finish is not None]
        if len(ends) < len(self.outputs):
            return
        for end in ends:
            if end.outcome is not Outcome.COMPLETED:
                self._failure = error_of(end.outcome, end.message)
                break
        self._over.set()


_MISUSE: dict[Outcome, type[InvalidRequestError | RequestTooLargeError]] = {
    Outcome.INVALID: InvalidRequestError,
    Outcome.TOO_LARGE: RequestTooLargeError,
}


def error_of(outcome: Outcome, message: str) -> EngineError:
    """Translate an outcome other than `completed` into this package's exceptions."""
    misuse = _MISUSE.get(outcome)
    return RequestFailedError(outcome, message) if misuse is None else misuse(message)
