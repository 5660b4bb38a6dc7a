"""A pool without engines: it answers each request as its test says, at once or piece by piece, or fails it."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from spillway.admission.contract import Band
from spillway.admission.load.model_load import EngineLoad, ModelLoad
from spillway.admission.queue.age import QueueAge
from spillway.gateway.app import GatewayApp, build_app
from spillway.gateway.gateway import Gateway
from spillway.gateway.models import Model, Models
from spillway.pool.contract import ModelState, Piece, Refused, Work
from spillway.settings import Settings
from spillway_wire.messages import Capacity, Finish, PositionLogprobs, TokenLogprob, Usage
from spillway_wire.outcomes import FinishReason, Outcome
from spillway_wire.tally import TallyWriter

DEMO = Path(__file__).parents[2] / "engine" / "spillway_engine" / "demo" / "model"
CONTEXT = 2048
CAPACITY = Capacity(max_num_seqs=64, max_num_batched_tokens=512, max_model_len=CONTEXT, num_blocks=4096, block_size=16)
IDLE = EngineLoad(
    engine_id="engine-0", capacity=CAPACITY, sequences=0, free_blocks=4096, prefill_tokens=0, limit=64.0, pace=None
)


class FakeTicket:
    """A ticket that its test feeds."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.aborted: Outcome | None = None
        self.ended_here: list[int] = []
        """Choices of which no more was wanted before they ended."""
        self.is_over = self.is_held = False
        self.num_pushed = 0
        self._pieces: deque[Piece] = deque()
        self._refusal: Refused | None = None
        self._open = set(range(work.num_choices))
        self._news = asyncio.Event()

    def push(self, piece: Piece) -> None:
        """Let a piece come."""
        if self.is_over:
            return
        self._pieces.append(piece)
        self.num_pushed += len(piece.token_ids)
        if piece.finish is not None:
            self._open.discard(piece.choice)
            self.is_over = not self._open
        self._news.set()

    def fail(self, refused: Refused) -> None:
        """End it, after the pieces that have come."""
        if not self.is_over:
            self.is_over = True
            self._refusal = refused
            self._news.set()

    def abort(self, outcome: Outcome = Outcome.CLIENT_GONE) -> None:
        if not self.is_over:
            self.aborted = outcome
            self.fail(Refused(outcome, "aborted"))

    def end_choice(self, choice: int) -> None:
        if choice in self._open:
            self._open.discard(choice)
            self.ended_here.append(choice)

    def hold(self) -> None:
        self.is_held = True

    @property
    def num_tokens(self) -> int:
        return self.num_pushed

    @property
    def engine_ids(self) -> tuple[str, ...]:
        return ("engine-0",)

    def __aiter__(self) -> "FakeTicket":
        return self

    async def __anext__(self) -> Piece:
        while not self._pieces:
            if self._refusal is not None:
                raise self._refusal
            if self.is_over:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._pieces.popleft()


Answer = Callable[[FakeTicket], None]
"""What a submitted ticket gets at once; the test may push more later."""


class FakePool:
    """Keeps what was submitted, in order; `answer` says what each gets."""

    def __init__(self, answer: Answer, state: ModelState | None) -> None:
        self.answer = answer
        self.state = state
        self.tickets: list[FakeTicket] = []
        self.refuse: Refused | None = None
        """What the next submissions get instead of a ticket."""
        self.engine_load: EngineLoad | None = IDLE
        """What the model's engine has in hand; None: none is ready."""
        self.age = QueueAge(standing=False, allowed_wait_s=0.1, oldest_s=0.0)

    def submit(self, work: Work) -> FakeTicket:
        if self.refuse is not None:
            raise self.refuse
        ticket = FakeTicket(work)
        self.tickets.append(ticket)
        self.answer(ticket)
        return ticket

    def model_state(self, name: str) -> ModelState | None:
        return self.state if self.state is not None and self.state.name == name else None

    def load(self, name: str) -> ModelLoad | None:
        if self.model_state(name) is None:
            return None
        engines = () if self.engine_load is None else (self.engine_load,)
        return ModelLoad(engines=engines, waiting={}, resumed=0, own_running=self.num_open)

    def queue_age(self, name: str, band: Band) -> QueueAge | None:
        return None if self.model_state(name) is None else self.age

    def retry_after_s(self) -> float:
        return 7.0

    @property
    def num_open(self) -> int:
        return sum(not ticket.is_over for ticket in self.tickets)


def finish(reason: FinishReason, ticket: FakeTicket, num_tokens: int, *, cached: int = 0) -> Finish:
    usage = Usage(prompt_tokens=len(ticket.work.prompt_token_ids), cached_tokens=cached, output_tokens=num_tokens)
    return Finish(outcome=Outcome.COMPLETED, reason=reason, usage=usage)


def logprobs_of(token: int, top: int) -> PositionLogprobs:
    candidates = [TokenLogprob(token_id=token, logprob=-0.5, rank=1)]
    candidates += [TokenLogprob(token_id=10 + rank, logprob=-1.0 * rank, rank=rank) for rank in range(2, top + 1)]
    return PositionLogprobs(chosen=candidates[0], top=tuple(candidates[:top]))


def give(
    ticket: FakeTicket, tokens: Sequence[int], *, eos: int | None, choice: int = 0, sizes: Iterable[int] = ()
) -> None:
    """Give a choice all of an answer: `tokens`, cut to max_tokens, in pieces of one token or of `sizes`.

    `eos` ends the answer unless it was cut; None: it is always ended by its length.
    """
    params = ticket.work.params
    answer = [*tokens, eos] if eos is not None else list(tokens)
    cut = answer[: params.max_tokens]
    ends = FinishReason.STOP if eos is not None and cut == answer else FinishReason.LENGTH
    wanted = iter(sizes)
    place = 0
    while place < len(cut):
        size = next(wanted, 1)
        part = tuple(cut[place : place + size])
        place += size
        last = place >= len(cut)
        ticket.push(
            Piece(
                choice,
                part,
                () if params.logprobs is None else tuple(logprobs_of(token, params.logprobs) for token in part),
                finish=finish(ends, ticket, len(cut), cached=1) if last else None,
            )
        )


def saying(text: str, model: Model) -> Answer:
    """Return an answer that says `text` in every choice."""
    tokens = model.text.encode(text, add_special_tokens=False)
    eos = model.text.eos_token_ids[0]

    def answer(ticket: FakeTicket) -> None:
        for choice in range(ticket.work.num_choices):
            give(ticket, tokens, eos=eos, choice=choice)

    return answer


def silent(ticket: FakeTicket) -> None:
    """Answer nothing yet."""


class House:
    """A gateway with the demo model's text and a fake pool."""

    def __init__(self, says: str = "2 3 4 5", settings: Settings | None = None) -> None:
        self.model = Model.load("demo", DEMO, aliases=("default",))
        self.events: list[tuple[str, dict[str, object]]] = []
        state = ModelState(
            name="demo", num_ready=1, num_engines=1, max_model_len=CONTEXT, vocab_size=3072, exactness="exact"
        )
        self.pool = FakePool(saying(says, self.model), state)
        self.tally = TallyWriter()
        self.gateway = Gateway(
            settings or Settings(),
            Models((self.model,)),
            self.pool,
            self.tally,
            lambda event, **fields: self.events.append((event, fields)),
            log_requests=True,
        )
        self.app: GatewayApp = build_app(self.gateway)
