"""An asyncio client of one engine process: a result or a stream for each request.

::

    async with await EngineClient.spawn(EngineSettings(model="demo")) as engine:
        (answer,) = await engine.generate(prompt_token_ids, SamplingParams(temperature=0.0))
        async for delta in engine.stream(prompt_token_ids):
            ...

Cancelling whoever waits for a result, or ending a stream early, aborts the request in the engine. When the engine is
gone (a channel ends, or an output frame was lost), every open request fails with `EngineDeadError`, which holds the
engine's last words; what had come until then is in its `Generation`, and `resume` goes on with it on another engine's
client.
"""

import asyncio
import itertools
import os
from collections import deque
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from spillway_engine.client.generation import ChoiceOutput, Generation, continuation, error_of
from spillway_engine.client.launch import COMMAND, EngineProcess
from spillway_engine.errors import EngineDeadError, RequestFailedError
from spillway_engine.settings import EngineSettings
from spillway_wire.address import parse_address
from spillway_wire.links import LinkError, Links
from spillway_wire.messages import (
    Abort,
    Channel,
    Choice,
    Delta,
    Drain,
    FromEngine,
    Inject,
    Injected,
    Rejected,
    SnapshotReply,
    SnapshotRequest,
    StepOutput,
    Stop,
    Submit,
    Welcome,
)
from spillway_wire.outcomes import Outcome
from spillway_wire.sampling import SamplingParams

_DEFAULT_PARAMS = SamplingParams()
_numbers = itertools.count(1)


class EngineClient:
    """Make it with `connect` or `spawn`; use it as an async context manager, or `close` it."""

    def __init__(self, links: Links, process: EngineProcess | None) -> None:
        self._links = links
        self.process = process
        """The engine's process if this client has started it: it ends with the client."""
        self._open: dict[tuple[str, int], Generation] = {}
        self._request_numbers = itertools.count(1)
        self._snapshots: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._injected: deque[asyncio.Future[Injected]] = deque()
        links.bind(self._received, self._ended)

    @classmethod
    async def connect(cls, address: str, *, client_id: str | None = None, timeout_s: float = 10.0) -> Self:
        """Open the three channels of the engine at `address`.

        Raises OSError if nobody listens there, `EngineDeadError` if the engine refuses this client.
        """
        name = client_id or f"client-{os.getpid()}-{next(_numbers)}"
        try:
            return cls(await Links.open(parse_address(address), name, timeout_s), None)
        except LinkError as error:
            raise EngineDeadError(str(error)) from None

    @classmethod
    async def spawn(
        cls,
        settings: EngineSettings,
        *,
        flags: Sequence[str] = (),
        command: Sequence[str] = COMMAND,
        ready_within_s: float = 600.0,
    ) -> Self:
        """Start an engine process of one's own and connect to it."""
        process = await EngineProcess.start(settings, flags=flags, command=command, ready_within_s=ready_within_s)
        try:
            client = await cls.connect(process.address)
        except BaseException:
            await process.kill()
            raise
        client.process = process
        return client

    @property
    def welcome(self) -> Welcome:
        """What the engine says of itself."""
        return self._links.welcome

    @property
    def last_words(self) -> str | None:
        """Why the engine is gone; None while it is there."""
        return self._links.last_words

    # ---- requests ----

    def submit(
        self,
        prompt_token_ids: Sequence[int],
        params: SamplingParams = _DEFAULT_PARAMS,
        *,
        choices: int = 1,
        request_id: str | None = None,
        priority: int = 0,
        timeout_s: float | None = None,
        alone: bool = False,
        cache_salt: str = "",
    ) -> Generation:
        """Send a request (fields as in `Submit`) and return at once."""
        return self.submit_message(
            Submit(
                request_id=request_id or f"r{next(self._request_numbers)}",
                prompt_token_ids=list(prompt_token_ids),
                params=params,
                choices=tuple(Choice(index=index) for index in range(choices)),
                priority=priority,
                timeout_s=timeout_s,
                alone=alone,
                cache_salt=cache_salt,
            )
        )

    def resume(self, interrupted: Generation) -> Generation:
        """Go on with a request that failed with its engine; the new generation holds the old one's tokens, too."""
        outputs = {index: _copy(output) for index, output in interrupted.outputs.items()}
        return self.submit_message(continuation(interrupted.request, outputs), outputs)

    def submit_message(self, request: Submit, outputs: dict[int, ChoiceOutput] | None = None) -> Generation:
        """Send a request as it is; its (request id, attempt) must not be open on this client."""
        key = request.request_id, request.attempt
        if key in self._open:
            raise ValueError(f"request {request.request_id!r}, attempt {request.attempt}, is open already")
        generation = Generation(request, self._abort, outputs)
        if self._links.last_words is not None:
            generation.fail(EngineDeadError(self._links.last_words))
        elif self._links.send(Channel.REQUEST, request):
            self._open[key] = generation
        else:
            generation.fail(RequestFailedError(Outcome.OVERLOADED, "the engine does not read its request channel"))
        return generation

    async def generate(
        self, prompt_token_ids: Sequence[int], params: SamplingParams = _DEFAULT_PARAMS, **fields: Any
    ) -> list[ChoiceOutput]:
        """Send a request (`fields` as in `submit`), wait for all its choices, and return them."""
        generation = self.submit(prompt_token_ids, params, **fields)
        try:
            return await generation.result()
        finally:
            generation.abort()

    async def stream(
        self, prompt_token_ids: Sequence[int], params: SamplingParams = _DEFAULT_PARAMS, **fields: Any
    ) -> AsyncIterator[Delta]:
        """Send a request (`fields` as in `submit`) and yield what each step adds to one of its choices."""
        generation = self.submit(prompt_token_ids, params, **fields)
        try:
            async for delta in generation:
                yield delta
        finally:
            generation.abort()

    def _abort(self, generation: Generation) -> None:
        request = generation.request
        if self._open.pop((request.request_id, request.attempt), None) is not None:
            self._links.send(Channel.REQUEST, Abort(request_id=request.request_id, attempt=request.attempt))

    # ---- orders ----

    async def drain(self) -> str:
        """Have the engine finish what it knows and end; wait for that and return its last words."""
        self._links.send(Channel.CONTROL, Drain())
        return await self._links.end()

    async def stop(self) -> str:
        """Have the engine end now; wait for that and return its last words."""
        self._links.send(Channel.CONTROL, Stop())
        return await self._links.end()

    async def inject(
        self, fault: str, *, at_step: int | None = None, value: float = 0.0, num_steps: int = 1
    ) -> Injected:
        """Arm a fault, if the engine was started with `--chaos`."""
        self._check_alive()
        answer: asyncio.Future[Injected] = asyncio.get_running_loop().create_future()
        self._injected.append(answer)
        self._links.send(Channel.CONTROL, Inject(fault=fault, at_step=at_step, value=value, num_steps=num_steps))
        return await answer

    async def snapshot(self) -> dict[str, Any]:
        """Ask the engine to describe itself."""
        self._check_alive()
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        token = next(self._request_numbers)
        self._snapshots[token] = answer
        self._links.send(Channel.CONTROL, SnapshotRequest(token=token))
        return await answer

    def _check_alive(self) -> None:
        if self._links.last_words is not None:
            raise EngineDeadError(self._links.last_words)

    # ---- what arrives ----

    def _received(self, message: FromEngine) -> None:
        match message:
            case StepOutput():
                for delta in message.deltas:
                    self._accept(delta)
            case Rejected():
                generation = self._open.pop((message.request_id, message.attempt), None)
                if generation is not None:
                    generation.fail(error_of(message.outcome, message.message))
            case SnapshotReply():
                _settle(self._snapshots.pop(message.token, None), message.snapshot)
            case Injected():
                _settle(self._injected.popleft() if self._injected else None, message)

    def _accept(self, delta: Delta) -> None:
        key = delta.request_id, delta.attempt
        generation = self._open.get(key)
        if generation is None:
            return  # of an attempt that is over for us
        gap = generation.accept(delta)
        if gap is not None:
            text = f"output tokens {gap.expected} to {gap.got - 1} of {delta.request_id} were lost"
            generation.fail(RequestFailedError(Outcome.ENGINE_FAILED, text))
            self._abort(generation)
        elif generation.is_over:
            del self._open[key]

    def _ended(self, last_words: str) -> None:
        for generation in self._open.values():
            generation.fail(EngineDeadError(last_words))
        self._open.clear()
        waiting: list[asyncio.Future[Any]] = [*self._snapshots.values(), *self._injected]
        for answer in waiting:
            if not answer.done():
                answer.set_exception(EngineDeadError(last_words))

    # ---- the end ----

    async def close(self) -> None:
        """End open requests, the connections and the process if it is ours. Idempotent."""
        if self.process is not None and self.last_words is None:
            self._links.send(Channel.CONTROL, Stop())
        await self._links.close("closed by this client")
        if self.process is not None:
            await self.process.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _copy(output: ChoiceOutput) -> ChoiceOutput:
    return ChoiceOutput(
        output.index,
        list(output.token_ids),
        list(output.logprobs),
        list(output.prompt_logprobs),
        list(output.moments),
        output.finish,
    )


T = TypeVar("T")


def _settle(answer: "asyncio.Future[T] | None", value: T) -> None:
    if answer is not None and not answer.done():
        answer.set_result(value)
