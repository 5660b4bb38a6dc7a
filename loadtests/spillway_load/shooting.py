"""The open loop: every request is sent when it is due, in a greenlet of its own, whatever became of the others."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import gevent
from gevent.event import Event
from gevent.pool import Group

from spillway_load.asking import Asker
from spillway_load.campaign import Clients
from spillway_load.http_stream import Connections
from spillway_load.objectives import limits_of
from spillway_load.plan import Plan, Shot
from spillway_load.record import Fate, Record, judge
from spillway_wire.outcomes import Outcome

_BEAT_S: Final = 0.01
SECOND_ASKINGS: Final = 50
"""Answers that are asked for once more; any further ones that are not right count as inexact."""


@dataclass(slots=True)
class Tally:
    """How far a run is."""

    num_due: int = 0
    num_open: int = 0
    fates: Counter[Fate] = field(default_factory=Counter)
    worst_lag_s: float = 0.0


class Shooting:
    """Carries out one plan."""

    def __init__(self, plan: Plan, connections: Connections) -> None:
        self._plan = plan
        self._asker = Asker(connections, plan.clients, sleep=gevent.sleep)
        self._stopped = Event()
        self.records: list[Record] = []
        self.beats_s: list[float] = []
        """How late the loop itself was, every hundredth of a second: a greenlet that reads is as late."""
        self.tally = Tally()

    @property
    def num_pieces(self) -> int:
        """Pieces of text that came so far."""
        return self._asker.num_pieces

    def stop(self) -> None:
        """Send nothing more; what is under way goes on."""
        self._stopped.set()

    def run(self, start: float) -> None:
        """Send everything from `start` on, of the monotonic clock, and return when all has ended."""
        heart = gevent.spawn(self._beat)
        under_way = Group()
        for shot in self._plan.shots:
            if self._stopped.wait(timeout=max(0.0, start + shot.due_s - time.monotonic())):
                break
            self.tally.num_due += 1
            under_way.start(gevent.Greenlet(self._pursue, shot, start))
        under_way.join(raise_error=True)
        heart.kill()
        ask_again(self.records, self._plan.shots, self._asker.connections, self._plan.clients)

    def _pursue(self, shot: Shot, start: float) -> None:
        self.tally.num_open += 1
        record = self._asker.pursue(shot, start)
        self.tally.num_open -= 1
        self.tally.fates[judge(record, limits_of(self._plan.good, shot.tier))] += 1
        self.tally.worst_lag_s = max(self.tally.worst_lag_s, record.lag_s)
        self.records.append(record)

    def _beat(self) -> None:
        while True:
            due = time.monotonic() + _BEAT_S
            gevent.sleep(_BEAT_S)
            self.beats_s.append(time.monotonic() - due)


def ask_again(records: Sequence[Record], shots: Sequence[Shot], connections: Connections, clients: Clients) -> None:
    """Ask for answers that were not right once more, one after another, now that nothing else runs.

    The same text again is the model's own mistake; another one, or none, means that the first was changed on its way.
    """
    calm = Asker(connections, Clients(patience_s=clients.patience_s), sleep=gevent.sleep)
    by_number = {shot.number: shot for shot in shots}
    wrong = [record for record in records if record.outcome == Outcome.COMPLETED and not record.is_right]
    for record in wrong[:SECOND_ASKINGS]:
        again = calm.attempt(by_number[record.number], 0)
        record.is_mistake = again.outcome == Outcome.COMPLETED and again.answer.text == record.got
