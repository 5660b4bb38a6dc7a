"""What the gateway's loop does for traces: a few stamps for each request, and one decision at its end.

A `RequestTrace` only refers to what there is anyway (visitor, tickets, headers); whether the trace is kept is decided
when the request has ended, and all that is made of it is made in the telemetry thread. A request whose trace is not
kept leaves nothing behind.
"""

from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from spillway.admission.contract import Band, Caller, Objective
from spillway.pool.contract import Ticket
from spillway.pool.journal import Entry
from spillway.pool.ticket import PoolTicket
from spillway.telemetry.tracing.contents import Contents
from spillway.telemetry.tracing.context import Headers, answer_headers, parse_baggage, read_headers
from spillway.telemetry.tracing.facts import RequestFacts
from spillway.telemetry.tracing.gathering import life_of, num_cached, reasons_of
from spillway.telemetry.tracing.sampling import Ending, Kept
from spillway.telemetry.tracing.trace import Trace
from spillway_wire.outcomes import Outcome

if TYPE_CHECKING:
    from spillway.telemetry.tracing.shared import Tracing

BLOCKED_FROM_S: Final = 0.001
"""A write that waited for less is not noted by itself."""
_MAX_BLOCKED: Final = 64
"""Waits noted by themselves; later ones lengthen the last."""


class Visited(Protocol):
    """Who asks and for what, as far as it is known at the end; a `Visitor` is one."""

    @property
    def caller(self) -> Caller:
        """The tenant."""

    @property
    def model(self) -> str:
        """Name of the served model, or ""."""

    @property
    def band(self) -> Band:
        """How important it is."""

    @property
    def objective(self) -> Objective:
        """What was promised."""


class Reasoned(Protocol):
    """Why a request ended badly; `Problem` and `Refused` are such."""

    @property
    def limit(self) -> str | None:
        """The limit that it met."""

    @property
    def measured(self) -> str | None:
        """What was measured against it."""


class TokenCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of a whole answer, as its client was told."""

    prompt_tokens: int
    output_tokens: int
    cached_tokens: int | None = None


class RequestTrace:
    """One request's stamps. Every method costs about a microsecond or less."""

    __slots__ = (
        "baggage", "began_ns", "blocked", "blocked_s", "bytes_sent", "client", "contents", "counts", "ended_ns",
        "endpoint", "entries", "first_token_ns", "kept", "message", "missed", "outcome", "parent", "predicted_ttft_s",
        "problem", "request_id", "sampled", "span_id", "status", "stream", "trace_id", "tracing", "visitor",
        "wall_offset_ns",
    )  # fmt: skip

    def __init__(
        self, tracing: "Tracing", headers: Headers, *, endpoint: str, request_id: str, began: float, client: str
    ) -> None:
        incoming = read_headers(headers)
        parent = incoming.parent
        self.tracing = tracing
        self.parent, self.baggage = parent, incoming.baggage
        self.trace_id = tracing.ids.trace_id() if parent is None else parent.trace_id
        self.span_id = tracing.ids.span_id()
        self.sampled = tracing.sampler.samples(self.trace_id, parent)
        self.wall_offset_ns = tracing.wall_offset_ns()
        self.endpoint, self.request_id, self.client = endpoint, request_id, client
        self.began_ns = int(began * 1e9)
        self.ended_ns = 0
        self.visitor: Visited | None = None
        self.predicted_ttft_s: float | None = None
        self.stream = False
        self.entries: list[Entry] = []
        self.first_token_ns: int | None = None
        self.bytes_sent = 0
        self.blocked_s = 0.0
        self.blocked: list[tuple[int, int]] = []
        self.outcome = Outcome.GATEWAY_FAILED
        self.status: int | None = None
        self.counts: TokenCounts | None = None
        self.problem: Reasoned | None = None
        self.message = ""
        self.missed = False
        self.kept: Kept | None = None
        self.contents: Contents | None = None
        """Only where the settings ask for it."""

    def answer_headers(self) -> list[tuple[bytes, bytes]]:
        """Return what the answer bears, so that its caller finds the trace."""
        return answer_headers(self.trace_id, self.span_id, sampled=self.sampled)

    @property
    def exemplar(self) -> str:
        """The trace's id, for metrics and logs; 32 hexadecimal digits."""
        return self.trace_id.hex()

    # ---- on the way ----

    def identified(self, visitor: Visited) -> None:
        """It is known who asks; what the visitor learns later is read at the end."""
        self.visitor = visitor

    def admitted(self, *, stream: bool, predicted_ttft_s: float | None = None) -> None:
        """It may be served."""
        self.stream, self.predicted_ttft_s = stream, predicted_ttft_s

    def submitted(self, ticket: Ticket) -> None:
        """One of its prompts is in the pool."""
        if isinstance(ticket, PoolTicket):
            self.entries.append(ticket.entry)
            self.tracing.open[ticket.entry.request_id] = self

    def first_token(self) -> None:
        """The gateway has a first token of it; later calls change nothing."""
        if self.first_token_ns is None:
            known = [entry.first_token_at for entry in self.entries if entry.first_token_at is not None]
            self.first_token_ns = int((min(known) if known else self.tracing.clock()) * 1e9)

    def sent(self, num_bytes: int, blocked_s: float) -> None:
        """So much was written, and the write waited so long for the client until now."""
        self.bytes_sent += num_bytes
        if blocked_s < BLOCKED_FROM_S:
            return
        self.blocked_s += blocked_s
        now_ns = int(self.tracing.clock() * 1e9)
        if len(self.blocked) < _MAX_BLOCKED:
            self.blocked.append((now_ns - int(blocked_s * 1e9), now_ns))
        else:
            self.blocked[-1] = (self.blocked[-1][0], now_ns)

    def wants_contents(self) -> bool:
        """Whether the settings ask for prompts and answers of who asks here."""
        return self.visitor is not None and self.tracing.wants_contents(self.visitor.caller.tenant.id)

    def ended(
        self,
        outcome: Outcome,
        *,
        status: int | None = None,
        counts: TokenCounts | None = None,
        problem: Reasoned | None = None,
        message: str = "",
    ) -> None:
        """It is over: decide whether the trace is kept. The last call."""
        tracing = self.tracing
        self.ended_ns = int(tracing.clock() * 1e9)
        self.outcome, self.status, self.counts = outcome, status, counts
        self.problem, self.message = problem, message
        for entry in self.entries:
            tracing.open.pop(entry.request_id, None)
        self.missed = self._missed_objective()
        ending = Ending(
            trace_id=self.trace_id,
            parent=self.parent,
            outcome=outcome,
            recovered=any(len(entry.attempts) > 1 for entry in self.entries),
            objective_missed=self.missed,
        )
        self.kept = tracing.sampler.decide(ending, self.ended_ns / 1e9)
        if self.kept is not None:
            tracing.offer(self)
        tracing.count(kept=self.kept is not None)

    def _missed_objective(self) -> bool:
        if self.visitor is None or self.first_token_ns is None or self.outcome is not Outcome.COMPLETED:
            return False
        objective = self.visitor.objective
        if self.first_token_ns - self.began_ns > objective.ttft_s * 1e9:
            return True
        later = 0 if self.counts is None else self.counts.output_tokens - 1
        # of several choices, tokens come side by side: the mean is that of one of them
        later //= max(1, sum(entry.work.num_choices for entry in self.entries))
        return later > 0 and (self.ended_ns - self.first_token_ns) / later > objective.tpot_s * 1e9

    # ---- in the telemetry thread ----

    def build(self) -> Trace:
        """Write down what is known."""
        return Trace.of_request(self.facts())

    def facts(self) -> RequestFacts:
        """Gather what is known; when it has ended, nothing of it changes any more."""
        tracing, visitor, counts = self.tracing, self.visitor, self.counts
        work = self.entries[0].work if self.entries else None
        wanted = tracing.baggage_keys and parse_baggage(self.baggage)
        return RequestFacts(
            trace_id=self.trace_id,
            span_id=self.span_id,
            parent=self.parent,
            request_id=self.request_id,
            endpoint=self.endpoint,
            life=life_of(self.entries, self.began_ns, self.ended_ns, self.blocked, tracing.books),
            wall_offset_ns=self.wall_offset_ns,
            outcome=self.outcome,
            kept_for="" if self.kept is None else self.kept.value,
            gateway=tracing.gateway,
            client=self.client,
            status=self.status,
            model=work.model if work is not None else "" if visitor is None else visitor.model,
            tenant="" if visitor is None else visitor.caller.tenant.id,
            tier="" if visitor is None else visitor.caller.tenant.tier,
            band="" if visitor is None else visitor.band.label,
            stream=self.stream,
            params=None if work is None else work.params,
            num_choices=None if work is None else work.num_choices,
            prompt_tokens=None if counts is None else counts.prompt_tokens,
            cached_tokens=num_cached(self.entries) if counts is None else counts.cached_tokens,
            output_tokens=None if counts is None else counts.output_tokens,
            finish_reasons=reasons_of(self.entries),
            limit=None if self.problem is None else self.problem.limit,
            measured=None if self.problem is None else self.problem.measured,
            message=self.message,
            predicted_ttft_s=self.predicted_ttft_s,
            ttft_objective_s=None if visitor is None else visitor.objective.ttft_s,
            tpot_objective_s=None if visitor is None else visitor.objective.tpot_s,
            objective_missed=self.missed,
            first_token_ns=self.first_token_ns,
            bytes_sent=self.bytes_sent,
            blocked_s=self.blocked_s,
            baggage={key: wanted[key] for key in tracing.baggage_keys if key in wanted} if wanted else {},
            prompt=None if self.contents is None else self.contents.prompt(),
            answer=None if self.contents is None else self.contents.answer(),
        )
