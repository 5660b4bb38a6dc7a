"""Sends what waits to the engines: continuations, then one that must run alone, then fresh work.

Fresh work goes to an engine that has granted credit and holds fewer sequences than its limit; an engine that holds
nothing may always be given something. Where its first token would come too late to be of use, it is refused instead.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from spillway.pool import refusals
from spillway.pool.contract import Refused, Work
from spillway.pool.journal import Entry
from spillway.pool.members import EngineConnection, EngineView, Roster
from spillway.pool.observer import PoolObserver
from spillway.pool.policies import PoolPolicies
from spillway.pool.queue import DrainRate, WaitingQueue
from spillway.pool.router import Candidate, Need, choose
from spillway.pool.wires import Wires
from spillway_wire.codec import FrameTooLargeError
from spillway_wire.messages import Backlog
from spillway_wire.outcomes import Outcome

BAND_STEP: Final = 1000
"""Between the priorities of two bands in an engine."""


def engine_priority(work: Work) -> int:
    """Return a request's place in an engine: its band, then its own priority, as far as that fits between bands."""
    reach = BAND_STEP // 2 - 1
    return work.band * BAND_STEP + max(-reach, min(reach, work.priority))


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
        observer: PoolObserver,
        finish: Callable[[Entry, Refused], None],
        link_failed: Callable[[EngineConnection], None],
    ) -> None:
        self._wires, self._roster, self._queue, self._clock = wires, roster, queue, clock
        self._on_recovery, self._finish, self._link_failed = on_recovery, finish, link_failed
        self._observer = observer
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
        while (resumed := lane.resumed.first()) is not None and self._place(resumed, model):
            pass
        if self.alone is None and (first := lane.alone.first()) is not None:
            self._place(first, model)
        while (fresh := lane.fresh.first(self._clock())) is not None and self._place(fresh, model):
            pass
        if len(lane.fresh):
            self._wires.soon()

    def has_backlog(self, connection: EngineConnection) -> bool:
        """Whether fresh work waits that could go to this engine if it had room."""
        view = connection.view
        return view.routable and len(self._queue.lane(view.member.model).fresh) > 0

    def fill(self, connection: EngineConnection) -> None:
        """Send what waits for room: an engine's load or its limit may just have made some."""
        if connection.book.credits > 0 and self.has_backlog(connection):
            self.dispatch(connection.view.member.model)

    def free_alone(self, entry: Entry) -> None:
        """Let the next one run alone if `entry` was the one that did."""
        if self.alone is entry:
            self.alone = None
            for model in self._queue.models:
                self.dispatch(model)

    def _place(self, entry: Entry, model: str) -> bool:
        """Send `entry` to the best engine; False if there is none. One that is too late ends here."""
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
            estimate = connection.book.estimate()
            if need.fresh and not self._has_room(view, estimate.sequences, need.num_sequences, entry.work.tpot_s):
                continue
            connections[view.member.engine_id] = connection
            candidates.append(
                Candidate(
                    engine_id=view.member.engine_id,
                    credits=connection.book.credits,
                    capacity=connection.book.capacity,
                    estimate=estimate,
                    matched_tokens=view.memory.match(entry.prefix),
                    last_chosen=view.last_chosen,
                )
            )
        choice = choose(candidates, need)
        if choice is None:
            return False
        connection = connections[choice.engine_id]
        own_tokens = max(1, need.num_tokens - choice.matched_tokens)
        if need.fresh and _comes_too_late(entry.work, connection.view, choice.estimate.sequences, own_tokens, now):
            self._finish(entry, self.outwaited(entry, now))
        else:
            self._send_to(entry, connection, need, own_tokens)
        return True

    @staticmethod
    def _has_room(view: EngineView, in_flight: int, need: int, objective_s: float | None) -> bool:
        """Whether an engine may be given `need` more sequences; an idle one always may."""
        if view.meter is None:
            return False
        view.meter.expect(objective_s)
        return in_flight == 0 or in_flight + need <= view.meter.limit

    def _send_to(self, entry: Entry, connection: EngineConnection, need: Need, own_tokens: int) -> None:
        now = self._clock()
        member = connection.view.member
        self._queue.take(entry, own_tokens, now)
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
            message = msgspec.structs.replace(entry.message(now), priority=engine_priority(entry.work))
            sent = self._wires.send(connection.view.key, message)
        except FrameTooLargeError as error:
            self._finish(entry, Refused(Outcome.TOO_LARGE, str(error)))
            return
        connection.book.debit(fresh=need.fresh, sequences=need.num_sequences, prefill_tokens=own_tokens)
        connection.view.memory.remember(entry.prefix)
        self._num_choices_made += 1
        connection.view.last_chosen = self._num_choices_made
        self._observer.dispatched(entry, now)
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

    def outwaited(self, entry: Entry, now: float) -> Refused:
        """Return the end of a request whose first token would come too late; it has got nothing, so this refuses it."""
        due = entry.work.ttft_due
        allowed_s = 0.0 if due is None else due - entry.queued_at
        return Refused(
            Outcome.OVERLOADED,
            "the request waited for an engine until its first token could no longer come in time; come back later",
            retry_after_s=self.retry_after_s(now),
            limit=f"ttft={allowed_s:.3g}s",
            measured=f"waited {now - entry.queued_at:.2f} s",
        )

    def retry_after_s(self, now: float) -> float:
        """Return when what waits, at least one request, will have been sent at the rate of late."""
        return self.drain_rate.retry_after_s(max(1, self._queue.num_fresh), now)


def _comes_too_late(work: Work, view: EngineView, in_flight: int, own_tokens: int, now: float) -> bool:
    """Whether the first token would be worthless even if the engine did nothing else from now on.

    An idle engine is believed capable of anything until the time is really over: what is known of its pace may be
    wrong, and only work can show it.
    """
    due = work.ttft_due
    if due is None:
        return False
    pace = None if view.meter is None or not in_flight else view.meter.pace
    return now + (0.0 if pace is None else pace.step_s(0, own_tokens)) >= due
