"""Sends what waits to the engines: continuations, then one that must run alone, then fresh work while credits last."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from spillway.pool import refusals
from spillway.pool.contract import Refused
from spillway.pool.journal import Entry
from spillway.pool.members import EngineConnection, Roster
from spillway.pool.policies import PoolPolicies
from spillway.pool.queue import DrainRate, Line, WaitingQueue
from spillway.pool.router import Candidate, Need, choose
from spillway.pool.wires import Wires
from spillway_wire.codec import FrameTooLargeError
from spillway_wire.messages import Backlog
from spillway_wire.outcomes import Outcome


@dataclass(frozen=True, slots=True)
class Recovered:
    """A request goes on after the loss of its engine."""

    request_id: str
    from_engine: str
    to_engine: str
    attempt: int
    alone: bool
    paused_s: float
    """From the loss to the dispatch; the pause that its client sees is longer by the prefill."""


class Dispatcher:
    """`finish` ends a request, `link_failed` a connection; both may come back here before they return."""

    def __init__(
        self,
        wires: Wires,
        roster: Roster,
        queue: WaitingQueue,
        *,
        policies: PoolPolicies,
        clock: Callable[[], float],
        on_recovery: Callable[[Recovered], None],
        finish: Callable[[Entry, Refused], None],
        link_failed: Callable[[EngineConnection], None],
    ) -> None:
        self._wires, self._roster, self._queue, self._clock = wires, roster, queue, clock
        self._on_recovery, self._finish, self._link_failed = on_recovery, finish, link_failed
        self.drain_rate = DrainRate(policies.drain_window_s, policies.retry_after_s)
        self.alone: Entry | None = None
        """The one request that runs alone now."""
        self.num_recoveries = 0
        self._num_choices_made = 0
        self.stopped = False

    def dispatch(self, model: str) -> None:
        """Send what can be sent for `model`."""
        lane = self._queue.lane(model)
        if self.stopped or not len(lane):
            return
        self._drain_line(lane.resumed, model)
        if self.alone is None and (first := lane.alone.first()) is not None:
            self._place(first, model)
        self._drain_line(lane.fresh, model)
        if len(lane.fresh):
            self._wires.soon()

    def free_alone(self, entry: Entry) -> None:
        """Let the next one run alone if `entry` was the one that did."""
        if self.alone is entry:
            self.alone = None
            for model in self._queue.models:
                self.dispatch(model)

    def _drain_line(self, line: Line, model: str) -> None:
        while (first := line.first()) is not None and self._place(first, model):
            pass

    def _place(self, entry: Entry, model: str) -> bool:
        """Send `entry` to the best engine; False if there is none. One whose deadline has passed ends here."""
        now = self._clock()
        if entry.work.deadline is not None and entry.work.deadline <= now:
            self._finish(entry, self.expired(now))
            return True
        num_tokens = len(entry.work.prompt_token_ids)
        if entry.attempt:
            num_tokens += max(len(choice.token_ids) for choice in entry.choices)
        need = Need(num_tokens=num_tokens, num_sequences=entry.num_open, fresh=entry.attempt == 0)
        connections: dict[str, EngineConnection] = {}
        candidates: list[Candidate] = []
        for view in self._roster.of(model):
            connection = view.connection
            if connection is None or not view.routable or (need.fresh and connection.book.credits <= 0):
                continue
            connections[view.member.engine_id] = connection
            candidates.append(
                Candidate(
                    engine_id=view.member.engine_id,
                    credits=connection.book.credits,
                    capacity=connection.book.capacity,
                    estimate=connection.book.estimate(),
                    matched_tokens=view.memory.match(entry.prefix),
                    last_chosen=view.last_chosen,
                )
            )
        choice = choose(candidates, need)
        if choice is None:
            return False
        self._send_to(entry, connections[choice.engine_id], need, choice.matched_tokens)
        return True

    def _send_to(self, entry: Entry, connection: EngineConnection, need: Need, matched_tokens: int) -> None:
        now = self._clock()
        member = connection.view.member
        self._queue.discard(entry)
        before = entry.attempts[-1].engine_id if entry.attempts else ""
        connection.take(entry, now)
        if entry.alone:
            self.alone = entry
        if need.fresh:
            self.drain_rate.count(now)
        if entry.lost_at is not None:
            paused_s, entry.lost_at = now - entry.lost_at, None
            self.num_recoveries += 1
            self._on_recovery(
                Recovered(entry.request_id, before, member.engine_id, entry.attempt, entry.alone, paused_s)
            )
        try:
            message = entry.message(now)
            sent = self._wires.send(connection.view.key, message)
        except FrameTooLargeError as error:
            self._finish(entry, Refused(Outcome.TOO_LARGE, str(error)))
            return
        own = max(1, need.num_tokens - matched_tokens)
        connection.book.debit(fresh=need.fresh, sequences=need.num_sequences, prefill_tokens=own)
        connection.view.memory.remember(entry.prefix)
        self._num_choices_made += 1
        connection.view.last_chosen = self._num_choices_made
        if not sent:
            self._link_failed(connection)

    def send(self, connection: EngineConnection, message: msgspec.Struct) -> None:
        """Send a message that is no request; an engine that does not read loses the connection."""
        if not self._wires.send(connection.view.key, message):
            self._link_failed(connection)

    def tell_backlogs(self) -> None:
        """Tell each engine how many requests would go there now, where it does not know."""
        for view in list(self._roster.views.values()):
            connection = view.connection
            if connection is None:
                continue
            waiting = len(self._queue.lane(view.member.model).fresh) if view.routable else 0
            news = connection.book.backlog(waiting)
            if news is not None:
                self.send(connection, Backlog(waiting=news[0], returned=news[1]))

    def expired(self, now: float) -> Refused:
        """Return the end of a request whose deadline has passed."""
        return refusals.expired(self.retry_after_s(now))

    def retry_after_s(self, now: float) -> float:
        """Return when what waits, at least one request, will have been sent at the rate of late."""
        return self.drain_rate.retry_after_s(max(1, self._queue.num_fresh), now)
