"""The pool without I/O: requests, engines and supervisor say what happens, and it decides what follows.

It owns queue, journal and roster. It reads one clock, sends through `Wires`, and never waits: time comes in through
`tick`, which it asks for with `Wires.wake_at`. So everything that can happen can be played to it in any order (the
property tests do), and `engine_pool` is all there is to an event loop. ::

    submit, abort ─────────▶ ┌──────┐ ─ submit, abort, backlog ─▶ engines
    step, reject, credit ──▶ │ core │ ─ connect, disconnect ────▶ edge
    membership, death ─────▶ └──────┘ ─ news, end ──────────────▶ tickets

A request that an engine has is in the `entries` of exactly one connection; one that nobody has is in the queue; never
both, never neither (`check_integrity`).
"""

from collections.abc import Callable, Iterable

import msgspec

from spillway.admission.contract import Band
from spillway.admission.load.model_load import ModelLoad
from spillway.admission.queue.age import QueueAge
from spillway.pool import refusals
from spillway.pool.casualties import Casualties
from spillway.pool.contract import ModelState, Refused, Work
from spillway.pool.dispatcher import Dispatcher, Recovered
from spillway.pool.entrance import check_admissible
from spillway.pool.integrity import check_integrity
from spillway.pool.journal import Entry, Journal
from spillway.pool.lifecycle import Event, State
from spillway.pool.members import EngineConnection, Key, Roster
from spillway.pool.observer import Nobody, PoolObserver
from spillway.pool.patience import Patience
from spillway.pool.policies import POLICIES, PoolPolicies
from spillway.pool.prefix import prefix_of
from spillway.pool.queue import WaitingQueue
from spillway.pool.snapshot import PoolSnapshot, model_load, queue_age
from spillway.pool.ticket import PoolTicket
from spillway.pool.wires import Wires
from spillway.settings import LimitSettings
from spillway_wire.links import Ending
from spillway_wire.messages import Abort, Beat, Credit, Delta, FromEngine, Rejected, StepOutput, Welcome
from spillway_wire.outcomes import Outcome
from spillway_wire.plane import EngineDied, Membership, Quarantined


class PoolCore:
    """See the module. It has one caller at a time."""

    def __init__(
        self,
        wires: Wires,
        *,
        limits: LimitSettings,
        clock: Callable[[], float],
        log: Callable[..., None],
        on_recovery: Callable[[Recovered], None],
        on_quarantine: Callable[[Quarantined], None] = lambda _: None,
        observer: PoolObserver | None = None,
        policies: PoolPolicies = POLICIES,
    ) -> None:
        self._wires, self._limits, self._policies, self._clock, self._log = wires, limits, policies, clock, log
        self._observer: PoolObserver = Nobody() if observer is None else observer
        self.journal = Journal()
        self.queue = WaitingQueue()
        self.roster = Roster()
        self.dispatcher = Dispatcher(
            wires,
            self.roster,
            self.queue,
            policies=policies,
            clock=clock,
            on_recovery=on_recovery,
            observer=self._observer,
            finish=self._finish,
            link_failed=lambda connection: self.disconnected(
                connection, Ending.OURS, "the engine does not read its request channel"
            ),
        )
        self.casualties = Casualties(
            wires,
            self.roster,
            self.queue,
            self.journal,
            self.dispatcher,
            policies=policies,
            limits=lambda: self._limits,
            clock=clock,
            log=log,
            finish=self._finish,
            on_quarantine=on_quarantine,
        )

        self._patience = Patience(
            wires, self.roster, self.queue, self.dispatcher, policies=policies, finish=self._finish
        )

    def set_limits(self, limits: LimitSettings) -> None:
        """Take over other limits for what is still to come."""
        self._limits = limits

    # ---- requests ----

    def submit(self, work: Work) -> PoolTicket:
        """Send `work` at once or queue it; raise `Refused` if it cannot be taken."""
        now = self._clock()
        check_admissible(
            work,
            now,
            roster=self.roster,
            queue=self.queue,
            dispatcher=self.dispatcher,
            casualties=self.casualties,
            max_queued=self._limits.max_queued_requests,
        )
        entry = self.journal.open(work, now, prefix_of(work.prompt_token_ids, work.cache_salt))
        ticket = PoolTicket(entry, self.abort, self.end_choice)
        self.queue.push(entry)
        self.dispatcher.dispatch(work.model)
        if entry.refusal is not None:
            raise entry.refusal
        if entry.state is State.QUEUED:
            self._mind(work.model)
        return ticket

    def abort(self, entry: Entry, outcome: Outcome) -> None:
        """End a request that its client does not want any more."""
        entry.news.clear()
        self._finish(entry, refusals.aborted(outcome))

    def end_choice(self, entry: Entry, index: int) -> None:
        """End one choice, of which its client has all it wants: no engine goes on with it.

        What its reader has not seen of the others stays to be read.
        """
        connection = entry.place
        entry.leave_choice(entry.choices[index])
        if isinstance(connection, EngineConnection):
            connection.sequences -= 1
        if not entry.num_open:
            self._finish(entry, None)
        if isinstance(connection, EngineConnection):
            message = Abort(request_id=entry.request_id, attempt=entry.attempt, choice=index)
            self.dispatcher.send(connection, message)

    def _finish(self, entry: Entry, refusal: Refused | None) -> None:
        """The one way out: None if it completed. What an engine still works on is aborted there."""
        outcome = Outcome.COMPLETED if refusal is None else refusal.outcome
        self.journal.close(entry, self._clock(), str(outcome))
        entry.refusal = refusal
        connection = entry.place
        if isinstance(connection, EngineConnection):
            connection.leave(entry)
            if refusal is not None:
                self.dispatcher.send(connection, Abort(request_id=entry.request_id, attempt=entry.attempt))
        elif self.queue.discard(entry):
            self.casualties.forget(entry)
            self._wires.soon()
        self.queue.lane(entry.work.model).fresh.end(entry, undone=not entry.num_tokens)
        entry.close()
        self.dispatcher.free_alone(entry)

    # ---- what engines say ----

    def connected(self, key: Key, client_id: str, welcome: Welcome) -> EngineConnection | None:
        """Begin with an engine whose channels are open; None if nobody wants them any more."""
        connection = self.roster.connected(key, client_id, welcome)
        if connection is not None:
            self._review([connection.view.member.model])
        return connection

    def received(self, connection: EngineConnection, message: FromEngine) -> None:
        """Take in what came on a connection; anything on one that is over is late, and dropped."""
        if connection.view.connection is not connection:
            return
        if type(message) is StepOutput:
            connection.hear_step(message, demand=self.dispatcher.has_backlog(connection))
            entries = connection.entries
            for delta in message.deltas:
                entry = entries.get(delta.request_id)
                if entry is not None and len(entry.attempts) == delta.attempt:
                    self._accept(entry, delta, connection)
            self.dispatcher.fill(connection)
        elif type(message) is Credit:
            self._credit(connection, message.total)
        elif type(message) is Beat:
            if message.load is not None:
                connection.book.hear(message.load, message.received)
            self._credit(connection, message.credit)
            self.dispatcher.fill(connection)
        elif type(message) is Rejected:
            entry = connection.entries.get(message.request_id)
            if entry is not None and entry.attempt == message.attempt:
                self._ended_badly(entry, connection, message.outcome, message.message)

    def _credit(self, connection: EngineConnection, total: int) -> None:
        if connection.book.grant(total):
            self.dispatcher.dispatch(connection.view.member.model)
            self._wires.soon()

    def _accept(self, entry: Entry, delta: Delta, connection: EngineConnection) -> None:
        finish = delta.finish
        if finish is not None and finish.outcome is not Outcome.COMPLETED:
            num_tokens = entry.num_tokens
            entry.accept(msgspec.structs.replace(delta, finish=None))
            self._charge(entry, num_tokens)
            self._ended_badly(entry, connection, finish.outcome, finish.message)
            return
        num_tokens, num_open = entry.num_tokens, entry.num_open
        gap = entry.accept(delta)
        connection.sequences -= num_open - entry.num_open
        self._charge(entry, num_tokens)
        if gap is not None:
            self._log("output_gap", request=entry.request_id, expected=gap.expected, got=gap.got)
            self.dispatcher.send(connection, Abort(request_id=entry.request_id, attempt=entry.attempt))
            self._take_back(entry, connection, Event.LOSE_ENGINE, "output was lost")
        elif not entry.num_open:
            self._finish(entry, None)
        elif not entry.held:
            entry.wake()

    def _charge(self, entry: Entry, num_before: int) -> None:
        """Charge a request's tenant for the tokens that came on top of `num_before`."""
        num_new = entry.num_tokens - num_before
        if num_new:
            self.queue.lane(entry.work.model).fresh.charge(entry, num_new)
            if not num_before:
                entry.first_token_at = self._clock()
                self._observer.first_token(entry, entry.first_token_at)

    def _ended_badly(self, entry: Entry, connection: EngineConnection, outcome: Outcome, text: str) -> None:
        if outcome is Outcome.DRAINING:
            # The engine ends in good order: what it hands back goes on elsewhere, and that counts for nothing.
            connection.view.turns_away = True
            self._take_back(entry, connection, Event.TURN_AWAY, "turned away")
        else:
            self._finish(entry, Refused(outcome, text))

    def _take_back(self, entry: Entry, connection: EngineConnection, event: Event, why: str) -> None:
        """Take a request back from an engine that lives, and send it again: there or elsewhere."""
        if entry.place is not connection:
            return  # the connection failed meanwhile, and the request with it
        connection.give_back(entry, event, why, self._clock())
        self.queue.push(entry)
        self.dispatcher.free_alone(entry)
        self._review([entry.work.model])

    def disconnected(self, connection: EngineConnection, ending: Ending, words: str) -> None:
        """A connection ended."""
        if connection.view.connection is connection:
            self.casualties.link_ended(connection, ending, words)
            self._review([connection.view.member.model])

    # ---- what the supervisor says ----

    def set_membership(self, membership: Membership) -> None:
        """Take in which engines and models there are now."""
        changes = self.roster.update(membership, self._clock())
        for view in changes.new:
            self._wires.connect(view.member)
        for view in changes.suspected:
            self.casualties.suspected(view)
        for view in changes.gone:
            self.casualties.gone(view)
        for name in self.queue.models:
            model = self.roster.models.get(name)
            if model is None or model.served.hopeless:
                retry_s = None if model is None else model.served.retry_s
                for entry in list(self.queue.lane(name)):
                    self._finish(entry, refusals.hopeless(name, retry_s))
        self._review(self.roster.models)

    def engine_died(self, died: EngineDied) -> None:
        """Go on elsewhere with what was on a dead engine."""
        view = self.casualties.died(died)
        if view is not None:
            self._review([view.member.model])

    def _review(self, models: Iterable[str]) -> None:
        """After a change among the engines: note what is ready, and send what can be sent."""
        self.roster.refresh(self._clock())
        for model in list(models):
            self.dispatcher.dispatch(model)
            self._mind(model)
        self._wires.soon()

    # ---- time ----

    def _mind(self, model: str) -> None:
        self._patience.mind(model, self._limits.engine_wait_s)

    def tick(self) -> None:
        """Do what is due."""
        now = self._clock()
        self._patience.end_what_is_late(now)
        for view in list(self.roster.views.values()):
            if view.verdict_due is None:
                continue
            if view.verdict_due <= now:
                self.casualties.go_on_without_verdict(view)
                self._review([view.member.model])
            else:
                self._wires.wake_at(view.verdict_due)
        self._patience.end_what_waits_in_vain(now, self._limits.engine_wait_s)

    # ---- the end, and what it says of itself ----

    def close(self) -> None:
        """End everything that is open; nothing is taken any more. Idempotent."""
        self.dispatcher.stopped = True
        for entry in list(self.journal):
            self._finish(entry, refusals.shutting_down())
        for view in self.roster.views.values():
            view.connection = None
            self._wires.disconnect(view.key, "this gateway is shutting down")
        self.roster.clear()

    def model_state(self, name: str) -> ModelState | None:
        """Return what is known of a model, None if it is not served."""
        return self.roster.state(name)

    def retry_after_s(self) -> float:
        """Return when coming back can help, as fast as the queue drains now."""
        if not self.queue.num_fresh:
            return self._policies.retry_after_s[0]
        return self.dispatcher.retry_after_s(self._clock())

    def load(self, name: str) -> ModelLoad | None:
        """Return what a model's engines have in hand and what waits for them, None if it is not served."""
        return model_load(name, self.roster, self.queue.lane(name)) if name in self.roster.models else None

    def queue_age(self, name: str, band: Band) -> QueueAge | None:
        """Return how long what waits in a band has waited, and may; None if the model is not served."""
        known = name in self.roster.models
        return queue_age(name, band, self.roster, self.queue.lane(name), self._clock()) if known else None

    def snapshot(self) -> PoolSnapshot:
        """Describe everything, frozen."""
        num_quarantined = len(self.casualties.quarantine)
        return PoolSnapshot.of(
            self.journal, self.roster, self.dispatcher, num_quarantined=num_quarantined, now=self._clock()
        )

    def check_integrity(self) -> None:
        """Raise `JournalError` unless each open request is in exactly one place, and every book adds up."""
        check_integrity(self.journal, self.queue, self.roster, self.dispatcher)
