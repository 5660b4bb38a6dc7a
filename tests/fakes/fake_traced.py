"""Requests that go through the pool's journal, with engines that die, for what traces them."""

from dataclasses import dataclass, field
from typing import Any

from spillway.admission.contract import Band, Caller, Objective, Tenant
from spillway.pool.contract import Refused, Work
from spillway.pool.journal import Entry, Journal
from spillway.pool.lifecycle import Event
from spillway.pool.ticket import PoolTicket
from spillway.telemetry.tracing.recorder import RequestTrace, TokenCounts
from spillway.telemetry.tracing.sampling import Sampler
from spillway.telemetry.tracing.shared import Buildable, Tracing
from spillway_wire.messages import Delta, Finish, Load, Moment, MomentKind, StepOutput, Usage
from spillway_wire.outcomes import FinishReason, Outcome
from spillway_wire.sampling import SamplingParams

DIED = "exit by signal 9"


@dataclass
class FakeVisitor:
    """Who asks."""

    caller: Caller = field(default_factory=lambda: Caller(tenant=Tenant(id="acme", tier="gold"), key_id="key:1"))
    model: str = "demo"
    band: Band = Band.DEFAULT
    objective: Objective = field(default_factory=lambda: Objective(ttft_s=2.0, tpot_s=0.5))


class World:
    """One gateway's journal and tracing, over clocks that go when told; `wall_ns` may go back."""

    def __init__(self, *, ratio: float = 1.0, **options: Any) -> None:
        self.now = 100.0
        self.wall_ns = 1_700_000_000_000_000_000
        self.offered: list[Buildable] = []
        self.journal = Journal()
        self.steps: dict[str, int] = {}
        self.tracing = Tracing(
            self.offered.append,
            sampler=Sampler(ratio),
            gateway="gateway-0",
            clock=lambda: self.now,
            clock_ns=lambda: int(self.now * 1e9),
            wall_ns=lambda: self.wall_ns,
            **options,
        )

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.wall_ns += int(seconds * 1e9)

    def begin(self, request_id: str, *headers: tuple[bytes, bytes]) -> RequestTrace:
        return self.tracing.begin(headers, endpoint="chat", request_id=request_id, began=self.now)

    def submit(self, trace: RequestTrace, **changes: Any) -> Entry:
        """Admit it and put it into the journal."""
        trace.identified(FakeVisitor())
        self.wait(0.002)
        trace.admitted(stream=True, predicted_ttft_s=0.1)
        about: dict[str, Any] = {"model": "demo", "prompt_token_ids": [1, 2, 3], "params": SamplingParams()} | changes
        entry = self.journal.open(Work(request_id=trace.request_id, **about), self.now, ())
        trace.submitted(PoolTicket(entry, lambda *_: None, lambda *_: None))
        return entry

    def dispatch(self, entry: Entry, engine_id: str, incarnation: int = 1) -> None:
        self.wait(0.001)
        entry.begin_attempt(engine_id, incarnation, self.now)

    def token(self, entry: Entry, *, first: bool = False, last: bool = False) -> None:
        """One step that gives the request its next token."""
        attempt = entry.attempts[-1]
        began_ns = int(self.now * 1e9)
        self.wait(0.005)
        now_ns = int(self.now * 1e9)
        kinds: list[Moment] = []
        if first:
            kinds += [Moment(kind=kind, at_ns=began_ns) for kind in (MomentKind.QUEUED, MomentKind.SCHEDULED)]
            kinds += [Moment(kind=MomentKind.PREFILL_CHUNK, at_ns=began_ns, value=3)]
            kinds += [Moment(kind=MomentKind.FIRST_TOKEN, at_ns=now_ns)]
        position = entry.num_tokens
        finish = None
        if last:
            kinds.append(Moment(kind=MomentKind.LAST_TOKEN, at_ns=now_ns))
            usage = Usage(prompt_tokens=3, cached_tokens=0, output_tokens=position + 1)
            finish = Finish(outcome=Outcome.COMPLETED, reason=FinishReason.STOP, usage=usage)
        delta = Delta(
            request_id=entry.request_id,
            attempt=attempt.number,
            choice=0,
            position=position,
            token_ids=(7,),
            moments=tuple(kinds),
            finish=finish,
        )
        step = self.steps[attempt.engine_id] = self.steps.get(attempt.engine_id, 0) + 1
        output = StepOutput(
            sequence=step,
            step=step,
            started_ns=began_ns,
            ended_ns=now_ns,
            load=Load(running=1, waiting=0, free_blocks=1, waiting_prefill_tokens=0),
            deltas=(delta,),
            decode_rows=0 if first else 1,
            prefill_tokens=3 if first else 0,
        )
        self.tracing.note_step(attempt.engine_id, attempt.incarnation, output)
        entry.accept(delta)

    def die(self, entry: Entry) -> None:
        self.wait(0.003)
        entry.follow_event(Event.LOSE_ENGINE)
        entry.end_attempt(DIED, self.now)

    def end(self, trace: RequestTrace, entry: Entry | None, refusal: Refused | None = None) -> None:
        """End it, in the journal and for its trace."""
        outcome = Outcome.COMPLETED if refusal is None else refusal.outcome
        tokens = 0
        if entry is not None:
            self.journal.close(entry, self.now, str(outcome))
            tokens = entry.num_tokens
        self.wait(0.001)
        counts = TokenCounts(prompt_tokens=3, output_tokens=tokens, cached_tokens=0)
        trace.ended(
            outcome, status=200, counts=counts, problem=refusal, message="" if refusal is None else str(refusal)
        )

    def complete(self, request_id: str, *, deaths: int = 0, tokens: int = 3) -> RequestTrace:
        """A whole request, whose first engines die."""
        trace = self.begin(request_id)
        entry = self.submit(trace)
        for number in range(deaths + 1):
            self.dispatch(entry, f"engine-{number}")
            self.token(entry, first=True)
            trace.first_token()
            for left in range(tokens - 1, 0, -1):
                self.token(entry, last=number == deaths and left == 1)
                trace.sent(100, 0.0)
            if number < deaths:
                self.die(entry)
        self.end(trace, entry)
        return trace
