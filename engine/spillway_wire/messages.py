"""What an engine and its clients say to each other: one struct per fact, grouped by channel and direction.

A client opens three channels to an engine's address, so that a flood on one cannot delay another, and says
`Hello` first on each::

    client ── Submit, Abort, Backlog ────────────────────────────────▶ engine     request channel
    client ◀─ StepOutput, Rejected, Credit ─────────────────────────── engine     output channel
    client ── Drain, Stop, Inject, SnapshotRequest ──────────────────▶ engine     control channel
    client ◀─ Ready, Beat, SnapshotReply, Injected, LastWords ──────── engine

All times are nanoseconds of the engine's CLOCK_MONOTONIC. Structs are MessagePack arrays: fields are only ever added
at the end, with a default, and a change that an old reader would misread raises `PROTOCOL_VERSION`.
"""

from enum import IntEnum, StrEnum
from typing import Any

import msgspec

from spillway_wire.outcomes import FinishReason, Outcome
from spillway_wire.sampling import SamplingParams

PROTOCOL_VERSION = 2
STANDING_CREDITS = 8
"""What a client may always hold unspent, so that a request to an idle engine does not wait for a grant first."""


class _Message(msgspec.Struct, frozen=True, array_like=True, tag=True, kw_only=True):
    """Base of everything that travels in a frame of its own."""


class _Part(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Base of everything that travels inside a message."""


# ---- every channel, first ----


class Channel(StrEnum):
    """Which of the three channels a connection is."""

    REQUEST = "request"
    OUTPUT = "output"
    CONTROL = "control"


class Hello(_Message, frozen=True, kw_only=True):
    """The first frame of a client on every channel."""

    client_id: str
    channel: Channel
    protocol_version: int = PROTOCOL_VERSION


class Exactness(StrEnum):
    """What warm-up measured: whether a request's tokens depend on what else is in the batch."""

    EXACT = "exact"
    """Logits were equal bit for bit, alone and batched, whole and chunked."""
    LOGICAL = "logical"
    """Logits differed in their last bits; tokens can differ where two candidates are nearly equal."""


class Capacity(_Part, frozen=True, kw_only=True):
    """What an engine can hold. Sizes in tokens unless said otherwise."""

    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int
    num_blocks: int
    block_size: int


class Welcome(_Message, frozen=True, kw_only=True):
    """The engine's answer to `Hello`, on the same channel."""

    engine_id: str
    incarnation: int
    model: str
    vocab_size: int
    eos_token_ids: tuple[int, ...]
    exactness: Exactness
    capacity: Capacity
    engine_version: str
    protocol_version: int = PROTOCOL_VERSION


class Goodbye(_Message, frozen=True, kw_only=True):
    """The engine closes this connection after this frame, and says why (wrong version, unread output, shutdown)."""

    reason: str


# ---- request channel, to the engine ----


class Choice(_Part, frozen=True, kw_only=True):
    """One of a request's answers, with what an earlier attempt has already produced of it."""

    index: int = 0
    output_token_ids: tuple[int, ...] = ()


class Submit(_Message, frozen=True, kw_only=True):
    """Serve this request. A continuation after a crash is the same message with the outputs so far in `choices`."""

    request_id: str
    attempt: int = 1
    prompt_token_ids: list[int]
    params: SamplingParams = SamplingParams()
    choices: tuple[Choice, ...] = (Choice(),)
    priority: int = 0
    """Lower is more important."""
    timeout_s: float | None = None
    """Seconds from receipt; a request that is still waiting then ends as `expired`. None: no deadline."""
    alone: bool = False
    """Run with nothing else in the batch: for a request that was aboard two crashes."""
    cache_salt: str = ""
    """Prefixes are shared only between requests of the same salt."""


class Abort(_Message, frozen=True, kw_only=True):
    """Forget this attempt and free its blocks within one step. Unknown ones are ignored: it may have just finished."""

    request_id: str
    attempt: int = 1
    choice: int | None = None
    """Only this one, of which its client has all it wants; None: the whole attempt."""


class Backlog(_Message, frozen=True, kw_only=True):
    """How many requests this client would send now if it could; the engine grants credits in proportion.

    It is as of its place in the stream: each first attempt sent after it takes one from `waiting`. A client that never
    sends one does not ask for credits, and may do without: they are an agreement between those who share an engine.
    """

    waiting: int
    returned: int = 0
    """Credits that this client gives back unspent, all since its output channel opened."""


# ---- output channel, from the engine ----


class MomentKind(IntEnum):
    """A request's transitions inside an engine, for the span tree that the gateway builds."""

    QUEUED = 0
    SCHEDULED = 1
    """Given blocks; `value` is the number of prompt tokens found in the prefix cache."""
    PREFILL_CHUNK = 2
    """A prefill chunk's step began; `value` is its tokens."""
    FIRST_TOKEN = 3
    PREEMPTED = 4
    RESUMED = 5
    LAST_TOKEN = 6


class Moment(_Part, frozen=True, kw_only=True):
    """One transition and when it happened."""

    kind: MomentKind
    at_ns: int
    value: int = 0


class TokenLogprob(_Part, frozen=True, kw_only=True):
    """A token with the natural logarithm of its probability under the model's unmodified distribution."""

    token_id: int
    logprob: float
    rank: int
    """1 is the most likely token."""


class PositionLogprobs(_Part, frozen=True, kw_only=True):
    """The chosen token of one position and the most likely ones, best first."""

    chosen: TokenLogprob
    top: tuple[TokenLogprob, ...] = ()


class Usage(_Part, frozen=True, kw_only=True):
    """Token counts of one choice. `output_tokens` counts those of earlier attempts too."""

    prompt_tokens: int
    cached_tokens: int
    output_tokens: int


class Finish(_Part, frozen=True, kw_only=True):
    """The end of a choice: exactly one per choice, the last thing said of it."""

    outcome: Outcome
    reason: FinishReason | None
    """Set if and only if the outcome is `completed`."""
    usage: Usage
    message: str = ""


class Delta(_Part, frozen=True, kw_only=True):
    """What one step added to one choice."""

    request_id: str
    attempt: int
    choice: int
    position: int
    """Output position of the first of `token_ids`; receivers drop what they have and refuse a gap."""
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[PositionLogprobs, ...] = ()
    prompt_logprobs: tuple[PositionLogprobs, ...] = ()
    """Of prompt positions 1, 2, …; sent once, with or before the first token."""
    moments: tuple[Moment, ...] = ()
    finish: Finish | None = None


class Load(_Part, frozen=True, kw_only=True):
    """An engine's exact state after a step, pushed so that nobody has to scrape it."""

    running: int
    waiting: int
    free_blocks: int
    waiting_prefill_tokens: int
    """Prompt tokens that waiting and running requests have still to compute."""


class StepOutput(_Message, frozen=True, kw_only=True):
    """All that one step produced for one client."""

    sequence: int
    """Counts this client's output frames from 1; a gap means that a frame was lost."""
    step: int
    started_ns: int
    ended_ns: int
    load: Load
    deltas: tuple[Delta, ...]
    """Empty for a client whose requests got nothing: every client hears of the load after every step."""
    received: int = 0
    """How many `Submit`s of this client, since its output channel opened, had arrived when `load` was taken."""
    prefill_tokens: int = 0
    """Prompt tokens that the step computed, of all clients: with `decode_rows`, what its duration went into."""
    decode_rows: int = 0
    """Sequences that the step gave their next token, of all clients. Both are 0 if nothing was computed."""


class Rejected(_Message, frozen=True, kw_only=True):
    """A `Submit` that this engine will not serve. Counts as an output frame."""

    sequence: int
    request_id: str
    attempt: int
    outcome: Outcome
    message: str


class Credit(_Message, frozen=True, kw_only=True):
    """How many first attempts this client may have sent in all since its output channel opened.

    A running total, so that a lost or repeated one does no harm, and therefore without a sequence number; beats repeat
    it. It comes on the output channel because what frees a place is in the frame before it, and one wake-up serves
    both. Later attempts need no credit: they were granted once, and go before fresh work.
    """

    total: int


# ---- control channel, to the engine ----


class Drain(_Message, frozen=True, kw_only=True):
    """Take nothing new, finish what is known, then exit with status 0."""


class Stop(_Message, frozen=True, kw_only=True):
    """End what is running with an error and exit with status 0 at the next step's end."""


class Inject(_Message, frozen=True, kw_only=True):
    """Arm a fault; only an engine started with `--chaos` obeys."""

    fault: str
    at_step: int | None = None
    """The step to strike at, None: the next one."""
    value: float = 0.0
    """What it means is the fault's affair: seconds for slow steps, a share of blocks for KV exhaustion."""
    num_steps: int = 1


class SnapshotRequest(_Message, frozen=True, kw_only=True):
    """Ask for the engine's frozen description of itself."""

    token: int = 0


# ---- control channel, from the engine ----


class Ready(_Message, frozen=True, kw_only=True):
    """Sent once to every control connection: the engine can take work now."""

    incarnation: int
    warmup_s: float


class Beat(_Message, frozen=True, kw_only=True):
    """Repeats the last output sequence number of this client, so that a lost last frame is noticed."""

    step: int
    output_sequence: int
    at_ns: int
    load: Load | None = None
    """Also that of an idle engine, which sends no step."""
    received: int = 0
    """As in `StepOutput`."""
    credit: int = 0
    """As in `Credit`."""


class SnapshotReply(_Message, frozen=True, kw_only=True):
    """Counters and state; keys are stable names, values plain numbers, strings, lists and maps."""

    token: int
    snapshot: dict[str, Any]


class Injected(_Message, frozen=True, kw_only=True):
    """Whether a fault was armed, and if not, why."""

    fault: str
    armed: bool
    message: str = ""


class LastWords(_Message, frozen=True, kw_only=True):
    """Why the engine is about to exit on its own account."""

    cause: str
    """`exception`, `out_of_memory`, `device`, `stopped` or `drained`."""
    message: str
    traceback: str = ""


ToEngine = Hello | Submit | Abort | Backlog | Drain | Stop | Inject | SnapshotRequest
FromEngine = Welcome | Goodbye | StepOutput | Rejected | Credit | Ready | Beat | SnapshotReply | Injected | LastWords
