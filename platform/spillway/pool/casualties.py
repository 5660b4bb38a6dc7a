"""What follows when an engine, or only the connection to it, is gone. Nothing that was on it is lost.

::

    connection ends, engine likely dead      its requests are held; the verdict usually comes within milliseconds
    supervisor declares it dead              strikes for what was aboard; all others go on at once
    no verdict in time, or none to come      all go on at once; if membership still has it, it is connected again
    membership has it as hung or crashed     held, as above
    membership has it no more                all go on at once

The end of the output channel has its requests aborted in the engine, if it still lives: so an old attempt needs no
abort of its own, and what it might still say has no way here.
"""

from collections.abc import Callable, Iterable

from spillway.pool import refusals
from spillway.pool.contract import Refused
from spillway.pool.dispatcher import Dispatcher
from spillway.pool.journal import Entry, Journal
from spillway.pool.lifecycle import Event
from spillway.pool.members import LISTENING, EngineConnection, EngineView, Roster
from spillway.pool.policies import PoolPolicies
from spillway.pool.queue import WaitingQueue
from spillway.pool.recovery import plan_recovery
from spillway.pool.suspects import Judgement, Quarantine, strike
from spillway.pool.wires import Wires
from spillway.settings import LimitSettings
from spillway_wire.links import Ending
from spillway_wire.plane import EngineDied, Quarantined

VERDICT_COMES = frozenset({Ending.CUT, Ending.LAST_WORDS})
"""Endings after which the engine is most likely dead; after the others it is there, and nobody will declare it."""


class Casualties:
    """Takes requests off engines that are gone, judges them, and puts them back in line; its caller dispatches."""

    def __init__(
        self,
        wires: Wires,
        roster: Roster,
        queue: WaitingQueue,
        journal: Journal,
        dispatcher: Dispatcher,
        *,
        policies: PoolPolicies,
        limits: Callable[[], LimitSettings],
        clock: Callable[[], float],
        log: Callable[..., None],
        finish: Callable[[Entry, Refused | None], None],
        on_quarantine: Callable[[Quarantined], None],
    ) -> None:
        """`on_quarantine` has the other gateways told. `limits` are asked for each time: they may change."""
        self._wires, self._roster, self._queue, self._journal = wires, roster, queue, journal
        self._dispatcher, self._policies, self._limits = dispatcher, policies, limits
        self._clock, self._log = clock, log
        self._finish, self._on_quarantine = finish, on_quarantine
        self.quarantine = Quarantine(policies, lambda: limits().quarantine_s)

    # ---- what happened ----

    def link_ended(self, connection: EngineConnection, ending: Ending, words: str) -> None:
        """A connection ended, by itself or because this side gave it up."""
        view = connection.view
        self._log("engine_link_ended", engine=view.member.engine_id, how=ending.name.lower(), words=words)
        self._strand(view, words)
        if ending in VERDICT_COMES:
            self._await_verdict(view)
        else:
            self.go_on_without_verdict(view)

    def suspected(self, view: EngineView) -> None:
        """Membership says that the engine hangs or has crashed; who was aboard is still to be told."""
        if view.connection is not None:
            self._strand(view, f"the engine is {view.member.status}")
            self._await_verdict(view)

    def gone(self, view: EngineView) -> None:
        """The engine has left the pool in good order."""
        self._strand(view, "the engine left the pool")
        self._release(view)

    def died(self, died: EngineDied) -> EngineView | None:
        """The supervisor's verdict; None if this gateway does not know the engine."""
        view = self._roster.bury((died.engine_id, died.incarnation))
        if view is None:
            return None
        ours = {request_id for client_id, request_id, _, _ in died.aboard if client_id in view.client_ids}
        self._strand(view, died.message)
        self._strike_elsewhere(ours - view.stranded.keys())
        self._release(view, ours)
        return view

    def go_on_without_verdict(self, view: EngineView) -> None:
        """Let what is held go on, and connect again if the engine is still said to be there."""
        self._release(view)
        if view.key in self._roster.views and view.member.status in LISTENING:
            self._wires.connect(view.member)

    def forget(self, entry: Entry) -> None:
        """Drop a request that ended while it was held."""
        for view in self._roster.views.values():
            view.stranded.pop(entry.request_id, None)

    # ---- what follows ----

    def _await_verdict(self, view: EngineView) -> None:
        view.verdict_due = self._clock() + self._policies.verdict_s
        self._wires.wake_at(view.verdict_due)

    def _strand(self, view: EngineView, why: str) -> None:
        """Take every request off a connection that is over; they are held until `_release`."""
        connection, view.connection = view.connection, None
        self._wires.disconnect(view.key, why)
        if connection is None:
            return
        now = self._clock()
        for entry in list(connection.entries.values()):
            connection.give_back(entry, Event.LOSE_ENGINE, why.partition("\n")[0], now)
            view.stranded[entry.request_id] = entry
            self._queue.hold(entry)
            if entry.work.deadline is not None:
                self._wires.wake_at(entry.work.deadline)

    def _release(self, view: EngineView, aboard: Iterable[str] = ()) -> None:
        """Decide for everything that was stranded with an engine, and put it back in line."""
        view.verdict_due = None
        stranded, view.stranded = view.stranded, {}
        if not stranded or view.welcome is None:
            return
        most = self._limits().max_recoveries
        plan = plan_recovery(stranded.values(), frozenset(aboard), view.welcome, self._policies, most)
        for entry in plan.resumed:
            self._queue.discard(entry)
            self._queue.push(entry)
            if self._dispatcher.alone is entry:
                self._dispatcher.alone = None
        for entry, choice, finish in plan.ended:
            entry.end_choice(choice, finish)
            if not entry.num_open:
                self._finish(entry, None)
            else:
                entry.wake()
        for entry in plan.quarantined:
            self._put_in_quarantine(entry)
        for entry in plan.given_up:
            self._finish(entry, refusals.given_up(most or 0))

    def _strike_elsewhere(self, request_ids: Iterable[str]) -> None:
        """Count a crash for requests that went on before the verdict came."""
        for request_id in request_ids:
            entry = self._journal.get(request_id)
            if entry is None:
                continue
            if strike(entry, self._policies) is Judgement.QUARANTINE:
                self._put_in_quarantine(entry)
            elif entry.place is None and not self._queue.is_held(entry):
                self._queue.discard(entry)
                self._queue.push(entry)  # it may have to stand in another line now

    def _put_in_quarantine(self, entry: Entry) -> None:
        now = self._clock()
        found = self.quarantine.add(entry.work, entry.strikes, now)
        self._log("quarantined", request=entry.request_id, crashes=entry.strikes)
        self._on_quarantine(found)
        self._finish(entry, self.quarantine.refusal(found, now))
