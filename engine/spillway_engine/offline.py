"""The engine as a library: no process, no sockets, no threads of its own beside those that compute.

::

    with Engine("demo") as engine:
        [answer] = engine.generate("Count from 37 to 90", SamplingParams(temperature=0.0))
        print(answer.text)
        for piece in engine.stream("Hello, how are you?"):
            print(piece.text, end="", flush=True)

One caller at a time. Streams that are open at once share steps: whichever is asked for its next piece runs the engine,
and what comes of it for the others waits for them.
"""

import itertools
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import Any, Self

import msgspec

from spillway_engine.errors import (
    EngineError,
    InvalidRequestError,
    ModelNotFoundError,
    RequestFailedError,
)
from spillway_engine.kernel_cache import COMPILING
from spillway_engine.memory.blocks import IntegrityError
from spillway_engine.prepared import Report
from spillway_engine.settings import EngineSettings
from spillway_engine.startup import load_engine
from spillway_text.errors import InvalidPromptError
from spillway_text.text import Message, ModelText
from spillway_wire.messages import Choice, Delta, PositionLogprobs, Submit
from spillway_wire.outcomes import FinishReason, Outcome
from spillway_wire.sampling import SamplingParams

Prompt = str | Sequence[int] | Sequence[Message]
"""Text, token ids, or a conversation."""

_CLIENT = "offline"


@dataclass(slots=True)
class Answer:
    """One choice of a request. It grows while the request runs."""

    index: int
    text: str = ""
    """Without the token that ended it; empty where the model's folder has no tokenizer."""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[PositionLogprobs] = field(default_factory=list)
    finish_reason: FinishReason | None = None


@dataclass(slots=True)
class Output:
    """What came of one prompt."""

    prompt_token_ids: list[int]
    answers: list[Answer]
    prompt_logprobs: list[PositionLogprobs] = field(default_factory=list)
    cached_tokens: int = 0
    """Prompt tokens found in the prefix cache."""

    @property
    def text(self) -> str:
        """The first answer's text."""
        return self.answers[0].text


@dataclass(frozen=True, slots=True)
class Piece:
    """What a step added to a stream."""

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason | None = None


class Engine:
    """A model that is loaded and serves its caller. `settings` are those of `EngineSettings`.

    `report` is told of progress while it loads; by default a terminal is told when that takes long for once.
    Raises `ModelError`, `SettingsError` or `MemoryBudgetError` if it cannot start, and `EngineError` for any use after
    `close`.
    """

    def __init__(self, model: str = "demo", *, report: Report | None = None, **settings: Any) -> None:
        self._loaded = load_engine(EngineSettings(model=model, **settings), report or _tell_terminal)
        self._core = self._loaded.core
        self._closed = False
        self._numbers = itertools.count(1)
        self._news: dict[str, deque[Delta]] = {}

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Engine {self._loaded.name} {self._loaded.exactness} {self._core!r}>"

    @cached_property
    def text(self) -> ModelText:
        """The model's tokenizer and chat template. Raises `ModelError` if its folder has no sound one."""
        return ModelText(self._loaded.path)

    def generate(
        self,
        prompts: str | Sequence[Prompt],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        n: int = 1,
        raw: bool = False,
    ) -> list[Output]:
        """Answer prompts, batched as fits, and return their outputs in order.

        A text goes through the model's chat template, if it has one, as a user's message; `raw` takes it as it is.
        Raises `RequestError` for what can never succeed (nothing is run then), `RequestFailedError` if one fails.
        """
        wanted = [prompts] if isinstance(prompts, str) else list(prompts)
        each = params or SamplingParams()
        chosen = [each] * len(wanted) if isinstance(each, SamplingParams) else list(each)
        if len(chosen) != len(wanted):
            raise InvalidRequestError(f"{len(wanted)} prompts came with {len(chosen)} sampling parameters")
        submits = [self._submit(prompt, params, n, raw=raw) for prompt, params in zip(wanted, chosen, strict=True)]
        try:
            for submit in submits:
                self._open(submit)
            return [self._collect(submit) for submit in submits]
        finally:
            for submit in submits:
                self._abandon(submit)

    def stream(self, prompt: Prompt, params: SamplingParams | None = None, *, raw: bool = False) -> Iterator[Piece]:
        """Answer one prompt piece by piece. Closing the iterator aborts the request. Errors are those of `generate`."""
        submit = self._submit(prompt, params or SamplingParams(), 1, raw=raw)
        self._open(submit)
        decoder = None if self._decoder is None else self._decoder.detokenizer()
        try:
            while True:
                delta = self._next(submit)
                reason = _finish_reason(delta)
                shown = delta.token_ids[:-1] if reason is FinishReason.STOP else delta.token_ids
                text = "" if decoder is None else "".join(map(decoder.push, shown))
                if reason is not None and decoder is not None:
                    text += decoder.finish()
                yield Piece(text, delta.token_ids, reason)
                if reason is not None:
                    return
        finally:
            self._abandon(submit)

    def snapshot(self) -> dict[str, Any]:
        """Return the engine's counters and state."""
        self._check_open()
        snapshot: dict[str, Any] = msgspec.to_builtins(self._core.snapshot())
        return snapshot

    def close(self) -> None:
        """Stop threads and free memory. Idempotent."""
        self._closed = True
        self._loaded.runner.close()

    @cached_property
    def _decoder(self) -> ModelText | None:
        """What makes text of answers; None where the folder has no tokenizer, whose answers are token ids alone."""
        try:
            return self.text
        except ModelNotFoundError:
            return None

    def _check_open(self) -> None:
        if self._closed:
            raise EngineError("this engine is closed; make another one")

    def _submit(self, prompt: Prompt, params: SamplingParams, n: int, *, raw: bool) -> Submit:
        self._check_open()
        return Submit(
            request_id=f"r{next(self._numbers)}",
            prompt_token_ids=self._token_ids(prompt, raw=raw),
            params=params,
            choices=tuple(Choice(index=index) for index in range(n)),
        )

    def _token_ids(self, prompt: Prompt, *, raw: bool) -> list[int]:
        if isinstance(prompt, str):
            if raw or not self.text.has_chat_template:
                return self.text.encode(prompt)
            prompt = [{"role": "user", "content": prompt}]
        elif prompt and isinstance(prompt[0], int):
            return list(prompt)  # type: ignore[arg-type]  # all are integers, or validation says so
        try:
            return self.text.encode_chat(prompt)  # type: ignore[arg-type]  # neither text nor token ids
        except InvalidPromptError as error:
            raise InvalidRequestError(str(error)) from error

    def _open(self, submit: Submit) -> None:
        self._core.submit(_CLIENT, submit)
        self._news[submit.request_id] = deque()

    def _abandon(self, submit: Submit) -> None:
        if self._news.pop(submit.request_id, None) is not None:
            self._core.abort(_CLIENT, submit.request_id, submit.attempt)
        self._core.check_if_idle()

    def _next(self, submit: Submit) -> Delta:
        """Return the next delta of a request, running steps until there is one."""
        news = self._news[submit.request_id]
        while not news:
            self._check_open()
            report = self._core.step()
            if report is None:
                self._wait()
                continue
            for _, delta in report.deltas:
                if delta.request_id in self._news:
                    self._news[delta.request_id].append(delta)
        return news.popleft()

    def _wait(self) -> None:
        """Sleep until time alone lets the core go on: nobody else could bring it work meanwhile."""
        wakeup_ns = self._core.next_wakeup_ns
        if wakeup_ns is None:
            raise IntegrityError(f"a request is open, but nothing would ever run: {self._core!r}")
        time.sleep(max(0, wakeup_ns - time.monotonic_ns()) / 1e9)

    def _collect(self, submit: Submit) -> Output:
        output = Output(submit.prompt_token_ids, [Answer(choice.index) for choice in submit.choices])
        running = len(output.answers)
        while running:
            delta = self._next(submit)
            answer = output.answers[delta.choice]
            answer.token_ids += delta.token_ids
            answer.logprobs += delta.logprobs
            if delta.choice == 0:
                output.prompt_logprobs += delta.prompt_logprobs
            reason = _finish_reason(delta)
            if reason is not None and delta.finish is not None:
                running -= 1
                answer.finish_reason = reason
                output.cached_tokens = max(output.cached_tokens, delta.finish.usage.cached_tokens)
                shown = answer.token_ids[:-1] if reason is FinishReason.STOP else answer.token_ids
                answer.text = "" if self._decoder is None else self._decoder.decode(shown)
        return output


def _finish_reason(delta: Delta) -> FinishReason | None:
    if delta.finish is None:
        return None
    if delta.finish.outcome is not Outcome.COMPLETED:
        raise RequestFailedError(delta.finish.outcome, delta.finish.message)
    return delta.finish.reason


def _tell_terminal(phase: str, _share: float) -> None:
    """Say why a first start takes its time: a minute of silence looks like a hang."""
    if phase == COMPILING and sys.stderr.isatty():
        sys.stderr.write(f"spillway: {phase}\n")
        sys.stderr.flush()
