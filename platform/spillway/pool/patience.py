"""How long what waits may wait, and how it ends when that is over.

Three things end a wait: the request's deadline, the time at which its first token becomes worthless, and a model that
has had no engine for too long. None of them needs anything to happen, so the pool asks to be woken for the next one.
"""

from collections.abc import Callable

from spillway.pool import refusals
from spillway.pool.contract import Refused
from spillway.pool.dispatcher import Dispatcher
from spillway.pool.journal import Entry
from spillway.pool.members import Roster
from spillway.pool.policies import PoolPolicies
from spillway.pool.queue import WaitingQueue
from spillway.pool.wires import Wires


class Patience:
    """`finish` ends a request. `engine_wait_s` is asked for each time: it may change."""

    def __init__(
        self,
        wires: Wires,
        roster: Roster,
        queue: WaitingQueue,
        dispatcher: Dispatcher,
        *,
        policies: PoolPolicies,
        finish: Callable[[Entry, Refused | None], None],
    ) -> None:
        self._wires, self._roster, self._queue, self._dispatcher = wires, roster, queue, dispatcher
        self._policies, self._finish = policies, finish

    def mind(self, model: str, engine_wait_s: float) -> None:
        """Ask to be woken when something that waits for `model` runs out of time."""
        for when in (self._queue.next_deadline, self._queue.next_due, self._ends(model, engine_wait_s)):
            if when is not None:
                self._wires.wake_at(when)

    def end_what_is_late(self, now: float) -> None:
        """End what has waited past its deadline, or past the use of its first token."""
        for entry in self._queue.expired(now):
            if not entry.is_over:
                self._finish(entry, self._dispatcher.expired(now))
        while (overdue := self._queue.overdue(now)) is not None:
            self._finish(overdue, self._dispatcher.outwaited(overdue, now))

    def end_what_waits_in_vain(self, now: float, engine_wait_s: float) -> None:
        """End what has waited long enough for a model without an engine, and mind the rest."""
        for name in self._queue.models:
            fresh = self._queue.lane(name).fresh
            while (ends := self._ends(name, engine_wait_s)) is not None and ends <= now:
                if (oldest := fresh.oldest()) is not None:
                    self._finish(oldest, refusals.no_engine(name, engine_wait_s, self._policies.retry_after_s))
            self.mind(name, engine_wait_s)

    def _ends(self, name: str, engine_wait_s: float) -> float | None:
        """When the oldest fresh request has waited long enough for a model that has no engine."""
        model = self._roster.models.get(name)
        if model is None or model.unready_since is None:
            return None
        oldest = self._queue.lane(name).fresh.oldest()
        return None if oldest is None else max(oldest.queued_at, model.unready_since) + engine_wait_s
