"""What the HTTP side and the pool agree on: `Work` goes in, a `Ticket` of `Piece`s comes out.

The pool owns everything between: the queue, the choice of an engine, the journal, and recovery. The HTTP side never
sees an engine; what it sees of a crash is a pause.
"""

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from spillway.admission.contract import Band
from spillway.admission.load.model_load import ModelLoad
from spillway.admission.queue.age import QueueAge
from spillway_wire.messages import Finish, PositionLogprobs
from spillway_wire.outcomes import Outcome
from spillway_wire.sampling import SamplingParams


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """One request for one prompt, complete: whoever has this can serve it, on any engine and again."""

    request_id: str
    """Unique in this gateway."""
    model: str
    """Name of the served model, aliases resolved."""
    prompt_token_ids: list[int]
    params: SamplingParams
    """With its seed drawn."""
    num_choices: int = 1
    priority: int = 0
    """Lower is more important, within its band."""
    band: Band = Band.DEFAULT
    tenant_id: str = ""
    weight: float = 1.0
    """The tenant's share of its band, relative to others."""
    tpot_s: float | None = None
    """The objective for each later token: engines are not filled beyond what keeps it. None: no objective."""
    ttft_due: float | None = None
    """When a first token is worthless (seconds of the monotonic clock): what still waits then is refused. None: never.
    """
    deadline: float | None = None
    """Seconds of the gateway's monotonic clock (`time.monotonic`); None: no deadline."""
    cache_salt: str = ""


class Piece(msgspec.Struct, frozen=True):
    """What one step added to one choice: in order of position, nothing twice, nothing missing."""

    choice: int
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[PositionLogprobs, ...] = ()
    prompt_logprobs: tuple[PositionLogprobs, ...] = ()
    finish: Finish | None = None
    """The end of this choice, always with the outcome `completed`. Other ends are raised as `Refused`."""


class Refused(Exception):  # noqa: N818 - it names what happened to the request
    """The request ends here, with any outcome but `completed`: at submission, while waiting, or in the midst of it."""

    def __init__(
        self,
        outcome: Outcome,
        message: str,
        *,
        retry_after_s: float | None = None,
        should_retry: bool | None = None,
        limit: str | None = None,
        measured: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.message = message
        self.retry_after_s = retry_after_s
        """When coming back can help."""
        self.should_retry = should_retry
        """False: it would only fail again. None: the outcome's own answer."""
        self.limit = limit
        """Which limit it met, such as `max_queued_requests=1024`."""
        self.measured = measured
        """What was measured against it, such as `1024`."""
        self.code = code
        """For programs, where the outcome's own is not exact enough."""


class Ticket(Protocol):
    """A submitted request. Iterate to the end: StopAsyncIteration when every choice has finished, else `Refused`.

    A cancelled wait for the next piece loses none.
    """

    def __aiter__(self) -> AsyncIterator[Piece]:
        """Iterate over its pieces; there is one reader."""

    async def __anext__(self) -> Piece:
        """Wait for the next piece."""

    def abort(self, outcome: Outcome = Outcome.CLIENT_GONE) -> None:
        """Forget it, in the engine within one step. Idempotent; nothing happens if it is over."""

    def end_choice(self, choice: int) -> None:
        """Have no more of one choice: it is complete here, though not in the engine. Nothing happens if it is over."""

    def hold(self) -> None:
        """Have the reader woken at the end only, to read all at once: for an answer that is not sent before."""

    @property
    def num_tokens(self) -> int:
        """Output tokens that have come, read or not."""

    @property
    def engine_ids(self) -> tuple[str, ...]:
        """The engines that have worked on it, in order; more than one after a crash."""


class ModelState(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway knows of one model's engines now."""

    name: str
    num_ready: int
    num_engines: int
    max_model_len: int | None
    """Tokens of prompt and answer that fit, by the context and by the cache; None until an engine has said it."""
    vocab_size: int | None
    exactness: str | None
    """The weakest class among its engines."""


class Pool(Protocol):
    """The gateway's one way to its engines."""

    def submit(self, work: Work) -> Ticket:
        """Queue `work` and return at once; raise `Refused` if it cannot be taken (overloaded, no engine, …)."""

    def model_state(self, name: str) -> ModelState | None:
        """Return what is known of a model, or None if it is not served."""

    def load(self, name: str) -> ModelLoad | None:
        """Return what a model's engines have in hand and what waits for them, or None if it is not served.

        Cheap enough for every request. `waiting` is the queue's own account and changes with it: read it at once.
        """

    def queue_age(self, name: str, band: Band) -> QueueAge | None:
        """Return how long what waits in a band has waited, and may; None if the model is not served."""

    def retry_after_s(self) -> float:
        """Return when coming back can help, as fast as the queue drains now."""

    @property
    def num_open(self) -> int:
        """Requests that are queued or running."""
