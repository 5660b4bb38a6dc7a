"""The in-flight journal: everything it takes to go on with a request elsewhere. It is the truth.

A token is in the journal before anybody is handed it, and tokens are only ever appended; so what a client has seen is
a prefix of what the journal holds, and a continuation starts where the journal ends::

    choice 0    t t t t t t t t t t
                ├ num_read ┤ unread ┤      the next attempt goes on here ──▶

What fences late news is (request, attempt) together with the connection it came on: a frame that is not of the current
attempt, on the connection it was sent on, changes nothing.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from spillway.pool.contract import Refused, Work
from spillway.pool.lifecycle import Event, State, follow
from spillway_wire.continuity import Gap, fresh_part
from spillway_wire.messages import Choice, Delta, Finish, Moment, MomentKind, PositionLogprobs, Submit, Usage
from spillway_wire.outcomes import FinishReason, Outcome

MAX_TIMEOUT_S = 1e6
"""The longest that an engine accepts."""
MAX_MOMENTS = 256
"""Kept for each attempt; a request that is preempted for ever must not fill the memory."""


class JournalError(Exception):
    """The books do not add up, or were used wrongly: a fault of ours."""


class ChoiceRecord:
    """One answer so far, over all attempts."""

    __slots__ = (
        "cached_tokens", "finish", "index", "logprobs", "num_read", "prompt_logprobs",
        "prompt_logprobs_seen", "token_ids",
    )  # fmt: skip

    def __init__(self, index: int) -> None:
        self.index = index
        self.token_ids: list[int] = []
        """From output position 0; append-only."""
        self.num_read = 0
        """How many of them were handed out."""
        self.logprobs: list[PositionLogprobs] = []
        """Of unread tokens; handed out once."""
        self.prompt_logprobs: tuple[PositionLogprobs, ...] = ()
        """Unread."""
        self.prompt_logprobs_seen = False
        """They come once; a later attempt may bring them again."""
        self.cached_tokens: int | None = None
        """Prompt tokens that the first attempt found in the prefix cache."""
        self.finish: Finish | None = None


@dataclass(slots=True)
class Attempt:
    """One try on one engine; kept for the trace."""

    number: int
    engine_id: str
    incarnation: int
    started: float
    """Seconds of the pool's clock."""
    ended: float | None = None
    end: str = ""
    """Why it ended: an outcome, or what happened to the engine."""
    moments: list[tuple[int, Moment]] = field(default_factory=list)
    """(choice, moment) as they came; times are of the engine's clock."""


class Entry:
    """One request in flight. Whoever changes its state does so through `follow_event`."""

    __slots__ = (
        "alone", "arrival", "attempts", "choices", "first_token_at", "held", "lost_at", "news", "num_open",
        "num_tokens", "place", "prefix", "queued_at", "refusal", "state", "strikes", "struck_at", "wake", "work",
    )  # fmt: skip

    def __init__(self, work: Work, arrival: int, now: float, prefix: tuple[int, ...]) -> None:
        self.work = work
        self.arrival = arrival
        self.queued_at = now
        self.prefix = prefix
        """Hashes of the prompt's blocks, for affinity."""
        self.state = State.QUEUED
        self.choices = [ChoiceRecord(index) for index in range(work.num_choices)]
        self.num_open = work.num_choices
        """Choices without a finish."""
        self.num_tokens = 0
        """Output tokens of all choices, over all attempts."""
        self.first_token_at: float | None = None
        """When the first of them came."""
        self.held = False
        """Whether its reader is not to be woken before its end."""
        self.attempts: list[Attempt] = []
        self.refusal: Refused | None = None
        """How it ended, if it did not complete."""
        self.strikes = 0
        """Crashes aboard with no new token between (see `suspects`)."""
        self.struck_at = -1
        """How many tokens it had at the last of them."""
        self.alone = False
        """Whether it has to run alone."""
        self.place: object | None = None
        """The connection to the engine that works on it."""
        self.lost_at: float | None = None
        """When its engine was lost, until it is sent to another."""
        self.news: dict[int, None] = {}
        """Choices that hold something unread, in the order in which it came."""
        self.wake: Callable[[], None] = _nothing
        """Called when there is something to read, or the end."""

    @property
    def request_id(self) -> str:
        """The work's."""
        return self.work.request_id

    @property
    def attempt(self) -> int:
        """Number of the current attempt; 0 before the first."""
        return len(self.attempts)

    @property
    def is_over(self) -> bool:
        """Whether it has ended, one way or another."""
        return self.state is State.FINISHED

    def follow_event(self, event: Event) -> None:
        """Change the state, or raise `IllegalTransitionError` and change nothing."""
        self.state = follow(self.state, event)

    def begin_attempt(self, engine_id: str, incarnation: int, now: float) -> int:
        """Open the next attempt's record; return its number."""
        self.follow_event(Event.DISPATCH)
        self.attempts.append(Attempt(self.attempt + 1, engine_id, incarnation, now))
        return self.attempt

    def end_attempt(self, end: str, now: float) -> None:
        """Close the current attempt's record, if there is one that is open."""
        if self.attempts and self.attempts[-1].ended is None:
            self.attempts[-1].ended, self.attempts[-1].end = now, end

    def message(self, now: float) -> Submit:
        """Return what to send for the current attempt: the work, and the outputs so far of choices without an end."""
        work = self.work
        return Submit(
            request_id=work.request_id,
            attempt=self.attempt,
            prompt_token_ids=work.prompt_token_ids,
            params=work.params,
            choices=tuple(
                Choice(index=choice.index, output_token_ids=tuple(choice.token_ids))
                for choice in self.choices
                if choice.finish is None
            ),
            priority=work.priority,
            timeout_s=None if work.deadline is None else min(MAX_TIMEOUT_S, max(0.0, work.deadline - now)),
            alone=self.alone,
            cache_salt=work.cache_salt,
        )

    # ---- what arrives ----

    def accept(self, delta: Delta) -> Gap | None:
        """Write down what is new in a delta of the current attempt; a gap is returned and changes nothing."""
        if not 0 <= delta.choice < len(self.choices):
            return None
        choice = self.choices[delta.choice]
        if choice.finish is not None:
            return None
        known = len(choice.token_ids)
        if delta.position != known:
            part = fresh_part(delta, known)
            if isinstance(part, Gap):
                return part
            delta = part
        choice.token_ids.extend(delta.token_ids)
        self.num_tokens += len(delta.token_ids)
        if delta.logprobs:
            choice.logprobs.extend(delta.logprobs)
        if delta.prompt_logprobs and not choice.prompt_logprobs_seen:
            choice.prompt_logprobs = delta.prompt_logprobs
            choice.prompt_logprobs_seen = True
        if delta.moments:
            self._keep_moments(choice, delta.moments)
        if delta.finish is not None:
            self.end_choice(choice, delta.finish)
        elif delta.token_ids:
            self.news[choice.index] = None
        return None

    def end_choice(self, choice: ChoiceRecord, finish: Finish) -> None:
        """Write down the end of a choice, with the usage that its client is told: the first attempt's cache hit."""
        if choice.cached_tokens is not None and choice.cached_tokens != finish.usage.cached_tokens:
            usage = msgspec.structs.replace(finish.usage, cached_tokens=choice.cached_tokens)
            finish = msgspec.structs.replace(finish, usage=usage)
        choice.finish = finish
        self.num_open -= 1
        self.news[choice.index] = None

    def leave_choice(self, choice: ChoiceRecord) -> None:
        """Write down the end of a choice by its client's wish; its reader needs not be told."""
        usage = Usage(
            prompt_tokens=len(self.work.prompt_token_ids),
            cached_tokens=choice.cached_tokens or 0,
            output_tokens=len(choice.token_ids),
        )
        self.end_choice(choice, Finish(outcome=Outcome.COMPLETED, reason=FinishReason.STOP, usage=usage))
        del self.news[choice.index]

    def _keep_moments(self, choice: ChoiceRecord, moments: Iterable[Moment]) -> None:
        kept = self.attempts[-1].moments
        for moment in moments:
            if moment.kind is MomentKind.SCHEDULED and choice.cached_tokens is None:
                choice.cached_tokens = moment.value
            if len(kept) < MAX_MOMENTS:
                kept.append((choice.index, moment))

    def close(self) -> None:
        """Tell the reader that this is the end; nothing more comes."""
        self.wake()
        self.wake = _nothing

    def __repr__(self) -> str:
        tokens = "+".join(str(len(choice.token_ids)) for choice in self.choices)
        return f"<Entry {self.request_id}#{self.attempt} {self.state.name.lower()} tokens={tokens}>"


def _nothing() -> None:
    """Nobody waits for news yet."""


class Journal:
    """All requests in flight, by id."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._arrivals = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def get(self, request_id: str) -> Entry | None:
        """Return a request in flight, None if there is none of this id."""
        return self._entries.get(request_id)

    def open(self, work: Work, now: float, prefix: tuple[int, ...]) -> Entry:
        """Write down a new request. Raises `JournalError` if one of its id is in flight."""
        if work.request_id in self._entries:
            raise JournalError(f"request {work.request_id!r} is in flight already; each needs an id of its own")
        if work.num_choices < 1:
            raise JournalError(f"request {work.request_id!r} asks for {work.num_choices} choices; ask for at least one")
        self._arrivals += 1
        entry = Entry(work, self._arrivals, now, prefix)
        self._entries[work.request_id] = entry
        return entry

    def close(self, entry: Entry, now: float, end: str) -> None:
        """Take out a request that ends. Raises `IllegalTransitionError` if it has ended already."""
        entry.follow_event(Event.FINISH)
        entry.end_attempt(end, now)
        del self._entries[entry.request_id]
