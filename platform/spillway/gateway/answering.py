"""One answer in the making: tickets are read, tokens become text, and the endpoint's form makes it an answer."""

from collections.abc import Callable, Sequence
from typing import Final

from spillway.admission.visitor import Visitor
from spillway.gateway.choices import ChoiceText, Part, TokenEntry
from spillway.gateway.gateway import Gateway
from spillway.gateway.interrupt import Interruptible
from spillway.gateway.plan import Form, Plan, Usage
from spillway.gateway.problems import Headers
from spillway.gateway.reply import JSON, Reply
from spillway.gateway.sampling import stops_of
from spillway.gateway.stream import EventStream
from spillway.gateway.tickets import Tickets
from spillway.pool.contract import Piece, Refused, Ticket, Work
from spillway.telemetry.tracing.recorder import RequestTrace
from spillway_text.stop import StopAutomaton
from spillway_wire.outcomes import Outcome
from spillway_wire.tally import OUTPUT_TOKENS, PROMPT_TOKENS

_TOKENS_BEFORE: Final = 8
"""Of a prompt that an answer goes on from: enough for a character that is spread over several tokens."""


class Answer:
    """One answer: its work, its tickets once submitted, and its choices as text."""

    def __init__(
        self,
        gateway: Gateway,
        plan: Plan,
        works: Sequence[Work],
        *,
        form: Form,
        exactness: str | None,
        visitor: Visitor,
        trace: RequestTrace,
        interruptible: Interruptible,
    ) -> None:
        self._gateway = gateway
        self._interruptible = interruptible
        self._visitor = visitor
        self._trace = trace
        self._works = works
        self._form = form
        self._headers: Headers = [] if exactness is None else [(b"x-spillway-exactness", exactness.encode())]
        self._per_prompt = works[0].num_choices
        stops = stops_of(plan.request)
        automaton = StopAutomaton(stops) if stops else None
        self._may_hold = automaton is None
        """Whether nothing of the answer has to be looked at before its end."""
        self._choices = [
            ChoiceText(
                plan.model,
                index,
                stops=automaton,
                logprobs=plan.logprobs is not None,
                after=work.prompt_token_ids[-_TOKENS_BEFORE:] if plan.continues else (),
            )
            for index, work in enumerate(work for work in works for _ in range(self._per_prompt))
        ]
        self._num_open = [self._per_prompt] * len(works)
        """Choices of each prompt that have not ended."""
        self._is_submitted = False

    async def whole(self, reply: Reply) -> None:
        """Generate everything, then send it."""
        choices = self._choices
        texts: list[list[str]] = [[] for _ in choices]
        entries: list[list[TokenEntry]] = [[] for _ in choices]
        try:
            async with self._submit() as tickets:
                if self._may_hold:
                    tickets.hold()
                    self._visitor.count_output = lambda: tickets.num_tokens
                async for piece in tickets:
                    self._took(piece)
                    part = choices[piece.choice].accept(piece)
                    texts[piece.choice].append(part.text)
                    self._note(piece.choice, part)
                    entries[piece.choice] += part.entries
                    if part.reason is not None and self._is_last(piece.choice, tickets):
                        break
        finally:
            self._count()
        parts = [Part("".join(text), entry) for text, entry in zip(texts, entries, strict=True)]
        answer = self._form.whole(choices, parts, self._usage())
        await reply.whole(200, [JSON, *self._headers], answer)

    async def stream(self, reply: Reply, *, on_begin: Callable[[], None]) -> None:
        """Send as it is generated. `on_begin` is called when the answer begins."""
        reply.is_stream = True
        try:
            async with (
                self._submit() as tickets,
                EventStream(
                    reply,
                    self._headers,
                    self._gateway.settings.limits,
                    clock=self._gateway.clock,
                    interrupt=self._interruptible.interrupt,
                    on_begin=on_begin,
                    on_sent=self._trace.sent,
                ) as events,
            ):
                await self._write_events(tickets, events)
        finally:
            self._count()

    async def _write_events(self, tickets: Tickets, events: EventStream) -> None:
        form, choices = self._form, self._choices
        opened: set[int] = set()
        async for piece in tickets:
            index = piece.choice
            choice = choices[index]
            self._took(piece)
            part = choice.accept(piece)
            self._note(index, part)
            said = b""
            if index not in opened:
                opened.add(index)
                said = form.opening(choice)
            if part.text or part.entries:
                said += form.delta(index, part)
            if part.reason is not None:
                said += form.ending(choice)
                if self._is_last(index, tickets):
                    await events.write(said + form.closing(self._usage()), last=True)
                    return
            if said:
                await events.write(said)

    def _took(self, piece: Piece) -> None:
        """Count what came."""
        if piece.token_ids:
            self._visitor.output_tokens += len(piece.token_ids)
            self._trace.first_token()

    def _note(self, index: int, part: Part) -> None:
        """Keep what is said, where the settings ask for it."""
        if self._trace.contents is not None:
            self._trace.contents.say(index, part.text)

    def _submit(self) -> Tickets:
        tickets: list[Ticket] = []
        try:
            for work in self._works:
                ticket = self._gateway.pool.submit(work)
                tickets.append(ticket)
                self._trace.submitted(ticket)
        except BaseException as error:
            outcome = error.outcome if isinstance(error, Refused) else Outcome.INTERNAL
            for ticket in tickets:
                ticket.abort(outcome)
            raise
        self._is_submitted = True
        return Tickets(tickets, self._per_prompt, self._why)

    def _why(self) -> Outcome:
        """Return what to tell the engines of a request that ends before its time."""
        problem = self._interruptible.problem
        return Outcome.INTERNAL if problem is None else problem.outcome

    def _is_last(self, index: int, tickets: Tickets) -> bool:
        """Book the end of a choice, leave a prompt whose choices all ended, and tell whether it was the last of all."""
        prompt = index // self._per_prompt
        self._num_open[prompt] -= 1
        if self._num_open[prompt] == 0:
            tickets.leave(prompt)
        else:
            tickets.end_choice(index)  # a stop string ends it here alone
        return not any(self._num_open)

    def _usage(self) -> Usage:
        cached: int | None = 0
        for first in range(0, len(self._choices), self._per_prompt):
            # choices share their prompt: what the first to come computed the others found in the cache
            counts = [choice.cached_tokens for choice in self._choices[first : first + self._per_prompt]]
            known = [count for count in counts if count is not None]
            cached = None if cached is None or len(known) < len(counts) else cached + min(known)
        return Usage(
            prompt_tokens=sum(len(work.prompt_token_ids) for work in self._works),
            completion_tokens=sum(len(choice.token_ids) for choice in self._choices),
            cached_tokens=cached,
        )

    def _count(self) -> None:
        if not self._is_submitted:
            return  # nobody has computed anything for what was refused
        tally, usage = self._gateway.tally, self._usage()
        if self._trace.contents is not None:
            self._trace.contents.reasons = tuple(choice.reason and choice.reason.value for choice in self._choices)
        self._visitor.cached_tokens = usage.cached_tokens
        # what a stop string cut off was counted when it came, and its client is not told of it
        self._visitor.output_tokens = usage.completion_tokens
        tally.add(PROMPT_TOKENS, usage.prompt_tokens)
        tally.add(OUTPUT_TOKENS, usage.completion_tokens)
