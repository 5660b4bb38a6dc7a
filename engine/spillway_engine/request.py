"""A request and its sequences: what is known of them, and nothing of what to do with them.

A request with `n` answers is `n` sequences that share their prompt. The scheduler works on sequences::

    tokens      p p p p p p p o o o ?          p prompt, o output, ? the token that the next step samples
                ├─ num_computed ─┤ ├ pending
    position    0                num_computed

The keys and values of positions below `num_computed` are in the cache. A step computes the next ones; when
it reaches the last known token it samples one more. So a fresh prompt, a chunk of one, a decode, a preempted sequence
and a continuation after a crash are all the same thing: known tokens whose keys and values are not all there yet.
"""

from collections.abc import Sequence as Seq

from spillway_engine.lifecycle import Status
from spillway_wire.messages import Finish, Moment
from spillway_wire.sampling import SamplingParams


class Request:
    """What the client asked for; the same for all of its sequences, and never changed."""

    __slots__ = (
        "alone", "arrival", "cache_salt", "client_id", "deadline_ns", "end_token_ids", "key", "params", "priority",
        "prompt_token_ids", "resumed",
    )  # fmt: skip

    def __init__(
        self,
        *,
        key: tuple[str, str, int],
        prompt_token_ids: Seq[int],
        params: SamplingParams,
        arrival: int,
        priority: int = 0,
        deadline_ns: int | None = None,
        alone: bool = False,
        resumed: bool = False,
        cache_salt: str = "",
        end_token_ids: frozenset[int] = frozenset(),
    ) -> None:
        self.key = key
        """(client id, request id, attempt): unique within an engine."""
        self.prompt_token_ids = prompt_token_ids
        self.params = params
        self.arrival = arrival
        """Counts arrivals at this engine; the earlier goes first within a priority."""
        self.priority = priority
        """Lower is more important."""
        self.deadline_ns = deadline_ns
        self.alone = alone
        self.resumed = resumed
        """Whether an earlier attempt began it (a continuation), also if it got no token: it goes before fresh work."""
        self.cache_salt = cache_salt
        self.end_token_ids = end_token_ids
        """Tokens that complete an output: the request's stop tokens and, unless ignored, the model's eos tokens."""


class Sequence:
    """One choice of a request: the scheduler moves it, the runner reads it, the pool accounts for it."""

    __slots__ = (
        "block_ids", "cached_tokens", "choice", "finish", "max_output_tokens", "moments", "num_cached_blocks",
        "num_computed", "num_prompt", "num_resumed", "prefix_node", "reported", "request", "slot", "status", "tokens",
    )  # fmt: skip

    def __init__(self, request: Request, choice: int, *, max_output_tokens: int, resumed_tokens: Seq[int] = ()) -> None:
        self.request = request
        self.choice = choice
        self.status = Status.WAITING
        self.tokens: list[int] = [*request.prompt_token_ids, *resumed_tokens]
        self.num_prompt = len(request.prompt_token_ids)
        self.num_resumed = len(resumed_tokens)
        """Output tokens known from an earlier attempt: never reported again."""
        self.max_output_tokens = max_output_tokens
        """`max_tokens`, bounded by what is left of the context."""
        self.num_computed = 0
        self.block_ids: list[int] = []
        self.slot: int | None = None
        """Row in the runner's persistent arrays while scheduled, else None."""
        self.prefix_node = 0
        """Identity of the last full block in the prefix index (see `prefix`), 0 at the root."""
        self.num_cached_blocks = 0
        """How many of `block_ids`, from the first, are known to the prefix index."""
        self.cached_tokens = 0
        """Prompt tokens found in the prefix cache when first scheduled."""
        self.reported = self.num_prompt + self.num_resumed
        """Tokens below this position have been sent to the client."""
        self.moments: list[Moment] = []
        """Transitions since the last report."""
        self.finish: Finish | None = None

    @property
    def params(self) -> SamplingParams:
        """The request's sampling parameters."""
        return self.request.params

    @property
    def wants_prompt_logprobs(self) -> bool:
        """Whether prompt log-probabilities were asked for and are still to be sent, with the first token."""
        return self.request.params.prompt_logprobs is not None and self.reported == self.num_prompt

    @property
    def num_output(self) -> int:
        """Output tokens so far, those of earlier attempts included."""
        return len(self.tokens) - self.num_prompt

    @property
    def num_pending(self) -> int:
        """Known tokens whose keys and values are not in the cache."""
        return len(self.tokens) - self.num_computed

    @property
    def decoding(self) -> bool:
        """Whether only the newest token is still to be computed."""
        return self.num_computed > 0 and self.num_pending == 1 and self.num_output > 0

    def __repr__(self) -> str:
        client, request, attempt = self.request.key
        return (
            f"<Sequence {client}/{request}#{attempt}.{self.choice} {self.status.name.lower()} prompt={self.num_prompt} "
            f"output={self.num_output} computed={self.num_computed} blocks={len(self.block_ids)}>"
        )
